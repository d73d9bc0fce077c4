//! The guide for authors, command by command.

use std::fs;
use std::path::Path;
use std::process::Command;

use mesh_testing::Process;

use crate::call::Adapter;
use crate::projects::{listening, python};
use crate::support::Author;

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

/// The value of a field of one line.
fn field(yaml: &str, name: &str) -> String {
    let line = yaml
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    line.unwrap().trim_matches('"').to_owned()
}

/// The author's commands run as they are written. Adapters get a port of their own, and what Mixer sends for a request by the
/// objects of the project is sent by the test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_25_m109_the_guide_does_what_it_says() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ADAPTERS.md")).unwrap();
    let commands = commands(&guide);
    let first = commands
        .iter()
        .position(|command| command.starts_with("mixc report"));
    assert!(first.unwrap() < 6, "{commands:?}");

    let author = Author::new();
    let programs = Path::new(env!("CARGO_BIN_EXE_mixgen")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut folder = author.path("");
    let mut adapter = None;
    let mut address = String::new();
    for command in &commands {
        if let Some(into) = command.strip_prefix("cd ") {
            folder.push(into);
        } else if command == "python3 run.py" {
            let mut started = Process::start(command, python(&folder)).unwrap();
            address = listening(&mut started).await;
            adapter = Some(started);
        } else if command.starts_with("mixs server") {
            assert!(folder.join("config").is_dir(), "{command}");
        } else if let Some(request) = command.strip_prefix("mixc report ") {
            let about = request.split("request.path=").nth(1).unwrap();
            let handler = fs::read_to_string(folder.join("config/handler.yaml")).unwrap();
            let mut called = Adapter::connect("metric", &address).await;
            let config = called.params("hello", &field(&handler, "file_path"));
            called.call(about, config).await.unwrap();
            let log = adapter.as_ref().map(Process::log).unwrap_or_default();
            let line = |line: &str| line.starts_with("metric ") && line.contains(about);
            assert!(log.lines().any(line), "{log}");
        } else {
            let mut shell = Command::new("bash");
            shell
                .args(["-e", "-c", command])
                .current_dir(&folder)
                .env("PATH", &path);
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{command}: {output:?}");
        }
    }
    assert!(author.read("hello/instances.txt").contains("/again"));
    // The template of one's own is there.
    let made = author.read("hello/config/audit.yaml");
    assert!(made.contains("kind: template"), "{made}");
    let service = author.read("hello/proto/audit/template_handler_service.proto");
    assert!(
        service.contains("rpc HandleAudit(HandleAuditRequest)"),
        "{service}"
    );
}
