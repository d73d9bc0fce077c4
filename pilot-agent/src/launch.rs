//! Starting Envoy so that it never outlives the agent.
//!
//! Linux kills a process when its parent dies if the process has asked for it (`PR_SET_PDEATHSIG`). Only
//! the process itself can ask, between its birth and becoming Envoy, and code in that moment would be
//! unsafe. Therefore the agent starts its own program again as `pilot-agent exec`, which asks, checks
//! that its parent is still there and becomes Envoy. The process id stays the same, and the
//! wish survives.
//!
//! "Parent" means the *thread* that started the process, hence the [`Launcher`]: one thread that starts
//! all Envoys and lives as long as the agent needs them.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::cli::ExecArgs;

/// The program of this process, also when its file has been replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts processes from one thread. When the last clone is dropped, what is still running is killed.
#[derive(Clone, Debug)]
pub struct Launcher {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

// === impl Launcher ===

impl Launcher {
    /// Starts the thread. Must be called inside a tokio runtime, which will watch over the processes.
    ///
    /// # Errors
    /// When the system has no more threads to give.
    pub fn start() -> io::Result<Launcher> {
        let (requests, received) = mpsc::channel::<Request>();
        let tokio = Handle::current();
        std::thread::Builder::new()
            .name("launcher".to_owned())
            .spawn(move || {
                let _tokio = tokio.enter();
                for Request { mut command, reply } in received {
                    // Nobody waits any more: the child is killed with the answer.
                    let _unwanted = reply.send(command.spawn());
                }
            })?;
        Ok(Launcher { requests })
    }

    /// Starts a program with the output of this process, in a process group of its own, so that a Ctrl-C
    /// reaches the agent alone and the drain comes first.
    ///
    /// # Errors
    /// When no process can be started. A program that does not exist is found out later: the process ends
    /// with code 127.
    pub async fn launch(&self, program: &Path, args: &[OsString]) -> io::Result<Child> {
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("pilot-agent");
        command
            .arg("exec")
            .arg(std::process::id().to_string())
            .arg(program)
            .args(args);
        command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the launcher thread is gone");
        self.requests
            .send(Request { command, reply })
            .map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// Becomes the program, to be killed when the parent dies.
///
/// # Errors
/// When the parent is dead already, or the program cannot be run.
pub fn exec(args: &ExecArgs) -> io::Result<Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != Pid::from_raw(args.parent) {
        return Err(io::Error::other("the agent is gone"));
    }
    let Some((program, args)) = args.program.split_first() else {
        return Err(io::Error::other("no program is given"));
    };
    let error = std::process::Command::new(program).args(args).exec();
    Err(io::Error::new(
        error.kind(),
        format!("cannot run {}: {error}", Path::new(program).display()),
    ))
}
