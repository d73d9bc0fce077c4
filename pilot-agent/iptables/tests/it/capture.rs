//! Where connections end under the rules: the truth table of spec 05 §2.4.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::Output;

use crate::namespace::{Namespace, succeeded};

/// Accepts on the port inside the namespace for ever and answers with `name`. The thread ends with the
/// test process.
fn serve(namespace: &Namespace, port: u16, name: &'static str) {
    let path = namespace.path();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(name.as_bytes());
        }
    });
    is_ready.recv().unwrap();
}

/// Connects from inside as the user and returns what the other side calls itself.
fn call(namespace: &Namespace, uid: &str, address: &str, port: u16) -> String {
    let script = format!("exec 3<>/dev/tcp/{address}/{port} && cat <&3");
    let output: Output = namespace
        .command("setpriv")
        .args([
            &format!("--reuid={uid}"),
            &format!("--regid={uid}"),
            "--clear-groups",
        ])
        .args(["timeout", "5", "bash", "-c", &script])
        .output()
        .unwrap();
    match output.status.success() {
        true => String::from_utf8(output.stdout).unwrap(),
        false => "nobody".to_owned(),
    }
}

/// A pod 10.5.0.1 with a neighbour 10.5.0.2 that listens on port 80.
fn pod() -> (Namespace, Namespace) {
    let (pod, neighbour) = (Namespace::new(), Namespace::new());
    pod.sh(&format!(
        "ip link add eth0 type veth peer name eth0 netns {}",
        neighbour.path()
    ));
    pod.sh("ip addr add 10.5.0.1/24 dev eth0; ip link set eth0 up");
    neighbour.sh("ip addr add 10.5.0.2/24 dev eth0; ip link set eth0 up");
    for (port, name) in [
        (80, "app"),
        (81, "other app"),
        (15001, "outbound"),
        (15006, "inbound"),
    ] {
        serve(&pod, port, name);
    }
    serve(&neighbour, 80, "neighbour");
    (pod, neighbour)
}

#[test]
fn connections_end_where_the_truth_table_says() {
    let (pod, neighbour) = pod();
    succeeded(&pod.iptables("-p 15001 -u 1337 -m REDIRECT -i * -x '' -b 80 -d 15020"));
    let cases = [
        (
            "the application to another pod",
            call(&pod, "1000", "10.5.0.2", 80),
            "outbound",
        ),
        (
            "the application to its own address",
            call(&pod, "1000", "10.5.0.1", 80),
            "inbound",
        ),
        (
            "the application to the loopback",
            call(&pod, "1000", "127.0.0.1", 80),
            "app",
        ),
        (
            "the proxy to the application",
            call(&pod, "1337", "127.0.0.1", 80),
            "app",
        ),
        (
            "the proxy to another pod",
            call(&pod, "1337", "10.5.0.2", 80),
            "neighbour",
        ),
        (
            "the proxy to its own address",
            call(&pod, "1337", "10.5.0.1", 80),
            "inbound",
        ),
        (
            "another pod to a captured port",
            call(&neighbour, "1000", "10.5.0.1", 80),
            "inbound",
        ),
        (
            "another pod to another port",
            call(&neighbour, "1000", "10.5.0.1", 81),
            "other app",
        ),
    ];
    for (who, got, want) in cases {
        assert_eq!(got, want, "{who}");
    }
    succeeded(&pod.iptables("clean"));
    assert_eq!(call(&pod, "1000", "10.5.0.2", 80), "neighbour");
    assert_eq!(call(&neighbour, "1000", "10.5.0.1", 80), "app");
}

#[test]
fn excluded_ranges_and_ports_are_not_captured() {
    let (pod, neighbour) = pod();
    succeeded(&pod.iptables("-u 1337 -i * -x 10.5.0.2/32 -b * -d 81"));
    assert_eq!(call(&pod, "1000", "10.5.0.2", 80), "neighbour");
    assert_eq!(call(&neighbour, "1000", "10.5.0.1", 80), "inbound");
    assert_eq!(call(&neighbour, "1000", "10.5.0.1", 81), "other app");
}

#[test]
fn only_included_ranges_are_captured() {
    let (pod, _neighbour) = pod();
    succeeded(&pod.iptables("-u 1337 -i 10.6.0.0/16 -b ''"));
    assert_eq!(call(&pod, "1000", "10.5.0.2", 80), "neighbour");
    pod.sh("ip route add 10.6.0.0/16 dev eth0");
    assert_eq!(call(&pod, "1000", "10.6.7.8", 80), "outbound");
}
