//! Child processes that do not outlive their test.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::NamedTempFile;

use crate::{NotYet, eventually};

/// Lines of the log that a failing test shows.
const SHOWN_LINES: usize = 60;

/// Starts programs that end with this process. Linux kills them when the *thread* that started them ends, and threads
/// of tests come and go; this one stays.
static LAUNCHER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (requests, received) = mpsc::channel::<Request>();
    thread::spawn(move || {
        for request in received {
            // Nobody waits any more: the program is killed with the answer.
            let _unwanted = request.reply.send(Process::start(&request.name, request.command));
        }
    });
    Mutex::new(requests)
});

struct Request {
    name: String,
    command: Command,
    reply: mpsc::Sender<io::Result<Process>>,
}

/// A running program with its log.
///
/// Dropping it kills it and every process that it started in its group; when a test fails meanwhile, the end of the
/// log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: NamedTempFile,
}

impl Process {
    /// Starts a program. Its output and errors go into one log.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or its log not be made.
    pub fn start(name: &str, mut command: Command) -> io::Result<Self> {
        let log = NamedTempFile::new()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::from(append(log.path())?))
            .stderr(Stdio::from(append(log.path())?))
            // A group of its own, so that what it starts goes with it.
            .process_group(0)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {name}: {error}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Starts a program that ends with this process too, however that ends, and outlives the thread that starts it.
    ///
    /// # Errors
    ///
    /// As [`Process::start`]. A program that does not exist is found out later: the process ends with code 127.
    pub fn start_bound(name: &str, command: &Command) -> io::Result<Self> {
        let gone = || io::Error::other("the launcher is gone");
        let (reply, started) = mpsc::channel();
        let request = Request {
            name: name.to_owned(),
            command: bound(command),
            reply,
        };
        LAUNCHER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(request)
            .map_err(|_| gone())?;
        started.recv().map_err(|_| gone())?
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it wrote so far.
    pub fn log(&self) -> String {
        fs::read(self.log.path())
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Waits for a line of the log from which `find` takes something, such as the port that it listens on.
    ///
    /// # Errors
    ///
    /// When no such line was written in time, or the program ended without one.
    pub async fn wait_for_line<T>(
        &mut self,
        timeout: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, NotYet> {
        eventually(timeout, async || {
            let ended = self.ended();
            match (self.log().lines().find_map(&mut find), ended) {
                (Some(found), _) => Ok(found),
                (None, Some(status)) => Err(format!("{} ended with {status}", self.name)),
                (None, None) => Err(format!("{} has not written it", self.name)),
            }
        })
        .await
    }

    /// Waits until one of our programs that logs JSON says where it listens: the address of a flag such as `--address`.
    ///
    /// # Errors
    ///
    /// As [`Process::wait_for_line`].
    pub async fn wait_for_address(&mut self, timeout: Duration, flag: &str) -> Result<SocketAddr, NotYet> {
        self.wait_for_line(timeout, |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let listening = line["msg"] == "listening" && line["flag"] == flag;
            listening
                .then(|| line["address"].as_str()?.parse().ok())
                .flatten()
        })
        .await
    }

    /// Sends a signal to the program, not to what it started.
    ///
    /// # Errors
    ///
    /// When the program is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        nix::sys::signal::kill(self.pid(), signal).map_err(io::Error::from)
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    ///
    /// When it has not ended in time.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, NotYet> {
        eventually(timeout, async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("{} is running", self.name)),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// Kills the program and what it started, and waits for its end.
    pub fn kill(&mut self) {
        // Fails when all are gone, which is what is wanted.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!(
                "--- log of {} ({} of {} lines)\n{}",
                self.name,
                shown.len(),
                lines.len(),
                shown.join("\n")
            );
        }
    }
}

/// The same program, asking to be killed when its parent dies before it begins.
fn bound(command: &Command) -> Command {
    let mut bound = Command::new("setpriv");
    bound
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("shell", command).unwrap()
    }

    #[tokio::test]
    async fn lines_of_output_and_errors_are_found() {
        let mut process = shell("echo first; echo listening on 42 >&2; exec sleep 600");
        let port = process
            .wait_for_line(SOON, |line| line.strip_prefix("listening on ").map(str::to_owned))
            .await;
        assert_eq!(port.unwrap(), "42");
        assert_eq!(process.log(), "first\nlistening on 42\n");
    }

    #[tokio::test]
    async fn a_program_that_ended_writes_no_more() {
        let mut process = shell("exit 3");
        let line = process
            .wait_for_line(Duration::from_millis(300), |_| Some(()))
            .await;
        assert!(line.unwrap_err().last.contains("exit status: 3"));
        assert_eq!(process.wait(SOON).await.unwrap().code(), Some(3));
    }

    #[tokio::test]
    async fn dropping_kills_what_was_started_too() {
        let mut process = shell("sleep 600 & echo $!; wait");
        let child = process
            .wait_for_line(SOON, |line| line.parse::<i32>().ok())
            .await
            .unwrap();
        drop(process);
        eventually(SOON, async || {
            // An ended process that nobody has waited for yet is still listed, as a zombie.
            let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                Ok(())
            } else {
                Err(stat)
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn signals_reach_the_program() {
        let mut process = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
        process
            .wait_for_line(SOON, |line| (line == "up").then_some(()))
            .await
            .unwrap();
        process.signal(Signal::SIGTERM).unwrap();
        assert!(process.wait(SOON).await.unwrap().success());
        assert!(process.log().ends_with("bye\n"));
    }
}
