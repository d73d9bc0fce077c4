//! A network namespace that lives as long as its value.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_istio-iptables");

/// A network namespace held by one process. That process reads a pipe from this one, so it ends and the
/// namespace with it even when the test is killed.
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    /// A fresh namespace whose loopback is up.
    pub(crate) fn new() -> Namespace {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
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
        Namespace { holder }
    }

    /// The path of the namespace, for `setns`.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// A command that will run inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Runs a shell line inside and returns what it printed; it must succeed.
    pub(crate) fn sh(&self, line: &str) -> String {
        let output = self.command("sh").args(["-c", line]).output().unwrap();
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the program under test with the words of `line`; `''` is an empty word.
    pub(crate) fn iptables(&self, line: &str) -> Output {
        self.iptables_env(&[], line)
    }

    /// The same with variables.
    pub(crate) fn iptables_env(&self, env: &[(String, String)], line: &str) -> Output {
        let words = line
            .split_whitespace()
            .map(|word| if word == "''" { "" } else { word });
        self.command(PROGRAM)
            .args(words)
            .envs(env.iter().cloned())
            .output()
            .unwrap()
    }

    /// The rules of both families and the routing that goes with them.
    pub(crate) fn state(&self) -> String {
        self.sh(
            "for t in iptables ip6tables; do $t -t nat -S; $t -t mangle -S; done; \
                 ip -4 rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all",
        )
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Panics with what the program said unless it succeeded.
pub(crate) fn succeeded(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
