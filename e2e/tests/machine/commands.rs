//! The commands of `cargo mesh`, as a person types them, on a whole mesh.

use std::process::{Command, Output};

use e2e::mesh::layout::Layout;
use e2e::mesh::programs;
use e2e::mesh::state::State;

/// One mesh, driven by its commands only.
struct Terminal {
    name: String,
}

// === impl Terminal ===

impl Terminal {
    fn new(what: &str) -> Self {
        Self {
            name: format!("cli-{what}-{}", std::process::id()),
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["--name", &self.name])
            .args(args)
            .output()
            .unwrap()
    }

    fn up(&self, args: &[&str]) -> Output {
        let sample = programs::workspace().join("e2e/samples/sleep");
        let sample = sample.to_str().unwrap();
        self.run(&[&["up", "--detach", "--no-build", "-f", sample], args].concat())
    }

    fn layout(&self) -> Layout {
        Layout::in_target(&programs::target().unwrap(), Some(&self.name))
    }

    fn state(&self) -> State {
        serde_json::from_slice(&std::fs::read(self.layout().state()).unwrap()).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_mesh_is_started_looked_at_used_and_ended() {
    let terminal = Terminal::new("life");
    let up = terminal.up(&[]);
    assert!(
        out(&up).contains("ready: http://127.0.0.1:") && up.status.success(),
        "{}{}",
        out(&up),
        err(&up)
    );

    let again = terminal.up(&[]);
    assert!(!again.status.success());
    assert!(err(&again).contains("a mesh runs here already") && err(&again).contains("cargo mesh down"));
    assert_eq!(err(&again).trim().lines().count(), 1);

    let state = terminal.state();
    assert!(state.ready && state.config_dir.is_dir());
    let names: Vec<_> = state
        .components
        .iter()
        .map(|component| component.name.as_str())
        .collect();
    assert_eq!(names, ["galley", "pilot"]);
    assert!(
        state
            .components
            .iter()
            .all(|component| component.pid.is_some() && component.log.is_file())
    );
    let pod = state.pod("sleep-0").unwrap();
    assert!(
        pod.admin.is_some() && pod.pid.is_some() && pod.netns.as_ref().unwrap().exists() && pod.log.is_file()
    );

    let status = terminal.run(&["status"]);
    assert!(status.status.success() && out(&status).contains("sleep-0") && out(&status).contains("2/2"));
    let exec = terminal.run(&["exec", "sleep-0", "--", "sh", "-c", "echo $HOSTNAME; exit 3"]);
    assert_eq!((out(&exec).as_str(), exec.status.code()), ("sleep-0\n", Some(3)));
    // EX-0609: the rules as anybody sees them who enters the pod's network.
    let rules = terminal.run(&["exec", "sleep-0", "--", "iptables", "-t", "nat", "-S"]);
    assert_eq!(
        out(&rules).matches("-A ISTIO_OUTPUT ").count(),
        5,
        "{}",
        out(&rules)
    );
    let logs = terminal.run(&["logs", "sleep-0", "-c", "istio-proxy"]);
    assert!(out(&logs).contains("envoy is ready"), "{}", out(&logs));
    assert!(out(&terminal.run(&["logs", "pilot"])).contains("proxy connected"));
    assert_eq!(
        out(&terminal.run(&["label", "sleep-0", "version=v3"])),
        "pod sleep-0 labeled\n"
    );
    let missing = terminal.run(&["exec", "nobody", "--", "true"]);
    assert!(err(&missing).starts_with("error: pod nobody does not exist"));

    let down = terminal.run(&["down"]);
    assert!(down.status.success(), "{}", err(&down));
    assert!(!terminal.layout().root().exists());
    assert!(err(&terminal.run(&["status"])).contains("no mesh is running"));
}

#[test]
fn after_a_kill_of_the_mesh_nothing_runs_and_down_removes_its_files() {
    let terminal = Terminal::new("kill");
    let up = terminal.up(&[]);
    assert!(up.status.success(), "{}{}", out(&up), err(&up));
    let state = terminal.state();
    let lock = std::fs::read_to_string(terminal.layout().root().join("lock")).unwrap();
    let killed = Command::new("kill").args(["-9", lock.trim()]).status().unwrap();
    assert!(killed.success());
    let began = std::time::Instant::now();
    let processes: Vec<i32> = state
        .pods
        .iter()
        .flat_map(|pod| {
            pod.containers
                .iter()
                .flat_map(|container| [container.pid, container.init])
                .chain([pod.pid])
        })
        .flatten()
        .collect();
    assert!(processes.len() > 8);
    let runs = |pid: &&i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    };
    while processes.iter().any(|pid| runs(&pid)) {
        assert!(
            began.elapsed().as_secs() < 10,
            "{:?} run",
            processes.iter().filter(runs).collect::<Vec<_>>()
        );
        std::thread::yield_now();
    }
    let down = terminal.run(&["down"]);
    assert!(
        out(&down).contains("removed what the last one left"),
        "{}{}",
        out(&down),
        err(&down)
    );
    assert!(!terminal.layout().root().exists());
    // The place is free again.
    assert!(terminal.up(&[]).status.success());
}

#[test]
fn a_component_can_be_left_out_and_mistakes_are_named_in_one_line() {
    let terminal = Terminal::new("bad");
    for (args, want) in [
        (
            &["up", "--without", "mixer"][..],
            "unknown component mixer: one of galley, pilot",
        ),
        (
            &["up", "-f", "/no/such/file"],
            "error: /no/such/file does not exist",
        ),
        (
            &["up", "--envoy", "0.1"],
            "error: --envoy 0.1 is no file and none of the pinned versions",
        ),
        (&["exec", "a", "--", "b"], "error: no mesh is running"),
    ] {
        let output = terminal.run(args);
        assert!(!output.status.success());
        assert!(err(&output).contains(want), "{args:?}: {}", err(&output));
    }
    let strange = Command::new(env!("CARGO_BIN_EXE_mesh"))
        .args(["--name", "../x", "status"])
        .output()
        .unwrap();
    assert!(err(&strange).contains("a name has up to 40"), "{}", err(&strange));
}
