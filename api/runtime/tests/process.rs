//! The life of a real process: signals, exit codes, readiness and logs.
//!
//! The test binary starts itself as the process under test, told so by its first argument.

#![expect(
    clippy::unwrap_used,
    reason = "the whole file is a test, though not one of the built-in harness"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::Parser;
use libtest_mimic::{Arguments, Trial};
use mesh_runtime::admin::AdminArgs;
use mesh_runtime::args::GoDuration;
use mesh_runtime::log::LogArgs;
use mesh_runtime::{BindError, Runtime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const CHILD: &str = "process-under-test";
/// Nothing here takes long; this only turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        return child(Args::parse_from(std::env::args().skip(1)));
    }
    let tests: &[(&str, fn())] = &[
        (
            "sigterm_makes_the_process_unready_and_waits_for_its_guards",
            sigterm_drains,
        ),
        ("sigint_stops_an_idle_process_at_once_with_success", sigint_stops),
        ("a_second_signal_exits_at_once", second_signal),
        (
            "a_drain_that_hangs_ends_at_the_deadline_and_names_the_holder",
            drain_deadline,
        ),
        (
            "a_vital_task_that_panics_brings_the_process_down_with_its_name",
            vital_panic,
        ),
        (
            "a_plain_task_that_panics_is_logged_with_its_name_and_place",
            plain_panic,
        ),
        (
            "a_port_in_use_is_a_failure_that_names_flag_and_address",
            port_in_use,
        ),
        (
            "a_log_target_that_cannot_be_opened_is_told_on_standard_error",
            bad_log_target,
        ),
        ("json_logs_are_one_object_per_line", json_logs),
    ];
    let trials = tests.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

// === the process under test ===

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    admin: AdminArgs,
    /// Hold a drain guard until standard input is closed.
    #[arg(long)]
    hold: bool,
    /// Start a vital task that panics.
    #[arg(long)]
    vital_panic: bool,
    /// Start a plain task that panics, and end when it has.
    #[arg(long)]
    plain_panic: bool,
    #[arg(long, default_value = "1m")]
    drain: GoDuration,
}

fn child(args: Args) -> ExitCode {
    let Args {
        log,
        admin,
        hold,
        vital_panic,
        plain_panic,
        drain,
    } = args;
    let builder = Runtime::builder("child")
        .log(log)
        .drain_deadline(drain.get())
        .worker_threads(2);
    mesh_runtime::run(builder, async |runtime: Runtime| {
        runtime.spawn_admin(&admin, runtime.admin_router()).await?;
        if hold {
            let guard = runtime.drain().guard("worker");
            std::thread::spawn(move || {
                let end = std::io::stdin().read_to_end(&mut Vec::new());
                drop((guard, end));
            });
        }
        if vital_panic {
            runtime
                .spawner()
                .spawn_vital("sync loop", async { panic!("out of luck") });
        }
        if plain_panic {
            let task = runtime
                .spawner()
                .spawn("refresh", async { panic!("out of luck") });
            let shutdown = runtime.shutdown().clone();
            runtime.spawner().spawn("end", async move {
                shutdown.request(
                    task.join()
                        .await
                        .map_or_else(|error| error.to_string(), |()| "odd".to_owned()),
                );
            });
        }
        Ok::<_, BindError>(())
    })
}

// === the tests ===

fn sigterm_drains() {
    let mut process = Process::start(&["--hold"]);
    let admin = process.monitoring();
    process.wait_until_ready(admin);
    process.signal(Signal::SIGTERM);
    process.line("stopping");
    assert_eq!(get(admin, "/ready"), (503, "draining\n".to_owned()));
    assert_eq!(get(admin, "/live").0, 200, "still there for its observers");
    process.release();
    assert_eq!(process.exit(), Some(0));
}

fn sigint_stops() {
    let mut process = Process::start(&[]);
    let admin = process.monitoring();
    process.wait_until_ready(admin);
    process.signal(Signal::SIGINT);
    assert!(process.line("stopping").contains("reason=\"received SIGINT\""));
    assert_eq!(process.exit(), Some(0));
}

fn second_signal() {
    let mut process = Process::start(&["--hold"]);
    process.monitoring();
    process.signal(Signal::SIGTERM);
    process.line("stopping");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit(), Some(128 + 15));
}

fn drain_deadline() {
    let mut process = Process::start(&["--hold", "--drain=20ms"]);
    process.monitoring();
    process.signal(Signal::SIGTERM);
    let line = process.line("\tstopped");
    assert!(
        line.contains("not drained after 20ms: still held by worker (1)"),
        "{line}"
    );
    assert_eq!(process.exit(), Some(0));
}

fn vital_panic() {
    let mut process = Process::start(&["--vital-panic"]);
    let line = process.line("stopping");
    assert!(line.contains("\terror\tstopping reason="), "{line}");
    assert!(
        line.contains("vital task \\\"sync loop\\\" panicked: out of luck"),
        "{line}"
    );
    assert_eq!(process.exit(), Some(1));
}

fn plain_panic() {
    let mut process = Process::start(&["--plain-panic"]);
    let line = process.line("panic: out of luck");
    assert!(line.contains("process.rs:"), "{line}");
    let line = process.line("task panicked");
    assert!(line.contains("task=refresh panic=\"out of luck\""), "{line}");
    assert_eq!(process.exit(), Some(0));
}

fn port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut process = Process::start(&[&format!("--monitoringAddr={address}")]);
    let line = process.line("stopping");
    let reason = format!("cannot start: --monitoringAddr: cannot listen on {address}: ");
    assert!(line.contains(&reason), "{line}");
    assert_eq!(process.exit(), Some(1));
}

fn bad_log_target() {
    let output = Process::command(&["--log_target=/no/such/dir/log"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("child: --log_target: cannot open /no/such/dir/log: "),
        "{told}"
    );
}

fn json_logs() {
    let mut process = Process::start(&["--log_as_json"]);
    let line = process.line("starting");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["level"], "info");
    assert_eq!(object["component"], "child");
    process.line("listening");
    process.signal(Signal::SIGTERM);
    process.line("stopped");
    assert_eq!(process.exit(), Some(0));
}

// === the harness ===

/// A child with its log lines; killed when dropped.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn command(flags: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(CHILD);
        if !flags.iter().any(|flag| flag.starts_with("--monitoringAddr")) {
            command.arg("--monitoringAddr=127.0.0.1:0");
        }
        command.arg("--ctrlz_address=").args(flags);
        command
    }

    fn start(flags: &[&str]) -> Self {
        let mut command = Self::command(flags);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Self { child, lines }
    }

    /// The next log line with this text.
    fn line(&self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.extend([&line, "\n"]),
                Err(error) => panic!("no line with {text:?} ({error}) in:\n{seen}"),
            }
        }
    }

    /// Where the monitoring server listens.
    fn monitoring(&self) -> SocketAddr {
        let line = self.line("listening");
        let address = line.split("address=").nth(1).unwrap();
        address.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn wait_until_ready(&self, admin: SocketAddr) {
        self.line("nothing else is pending");
        assert_eq!(get(admin, "/ready"), (200, "ready\n".to_owned()));
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Closes standard input, for which `--hold` waits.
    fn release(&mut self) {
        drop(self.child.stdin.take());
    }

    /// The exit code. Standard output closes with the process, so this does not wait for ever.
    fn exit(&mut self) -> Option<i32> {
        while let Ok(_line) = self.lines.recv_timeout(PATIENCE) {}
        self.child
            .try_wait()
            .unwrap()
            .or_else(|| self.child.wait().ok())
            .unwrap()
            .code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when the process has ended, which is the normal case.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
