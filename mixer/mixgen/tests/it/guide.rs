//! The guide for authors, command by command.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use mesh_testing::provision::wheels;
use mesh_testing::{Process, eventually};

use crate::projects::REQUIREMENTS;
use crate::support::Author;

const PATIENCE: Duration = Duration::from_secs(900);

/// Commands that go on until they are told to end, and what they say when they are ready.
const SERVERS: [(&str, &str); 3] = [
    ("python3 run.py", "listening on "),
    ("cargo run", "listening on "),
    ("mixs server", "listening"),
];

/// The commands of a text: `$ ` begins one, `> ` continues it.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push(command.to_owned());
        } else if let Some(more) = line.strip_prefix('>') {
            let command = commands.last_mut().expect("a command goes on");
            command.push('\n');
            command.push_str(more.strip_prefix(' ').unwrap_or(more));
        }
    }
    commands
}

/// A terminal in a network of its own, so that ports are free and nothing can be fetched.
struct Terminal {
    author: Author,
    /// Keeps the network.
    network: Process,
    /// Where commands run.
    folder: String,
    servers: Vec<Process>,
}

// === impl Terminal ===

impl Terminal {
    async fn open() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c"]);
        command.arg("ip link set lo up && echo up && exec sleep infinity");
        let mut network = Process::start("network", command).unwrap();
        let up = network.wait_for_line(PATIENCE, |line| (line == "up").then_some(()));
        up.await.unwrap();
        Self {
            author: Author::new(),
            network,
            folder: String::new(),
            servers: Vec::new(),
        }
    }

    fn command(&self, command: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_mixgen")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("nsenter");
        shell
            .args(["--user", "--preserve-credentials", "--net", "--target"])
            .arg(self.network.id().to_string())
            .args(["bash", "-e", "-o", "pipefail", "-c", command])
            .current_dir(self.author.path(&self.folder))
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", wheels(Path::new(REQUIREMENTS)).unwrap());
        shell
    }

    fn output(&self, command: &str) -> Output {
        self.command(command).output().unwrap()
    }

    /// Runs a command of the guide as an author does: servers in a terminal of their own until they are ready.
    async fn run(&mut self, command: &str) {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder = format!("{}{folder}/", self.folder);
            return;
        }
        if let Some((_, ready)) = SERVERS.iter().find(|(server, _)| command.starts_with(server)) {
            let mut server = Process::start(command, self.command(&format!("exec {command}"))).unwrap();
            let line = server.wait_for_line(PATIENCE, |line| line.contains(ready).then_some(()));
            line.await.unwrap();
            self.servers.push(server);
            return;
        }
        let output = self.output(command);
        assert!(output.status.success(), "{command}: {output:?}");
    }

    /// Runs a command until the adapter has written a line about it: Mixer takes a moment to see what changed.
    async fn request(&self, command: &str, seen: impl Fn(&str) -> bool) {
        let adapter = self.servers.first().expect("the adapter is started before");
        eventually(PATIENCE, async || {
            let output = self.output(command);
            if seen(&adapter.log()) {
                Ok(())
            } else {
                Err(format!(
                    "{output:?}, and the adapter has written:\n{}",
                    adapter.log()
                ))
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_25_m109_the_guide_does_what_it_says() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ADAPTERS.md")).unwrap();
    let commands = commands(&guide);
    let first = commands
        .iter()
        .position(|command| command.starts_with("mixc report"))
        .unwrap();
    assert!(first < 6, "{} commands to the first line", first + 1);

    let mut terminal = Terminal::open().await;
    for command in &commands {
        if !command.starts_with("mixc report") {
            terminal.run(command).await;
        } else if command.contains("/hello") {
            let line = |line: &str| line.starts_with("metric ") && line.contains("/hello");
            terminal.request(command, |log| log.lines().any(line)).await;
        } else {
            let file = terminal.author.path("hello/instances.txt");
            let again = |_: &str| fs::read_to_string(&file).is_ok_and(|text| text.contains("/again"));
            terminal.request(command, again).await;
        }
    }
    // The template of one's own is there.
    let made = terminal.author.read("hello/config/audit.yaml");
    assert!(made.contains("kind: template"), "{made}");
    let service = terminal
        .author
        .read("hello/proto/audit/template_handler_service.proto");
    assert!(
        service.contains("rpc HandleAudit(HandleAuditRequest)"),
        "{service}"
    );
}
