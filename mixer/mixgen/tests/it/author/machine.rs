//! A machine of its own to work on: nobody else uses its ports, and it has terminals.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mesh_testing::provision::wheels;
use mesh_testing::{Process, eventually};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use super::guide::matches;

/// Longer than anything here takes, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// What Python projects need, fetched before.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/project/python/requirements.txt");

/// A name with two addresses.
const HOSTS: &str = "127.0.0.1 localhost\n127.0.0.2 adapters.test\n127.0.0.3 adapters.test\n";

/// Somebody's machine. What runs on it ends with it.
pub(crate) struct Machine {
    /// Programs that were started in terminals.
    terminals: BTreeMap<String, Process>,
    /// Where the next terminal begins, and the first one is.
    pub(crate) folder: PathBuf,
    namespaces: Process,
    wheels: PathBuf,
    home: TempDir,
}

// === impl Machine ===

impl Machine {
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let hosts = home.path().join(".hosts");
        fs::write(&hosts, HOSTS).unwrap();
        let mut unshare = Command::new("unshare");
        if !Uid::effective().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let hosts = hosts.display();
        unshare
            .args(["--net", "--mount", "--", "bash", "-ec"])
            .arg(format!(
                "ip link set lo up; mount --bind {hosts} /etc/hosts; echo ready; exec sleep infinity"
            ));
        let mut namespaces = Process::start_bound("machine", &unshare).unwrap();
        namespaces
            .wait_for_line(PATIENCE, |line| (line == "ready").then_some(()))
            .await
            .unwrap();
        Self {
            terminals: BTreeMap::new(),
            folder: home.path().to_owned(),
            namespaces,
            wheels: wheels(Path::new(REQUIREMENTS)).unwrap(),
            home,
        }
    }

    /// Where everything is.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A shell with a command, in the folder of the moment.
    fn shell(&self, command: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_mixgen")).parent().unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("nsenter");
        shell.arg(format!("--target={}", self.namespaces.id()));
        if !Uid::effective().is_root() {
            shell.args(["--user", "--preserve-credentials"]);
        }
        shell
            // Who runs tests in the background has them ignore ctrl-c.
            .args(["--net", "--mount", "--", "env", "--default-signal=INT"])
            .args(["bash", "-c"])
            .arg(format!("cd '{}' || exit\n{command}", self.folder.display()))
            .env("PATH", path)
            .env("ISTIO_RS", concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            // pip takes what was fetched before.
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", &self.wheels);
        shell
    }

    /// Runs a command to its end; what it printed, or why it failed.
    pub(crate) fn run(&self, command: &str) -> Result<String, String> {
        let output = self.shell(command).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!(
                "{command}: {}\n{}{}",
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            )),
        }
    }

    /// Types a command in a terminal, which it has for itself from now on.
    pub(crate) fn begin(&mut self, terminal: &str, command: &str) {
        if let Some(before) = self.terminals.get_mut(terminal) {
            assert!(
                before.ended().is_some(),
                "{terminal} is busy when {command} is typed"
            );
        }
        // Typed by hand, a loop is left at ctrl-c whatever the command in it makes of that.
        let leave = if command.starts_with("while ") {
            "trap 'exit 130' INT\n"
        } else {
            ""
        };
        let process = Process::start_bound(terminal, &self.shell(&format!("{leave}{command}"))).unwrap();
        self.terminals.insert(terminal.to_owned(), process);
    }

    /// Stops what runs in a terminal, as ctrl-c does.
    pub(crate) async fn stop(&mut self, terminal: &str) {
        let process = self.terminals.get_mut(terminal).unwrap();
        let ended = process.ended();
        assert!(
            ended.is_none(),
            "{terminal} has ended with {ended:?}: {}",
            process.log()
        );
        killpg(
            Pid::from_raw(i32::try_from(process.id()).unwrap()),
            Signal::SIGINT,
        )
        .unwrap();
        process.wait(PATIENCE).await.unwrap();
    }

    /// Kills what runs in a terminal.
    pub(crate) fn kill(&mut self, terminal: &str) {
        self.terminals.get_mut(terminal).unwrap().kill();
    }

    /// Looks for lines in what a terminal shows.
    pub(crate) fn shows(&mut self, terminal: &str, wanted: &[String]) -> Result<(), String> {
        let process = self.terminals.get_mut(terminal).unwrap();
        match (has(&process.log(), wanted), process.ended()) {
            (Err(missing), Some(status)) => panic!("{terminal} has ended with {status}: {missing}"),
            (found, _) => found.map_err(|missing| format!("{terminal}: {missing}")),
        }
    }

    /// Waits until a terminal shows lines.
    pub(crate) async fn wait(&mut self, terminal: &str, wanted: &[String]) {
        eventually(PATIENCE, async || self.shows(terminal, wanted))
            .await
            .unwrap();
    }
}

/// Whether each of these lines is in a text.
pub(crate) fn has(text: &str, wanted: &[String]) -> Result<(), String> {
    let missing = wanted
        .iter()
        .find(|wanted| !text.lines().any(|line| matches(wanted, line)));
    match missing {
        None => Ok(()),
        Some(missing) => Err(format!("{missing:?} is missing in\n{text}")),
    }
}
