//! Leaving without cutting requests.

use std::io::Write as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::agent::{Agent, LONG, alive, start_serving};
use crate::http::{get, read_head};
use crate::pod::Pod;

/// Longer than [`LONG`]: who ends within that has not waited for the limit.
const LONG_DRAIN: (&str, &str) = ("TERMINATION_DRAIN_DURATION_SECONDS", "60");

/// An application on port 8080 that answers its first request after `delay`. Says when the request is there.
fn slow_application(pod: &Pod, delay: Duration) -> mpsc::Receiver<()> {
    let listener = pod.listen(8080);
    let (arrived, has_arrived) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream).unwrap();
        arrived.send(()).unwrap();
        // Nobody sends: this is a pause that ends early only with the test.
        let (_keep, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(delay);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow");
    });
    has_arrived
}

#[test]
fn agt_64_a_request_in_flight_is_finished_before_the_agent_ends() {
    let pod = Pod::new();
    let mut agent = start_serving(&pod, "--statusPort 15020", &[LONG_DRAIN]);
    let envoy = agent.envoy();
    agent.eventually("ready", LONG, || {
        get(&pod, 15020, "/healthz/ready").filter(|ready| ready.status == 200)
    });
    let arrived = slow_application(&pod, Duration::from_secs(4));
    std::thread::scope(|scope| {
        let request = scope.spawn(|| get(&pod, 80, "/slow"));
        arrived.recv_timeout(LONG).unwrap();
        let start = Instant::now();
        agent.signal(Signal::SIGTERM);
        let ready = agent.eventually("not ready", LONG, || {
            get(&pod, 15020, "/healthz/ready").filter(|ready| ready.status == 503)
        });
        assert_eq!(ready.body, "draining\n");
        assert_eq!(
            get(&pod, 80, "/direct").unwrap().status,
            200,
            "new connections are still served"
        );
        let answer = request.join().unwrap().expect("the request was cut");
        assert_eq!((answer.status, answer.body.as_str()), (200, "slow"));
        assert_eq!(agent.ended(LONG).code(), Some(0), "{}", agent.log());
        println!("ended after {:?}", start.elapsed());
    });
    assert!(!alive(envoy));
    let log = agent.log();
    assert!(log.contains("envoy has no connections any more"), "{log}");
}

#[test]
fn agt_62_the_drain_ends_at_its_limit() {
    let pod = Pod::new();
    let mut agent = start_serving(&pod, "", &[("TERMINATION_DRAIN_DURATION_SECONDS", "1")]);
    let _kept = pod.connect(80).unwrap();
    let start = Instant::now();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended(LONG).code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(1), "{}", agent.log());
}

#[test]
fn an_idle_proxy_leaves_at_once_and_leaves_nothing_behind() {
    let pod = Pod::new();
    let mut agent = start_serving(&pod, "", &[LONG_DRAIN]);
    let shared_memory = agent.shared_memory();
    assert!(shared_memory.exists());
    let start = Instant::now();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended(LONG).code(), Some(0));
    println!("ended after {:?}", start.elapsed());
    assert!(!shared_memory.exists());
}

#[test]
fn a_minimum_drain_keeps_serving_although_nobody_is_connected() {
    let pod = Pod::new();
    let mut agent = start_serving(&pod, "", &[("MINIMUM_DRAIN_DURATION", "1s")]);
    let start = Instant::now();
    agent.signal(Signal::SIGTERM);
    agent.eventually("the drain", LONG, || {
        agent.log().contains("draining envoy").then_some(())
    });
    assert_eq!(get(&pod, 80, "/direct").unwrap().status, 200);
    assert_eq!(agent.ended(LONG).code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn an_envoy_that_still_waits_for_pilot_leaves_at_once() {
    let pod = Pod::new();
    let mut agent = Agent::start(&pod, "--discoveryAddress 127.0.0.1:15010", &[LONG_DRAIN]);
    let start = Instant::now();
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.ended(LONG).code(), Some(0));
    println!("ended after {:?}", start.elapsed());
}
