//! The first process of a container: starts the command, passes signals on, collects orphans.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::protocol::{Exit, ProcessSpec, Report};
use super::{read_spec, report};

/// Exit code of a command that could not be started, as shells have it.
const NOT_FOUND: u8 = 127;

pub(super) fn run() -> Result<ExitCode> {
    // When the process that watches over this container dies, so does the container.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let spec: ProcessSpec = read_spec()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).context("cannot mount /proc")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(supervise(&spec))
}

async fn supervise(spec: &ProcessSpec) -> Result<ExitCode> {
    // Handlers first: a process without one does not receive signals as the first of its namespace.
    let mut ended = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let command = match start(spec) {
        Ok(pid) => pid,
        Err(error) => {
            let program = spec.argv.first().map_or("", String::as_str);
            drop(writeln!(io::stderr(), "cannot run {program}: {error}"));
            return Ok(ExitCode::from(NOT_FOUND));
        }
    };
    report(&Report::Started);
    loop {
        let forward = tokio::select! {
            _ = ended.recv() => {
                if let Some(exit) = collect(command) {
                    // Said here, where a signal can still be told from a code.
                    report(&Report::Exited(exit));
                    return Ok(ExitCode::from(exit.as_code()));
                }
                continue;
            }
            _ = terminate.recv() => Signal::SIGTERM,
            _ = interrupt.recv() => Signal::SIGINT,
            _ = hangup.recv() => Signal::SIGHUP,
        };
        // It may just have ended; then the next round sees that.
        let _ = kill(command, forward);
    }
}

fn start(spec: &ProcessSpec) -> Result<Pid> {
    let (program, args) = spec.argv.split_first().context("the command is empty")?;
    // Standard output is the line to the mesh; the command's output goes where its errors go.
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(&spec.cwd)
        .stdin(Stdio::null())
        .stdout(output);
    if (spec.uid, spec.gid) != (0, 0) {
        command.uid(spec.uid).gid(spec.gid);
    }
    // Not through tokio: this process collects all children, its own and orphans.
    let child = command.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id())?))
}

/// Collects whatever has ended; the end of `command` if it was among them.
fn collect(command: Pid) -> Option<Exit> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => return Some(Exit::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => {
                return Some(Exit::Signal(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}
