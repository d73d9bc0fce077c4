//! Crashes, and restarts for new certificates.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::agent::{Agent, LONG, alive, start_serving};
use crate::http::{get, get_on};
use crate::pod::{Pod, eventually};

fn kill_9(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

fn epoch(pod: &Pod) -> Option<u64> {
    let info = get(pod, 15000, "/server_info")?.body;
    let info: serde_json::Value = serde_json::from_str(&info).ok()?;
    info["command_line_options"]["restart_epoch"].as_u64()
}

#[test]
fn a_killed_envoy_serves_again() {
    let pod = Pod::new();
    let agent = start_serving(&pod, "", &[]);
    let envoy = agent.envoy();
    let shared_memory = agent.shared_memory();
    let start = Instant::now();
    kill_9(envoy);
    agent.eventually("serving again", LONG, || {
        get(&pod, 80, "/direct").filter(|answer| answer.status == 200)
    });
    println!("serving again after {:?}", start.elapsed());
    assert_ne!(agent.envoy(), envoy);
    assert!(
        !shared_memory.exists(),
        "the shared memory of the killed envoy is left"
    );
}

#[test]
fn a_killed_agent_takes_its_envoy_with_it() {
    let pod = Pod::new();
    let mut agent = start_serving(&pod, "", &[]);
    let envoy = agent.envoy();
    assert!(alive(envoy));
    agent.signal(Signal::SIGKILL);
    agent.ended(LONG);
    eventually("the end of envoy", LONG, || (!alive(envoy)).then_some(()));
}

#[test]
fn new_certificates_start_the_next_epoch_and_connections_live_on() {
    let pod = Pod::new();
    // The old epoch ends by a clock, not when this test has looked: the time is one that a busy machine keeps.
    let flags = "--certificatePath DIR/certs --certificateDelay 100ms --drainDuration 1s --parentShutdownDuration 10s";
    let agent = start_serving(&pod, flags, &[]);
    let old = agent.envoy();
    let mut kept = pod.connect(80).unwrap();
    assert_eq!(get_on(&mut kept, "/direct").unwrap().status, 200);
    assert_eq!(epoch(&pod), Some(0));

    std::fs::create_dir(agent.file("certs")).unwrap();
    std::fs::write(agent.file("certs/cert-chain.pem"), "certificate").unwrap();
    let mut served = 0;
    agent.eventually("epoch 1", LONG, || {
        // New connections are served all the time.
        assert_eq!(
            get(&pod, 80, "/direct").expect("no connection is refused").status,
            200
        );
        served += 1;
        (epoch(&pod) == Some(1)).then_some(())
    });
    assert!(served > 0);
    assert_eq!(
        get_on(&mut kept, "/direct")
            .expect("the old connection lives")
            .status,
        200
    );
    agent.eventually("the end of epoch 0", LONG, || (!alive(old)).then_some(()));
    assert_eq!(get(&pod, 80, "/direct").unwrap().status, 200);
    assert_eq!(agent.envoys().len(), 1);

    std::fs::write(agent.file("certs/key.pem"), "key").unwrap();
    agent.eventually("epoch 2", LONG, || (epoch(&pod) == Some(2)).then_some(()));
}

#[test]
fn a_crash_after_a_hot_restart_starts_from_epoch_0() {
    let pod = Pod::new();
    let agent = start_serving(&pod, "--certificatePath DIR/certs --certificateDelay 10ms", &[]);
    let old = agent.envoy();
    std::fs::create_dir(agent.file("certs")).unwrap();
    std::fs::write(agent.file("certs/key.pem"), "key").unwrap();
    agent.eventually("epoch 1", LONG, || (epoch(&pod) == Some(1)).then_some(()));
    let new = agent.envoys().into_iter().find(|pid| *pid != old).unwrap();
    kill_9(new);
    agent.eventually("epoch 0 again", LONG, || (epoch(&pod) == Some(0)).then_some(()));
    assert!(!alive(old), "agt_45: the old epoch has not been killed");
    assert_eq!(agent.envoys().len(), 1);
}

#[test]
fn without_hot_restart_new_certificates_replace_the_process() {
    let pod = Pod::new();
    let flags = "--certificatePath DIR/certs --certificateDelay 10ms --disableHotRestart";
    let agent = start_serving(&pod, flags, &[]);
    let old = agent.envoy();
    std::fs::create_dir(agent.file("certs")).unwrap();
    std::fs::write(agent.file("certs/key.pem"), "key").unwrap();
    agent.eventually("another envoy", LONG, || {
        let envoys = agent.envoys();
        (envoys.len() == 1 && envoys[0] != old).then_some(())
    });
    agent.eventually("serving again", LONG, || get(&pod, 80, "/direct"));
}

#[test]
fn an_envoy_that_cannot_start_is_tried_again_and_again() {
    let pod = Pod::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("bad.json"),
        r#"{"nothing_that_envoy_knows": 1, "admin": 7}"#,
    )
    .unwrap();
    let agent = Agent::launch_in(&pod, folder, "--customConfigFile DIR/bad.json", &[]);
    let mut log = String::new();
    agent.eventually("three pauses", LONG, || {
        log = agent.log();
        (log.matches("envoy will be restarted").count() >= 3).then_some(())
    });
    for delay in ["200ms", "400ms", "800ms"] {
        assert!(log.contains(delay), "agt_46: no pause of {delay} in\n{log}");
    }
}
