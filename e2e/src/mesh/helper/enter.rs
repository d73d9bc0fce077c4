//! Runs a command inside the namespaces of another process: `mesh-pod enter WHAT PID -- CMD…`.
//!
//! WHAT is `container` (everything, with the container's environment) or `node` (network and mounts).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};

use super::PATH;
use super::first_child;
use super::namespaces::{IPC, MOUNT, NET, PID, USER, UTS, join};

pub(super) fn run(mut args: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let what = args.next().unwrap_or_default();
    let pid: i32 = args
        .next()
        .and_then(|text| text.to_str()?.parse().ok())
        .context("the process is no number")?;
    ensure!(
        args.next().is_some_and(|text| text == "--"),
        "-- is missing before the command"
    );
    let program = args.next().context("the command is missing")?;

    let mut command = Command::new(&program);
    command.args(args).current_dir("/");
    match what.to_str() {
        Some("container") => {
            let environment = environment_of(pid)?;
            // First, because users have other numbers inside.
            join(pid, &[USER])?;
            let (uid, gid) = user_of(pid)?;
            join(pid, &[PID, NET, UTS, IPC, MOUNT])?;
            command.env_clear().envs(environment);
            if (uid, gid) != (0, 0) {
                command.uid(uid).gid(gid);
            }
            if let Some(terminal) = std::env::var_os("TERM") {
                command.env("TERM", terminal);
            }
        }
        Some("node") => {
            join(pid, &[USER, NET, MOUNT])?;
            command.env("PATH", PATH);
            // No process namespace to enter: become the command.
            let error = command.exec();
            return Ok(cannot_run(&program, &error));
        }
        _ => bail!("neither container nor node"),
    }
    match command.status() {
        Ok(status) => {
            let code = status
                .code()
                .or_else(|| Some(128 + status.signal()?))
                .unwrap_or(1);
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
        }
        Err(error) => Ok(cannot_run(&program, &error)),
    }
}

fn cannot_run(program: &OsString, error: &io::Error) -> ExitCode {
    drop(writeln!(
        io::stderr(),
        "cannot run {}: {error}",
        program.to_string_lossy()
    ));
    ExitCode::from(127)
}

/// The environment that process `pid` was started with.
fn environment_of(pid: i32) -> Result<Vec<(OsString, OsString)>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).context("the container is gone")?;
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(&pair[..at]), text(&pair[at + 1..])))
    });
    Ok(pairs.collect())
}

/// User and group of the command of a container whose first process is `init`.
fn user_of(init: i32) -> Result<(u32, u32)> {
    // A command that has just ended leaves its first process alone for a moment.
    let command = first_child(init).unwrap_or(init);
    let status = fs::read_to_string(format!("/proc/{command}/status")).context("the container is gone")?;
    let effective = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    effective("Uid:")
        .zip(effective("Gid:"))
        .context("the container's user is unknown")
}
