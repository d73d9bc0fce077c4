//! The mesh's side of its helper processes (see [`super::helper`]).

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::helper::protocol::{ContainerSpec, Exit, NodeSpec, Report, SandboxSpec};
use super::helper::{PATH, first_child};

/// How long a helper may take to do what it was started for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts helper processes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Helper {
    program: PathBuf,
}

/// A process that holds namespaces. They go away when it is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
    /// The process stays as long as this is open. Apart from `child`, which closes its input when waited for.
    lifeline: Option<ChildStdin>,
    pid: i32,
}

/// A running container. Killed when dropped.
#[derive(Debug)]
pub(crate) struct ContainerProcess {
    child: Child,
    reports: Lines<BufReader<ChildStdout>>,
    /// The first process of the container: signals go there.
    init: i32,
    /// The process of the command.
    command: Option<i32>,
    /// Set when the container has ended before it was handed out.
    ended: Option<Exit>,
}

// === impl Helper ===

impl Helper {
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// Creates the node's network.
    pub(crate) async fn node(&self, spec: &NodeSpec) -> Result<Holder> {
        self.hold("node", spec).await
    }

    /// Creates a pod's namespaces.
    pub(crate) async fn sandbox(&self, spec: &SandboxSpec) -> Result<Holder> {
        self.hold("sandbox", spec).await
    }

    async fn hold(&self, role: &str, spec: &impl Serialize) -> Result<Holder> {
        let (mut child, mut reports) = self.start(role, spec).await?;
        match next_report(&mut reports).await? {
            Report::Ready => {
                let pid = pid_of(&child)?;
                let lifeline = child.stdin.take();
                Ok(Holder { child, lifeline, pid })
            }
            Report::Failed(reason) => bail!(reason),
            other => bail!("unexpected report {other:?}"),
        }
    }

    /// Starts a container and waits until its command runs. A command that cannot be run counts as a container
    /// that has exited.
    pub(crate) async fn container(&self, spec: &ContainerSpec) -> Result<ContainerProcess> {
        let (child, mut reports) = self.start("container", spec).await?;
        let init = match next_report(&mut reports).await? {
            Report::Init(init) => init,
            Report::Failed(reason) => bail!(reason),
            other => bail!("unexpected report {other:?}"),
        };
        let (command, ended) = match next_report(&mut reports).await? {
            Report::Started => (first_child(init), None),
            Report::Exited(exit) => (None, Some(exit)),
            Report::Failed(reason) => bail!(reason),
            other => bail!("unexpected report {other:?}"),
        };
        Ok(ContainerProcess {
            child,
            reports,
            init,
            command,
            ended,
        })
    }

    async fn start(
        &self,
        role: &str,
        spec: &impl Serialize,
    ) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
        let mut child = Command::new(&self.program)
            .arg(role)
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for the mesh, which then ends its processes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let line = format!("{}\n", serde_json::to_string(spec)?);
        let stdin = child.stdin.as_mut().context("the helper has no input")?;
        stdin
            .write_all(line.as_bytes())
            .await
            .context("the helper is gone")?;
        let stdout = child.stdout.take().context("the helper has no output")?;
        Ok((child, BufReader::new(stdout).lines()))
    }

    /// Runs a command in a container, with its environment; `init` is the container's first process.
    pub(crate) fn enter_container(&self, init: i32, argv: &[String]) -> Command {
        self.enter("container", init, argv)
    }

    /// Runs a command in the node's network with this input.
    pub(crate) async fn run_in_node(&self, node: i32, argv: &[&str], input: &str) -> Result<Output> {
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        let mut child = self
            .enter("node", node, &argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        Ok(tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .context("no end in sight")??)
    }

    fn enter(&self, what: &str, pid: i32, argv: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["enter", what, &pid.to_string(), "--"])
            .args(argv)
            .kill_on_drop(true);
        command
    }
}

// === impl Holder ===

impl Holder {
    /// The process, whose namespaces others may join.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the end that should not come.
    pub(crate) async fn gone(&mut self) {
        // Whatever the answer is, it is gone.
        let _ = self.child.wait().await;
    }

    /// Lets the namespaces go and waits for it.
    pub(crate) async fn release(mut self) {
        drop(self.lifeline.take());
        if tokio::time::timeout(Duration::from_secs(5), self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
    }
}

// === impl ContainerProcess ===

impl ContainerProcess {
    /// The container's first process.
    pub(crate) fn init(&self) -> i32 {
        self.init
    }

    /// The process of the container's command, as the machine numbers it.
    pub(crate) fn command(&self) -> Option<i32> {
        self.command
    }

    /// Waits for the container's end. May be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        loop {
            match self.reports.next_line().await {
                Ok(Some(line)) => {
                    if let Ok(Report::Exited(exit)) = serde_json::from_str(&line) {
                        return exit;
                    }
                }
                // The process that watched over it is gone, and the container with it.
                Ok(None) | Err(_) => return Exit::Signal(Signal::SIGKILL as i32),
            }
        }
    }

    /// Asks the container's command to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends all processes of the container at once.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&self, signal: Signal) {
        // The child is not reaped before `wait` has returned, so the number cannot mean another process as long
        // as this one is asked first.
        if self.child.id().is_some() {
            let _ = kill(Pid::from_raw(self.init), signal);
        }
    }
}

async fn next_report(reports: &mut Lines<BufReader<ChildStdout>>) -> Result<Report> {
    let line = tokio::time::timeout(PATIENCE, reports.next_line())
        .await
        .context("the helper did not answer in time")??
        .context("the helper died")?;
    serde_json::from_str(&line).context("the helper said something unexpected")
}

fn pid_of(child: &Child) -> Result<i32> {
    Ok(i32::try_from(child.id().context("the helper has ended")?)?)
}
