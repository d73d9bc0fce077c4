//! The guide, step by step.

use std::fs;
use std::path::Path;

use mesh_testing::eventually;

use super::guide::{self, Action, Shown, Step};
use super::machine::{Machine, PATIENCE, has};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ADAPTERS.md");

fn text() -> (Vec<Step>, Vec<Shown>) {
    guide::read(&fs::read_to_string(GUIDE).unwrap())
}

fn is_call(step: &Step) -> bool {
    matches!(&step.action, Action::Type(command) if command.starts_with("mixc "))
}

/// Whether this shows what a call before did: a reader looks again until it does.
fn is_effect(step: &Step) -> bool {
    match &step.action {
        Action::Look => true,
        Action::Type(_) => step.terminal.is_empty() && !step.printed.is_empty() && !is_call(step),
        Action::Stop => false,
    }
}

/// A call and what is to be seen of it. Mixer needs a moment for changed files, and a reader who sees nothing calls again.
async fn call(machine: &mut Machine, steps: &[Step]) {
    eventually(PATIENCE, async || {
        for step in steps {
            match &step.action {
                Action::Type(command) => has(&machine.run(command)?, &step.printed)?,
                _ => machine.shows(&step.terminal, &step.printed)?,
            }
        }
        Ok::<_, String>(())
    })
    .await
    .unwrap();
}

/// What Mixer says of the calls that have come for a while: not even one that nobody waited for has failed.
fn assert_nothing_failed(machine: &Machine, terminal: &str) {
    if terminal != "calls" {
        return;
    }
    let metrics = machine.run("curl -s localhost:15014/metrics").unwrap();
    let calls = |failed: &str| -> Vec<&str> {
        let of = |line: &&str| line.starts_with("mixer_runtime_dispatches_total{") && line.contains(failed);
        metrics.lines().filter(of).collect()
    };
    assert!(!calls("error=\"false\"").is_empty(), "{metrics}");
    let failed = calls("error=\"true\"");
    assert!(failed.iter().all(|line| line.ends_with(" 0")), "{failed:?}");
}

/// M108, M109, M110: the three samples, made from the text alone, are called by Check and Report of a Mixer that runs, and replaced
/// while calls come, none of which fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_25_m108_m109_m110_the_guide_does_what_it_says() {
    let (steps, _) = text();
    let calls = steps.iter().position(is_call).unwrap();
    assert!(
        calls < 6,
        "a first line takes more than 6 commands: {:?}",
        &steps[..=calls]
    );

    let mut machine = Machine::start().await;
    let mut rest = &steps[..];
    while let Some(step) = rest.first() {
        let mut done = 1;
        match &step.action {
            Action::Type(_) if is_call(step) => {
                done += rest[1..].iter().take_while(|step| is_effect(step)).count();
                call(&mut machine, &rest[..done]).await;
            }
            Action::Type(command) if !step.terminal.is_empty() => {
                machine.begin(&step.terminal, command);
                machine.wait(&step.terminal, &step.printed).await;
            }
            Action::Type(command) => match command.strip_prefix("cd ") {
                Some(folder) => machine.folder = machine.folder.join(folder).canonicalize().unwrap(),
                // The programs of this tree are built already.
                None if command.starts_with("cargo build ") => {}
                None => {
                    let printed = machine.run(command).unwrap();
                    has(&printed, &step.printed).unwrap();
                }
            },
            Action::Stop => {
                machine.stop(&step.terminal).await;
                assert_nothing_failed(&machine, &step.terminal);
            }
            Action::Look => machine.wait(&step.terminal, &step.printed).await,
        }
        rest = &rest[done..];
    }
    assert!(machine.home().join("myootprint/instances.txt").is_file());
}

/// Files that the text shows whole are those that are built.
#[test]
fn m108_m109_the_guide_shows_the_samples_as_they_are() {
    let (_, files) = text();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for sample in ["mygrpcprint", "sampleprint"] {
        let folder = format!("mixer/samples/{sample}/");
        for name in ["build.rs", "proto/config.proto", "src/lib.rs", "src/main.rs"] {
            let path = format!("{folder}{name}");
            assert!(files.iter().any(|file| file.path == path), "{path} is not shown");
        }
    }
    for Shown { path, text } in files {
        let built = fs::read_to_string(tree.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(built == text, "{path} is not what the guide shows");
    }
}
