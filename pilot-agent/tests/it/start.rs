//! Starting, with and without what is needed.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::agent::{Agent, LONG, PROGRAM, alive, start_serving, write_bootstrap};
use crate::http::{get, send};
use crate::pod::Pod;

#[test]
fn without_pilot_envoy_starts_and_waits() {
    let pod = Pod::new();
    let agent = Agent::start(&pod, "--discoveryAddress 127.0.0.1:15010 --statusPort 15020", &[]);
    let ready = get(&pod, 15020, "/healthz/ready").unwrap();
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.body,
        "pilot has delivered neither clusters (CDS) nor listeners (LDS)\n"
    );
    let bootstrap = std::fs::read_to_string(agent.file("proxy/envoy-rev0.json")).unwrap();
    assert!(bootstrap.contains("sidecar~10.0.0.1~"), "{bootstrap}");
    let log = agent.log();
    assert!(
        log.contains("--aFlagOfTheFuture"),
        "agt_10: the ignored flag is not named in\n{log}"
    );
}

#[test]
fn request_prints_the_answer_and_nothing_else() {
    let pod = Pod::new();
    let _agent = Agent::start(&pod, "--discoveryAddress 127.0.0.1:15010", &[]);
    let output = pod
        .command(PROGRAM)
        .args(["request", "get", "stats?filter=^server.hot_restart_epoch$"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "server.hot_restart_epoch: 0\n",
        "{output:?}"
    );
    let output = pod
        .command(PROGRAM)
        .args(["request", "POST", "/logging?level=info"])
        .output()
        .unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("active loggers"));
    let output = pod
        .command(PROGRAM)
        .args(["request", "GET", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.len()),
        (Some(1), 0),
        "{output:?}"
    );
}

#[test]
fn request_without_envoy_fails_on_one_line() {
    let pod = Pod::new();
    let output = pod
        .command(PROGRAM)
        .args(["request", "GET", "/ready"])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.starts_with("pilot-agent: ") && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn a_missing_envoy_is_named_and_nothing_is_started() {
    let pod = Pod::new();
    let mut agent = Agent::launch(&pod, "--binaryPath /nonexistent/envoy", &[]);
    assert_eq!(agent.ended(LONG).code(), Some(1));
    let log = agent.log();
    assert!(log.contains("--binaryPath: /nonexistent/envoy"), "{log}");
}

#[test]
fn a_flag_that_cannot_be_used_is_named() {
    let pod = Pod::new();
    let mut agent = Agent::launch(&pod, "--drainDuration 90s", &[]);
    assert_eq!(agent.ended(LONG).code(), Some(1));
    assert!(
        agent
            .log()
            .contains("--parentShutdownDuration: 1m0s is not longer than --drainDuration 1m30s")
    );
}

#[test]
fn version_prints_one_line() {
    let output = Command::new(PROGRAM).arg("version").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}

#[test]
fn the_metrics_listener_leads_to_metrics_only() {
    let pod = Pod::new();
    let folder = tempfile::tempdir().unwrap();
    // The generated bootstrap, with files in place of Pilot.
    let agent = {
        write_bootstrap(folder.path(), 15000, 80);
        let dir = folder.path().display();
        let source = |name: &str| {
            format!(r#"{{"resource_api_version": "V3", "path_config_source": {{"path": "{dir}/{name}"}}}}"#)
        };
        let sources = format!(
            r#"{{"dynamic_resources": {{"lds_config": {}, "cds_config": {}}}, "static_resources": {{"clusters": [{{"name": "application"}}]}}}}"#,
            source("lds.json"),
            source("cds.json")
        );
        let file = folder.path().join("override.json");
        std::fs::write(&file, sources).unwrap();
        let env = [("ISTIO_BOOTSTRAP_OVERRIDE", file.to_str().unwrap())];
        Agent::start(
            &pod,
            "--discoveryAddress 127.0.0.1:15010 --statusPort 15020",
            &env,
        )
    };
    agent.eventually("the metrics", LONG, || {
        get(&pod, 15090, "/stats/prometheus")
            .filter(|answer| answer.status == 200 && answer.body.contains("envoy_server_live"))
    });
    for (method, path) in [
        ("GET", "/stats"),
        ("GET", "/config_dump"),
        ("POST", "/quitquitquit"),
        ("POST", "/stats/prometheus/../../quitquitquit"),
        ("POST", "/stats/prometheus/..%2f..%2fquitquitquit"),
        ("POST", "/stats/prometheus/%2e%2e/%2e%2e/quitquitquit"),
    ] {
        let status = send(&pod, method, 15090, path, "").map(|answer| answer.status);
        assert!(matches!(status, Some(400 | 404)), "{method} {path}: {status:?}");
    }
    assert!(alive(agent.envoy()));
}

#[test]
fn two_agents_do_not_disturb_each_other() {
    let pod = Pod::new();
    let start = |admin: u16, port: u16| {
        let folder = tempfile::tempdir().unwrap();
        write_bootstrap(folder.path(), admin, port);
        let flags = format!("--customConfigFile DIR/bootstrap.json --proxyAdminPort {admin}");
        let agent = Agent::launch_in(&pod, folder, &flags, &[]);
        agent.eventually("the listener", LONG, || get(&pod, port, "/direct"));
        agent
    };
    let (one, mut other) = (start(16000, 81), start(16001, 82));
    assert_ne!(one.shared_memory(), other.shared_memory());
    let envoy = one.envoy();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(other.envoy()), Signal::SIGKILL).unwrap();
    other.eventually("the other envoy again", LONG, || get(&pod, 82, "/direct"));
    other.signal(Signal::SIGTERM);
    assert_eq!(other.ended(LONG).code(), Some(0));
    assert_eq!(get(&pod, 81, "/direct").unwrap().status, 200);
    assert_eq!(one.envoy(), envoy);
}

#[test]
fn envoy_asked_to_quit_ends_the_agent() {
    let pod = Pod::new();
    let mut agent = start_serving(&pod, "", &[]);
    assert_eq!(
        send(&pod, "POST", 15000, "/quitquitquit", "").unwrap().status,
        200
    );
    assert_eq!(agent.ended(LONG).code(), Some(0), "{}", agent.log());
}
