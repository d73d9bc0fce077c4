//! A network namespace that lives as long as its value.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A network namespace held by one process. That process reads a pipe from this one, so it ends and the
/// namespace with it even when the test is killed.
pub(crate) struct Pod {
    holder: Child,
}

impl Pod {
    /// A pod with the address 10.0.0.1.
    pub(crate) fn new() -> Pod {
        let script = "ip link set lo up && ip addr add 10.0.0.1/32 dev lo && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is missing: apt-get install util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(
            line.trim(),
            "ready",
            "needs root and iproute2 (apt-get install iproute2)"
        );
        Pod { holder }
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// A command that will run inside. Its process id is that of the program.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Runs the closure in a thread inside; sockets that it opens stay inside.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = std::fs::File::open(path).unwrap();
                nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A connection from inside to a port of the loopback.
    pub(crate) fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        let stream = self.inside(|| TcpStream::connect(("127.0.0.1", port)))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    }

    /// A listener inside.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.inside(|| TcpListener::bind(("127.0.0.1", port))).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Looks again and again until there is a value; panics with `what` when the time is over.
pub(crate) fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "other processes cannot be waited for in another way"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
