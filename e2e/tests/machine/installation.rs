//! What `cargo mesh up` installs: the components of §2.2, as far as they exist.

use std::collections::BTreeMap;

use e2e::mesh::programs::workspace;

use crate::commands::{Terminal, err, out};

/// Pods and their main containers; the last has a proxy besides, which is the injector's work.
const PODS: [(&str, &str, &str); 7] = [
    ("istio-pilot-0", "discovery", "1/1"),
    ("istio-telemetry-0", "mixer", "1/1"),
    ("istio-policy-0", "mixer", "1/1"),
    ("istio-galley-0", "galley", "1/1"),
    ("istio-ingressgateway-0", "istio-proxy", "1/1"),
    ("istio-egressgateway-0", "istio-proxy", "1/1"),
    ("sleep-0", "istio-proxy", "2/2"),
];

/// Services and their ports.
const SERVICES: [(&str, &[i32]); 6] = [
    ("istio-pilot", &[8080, 15010, 15014]),
    ("istio-telemetry", &[9091, 15004, 15014, 42422]),
    ("istio-policy", &[9091, 15004, 15014]),
    ("istio-galley", &[443, 9901, 15014]),
    ("istio-ingressgateway", &[80, 443, 15020, 15443, 31400]),
    ("istio-egressgateway", &[80, 443, 15443]),
];

/// Not all of §2.2: Citadel is not there yet, nor the injector as a webhook, nor Pilot's port for xDS over mutual TLS.
#[test]
fn ex_06_the_components_of_an_installation_are_present_and_ready() {
    let terminal = Terminal::new("components");
    let egress = workspace().join("e2e/samples/egress-gateway");
    let up = terminal.up(&["-f", egress.to_str().unwrap()]);
    assert!(up.status.success(), "{}{}", out(&up), err(&up));

    let status = terminal.run(&["status"]);
    assert!(status.status.success(), "{}{}", out(&status), err(&status));
    let text = out(&status);
    // NAMESPACE NAME READY STATUS RESTARTS IP
    let shown: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter_map(|row| Some((*row.get(1)?, row)))
        .collect();
    let state = terminal.state();
    for (pod, container, ready) in PODS {
        let row = shown
            .get(pod)
            .unwrap_or_else(|| panic!("{pod} is missing:\n{text}"));
        assert_eq!(row[2..5], [ready, "Running", "0"], "{pod}:\n{text}");
        assert!(
            state.pod(pod).unwrap().container(container).is_some(),
            "{pod} {container}"
        );
    }
    for (name, ports) in SERVICES {
        let host = format!("{name}.istio-system.svc.cluster.local");
        let service = state.services.iter().find(|service| service.host == host);
        let mut found = service
            .unwrap_or_else(|| panic!("{host} is missing"))
            .ports
            .clone();
        found.sort_unstable();
        assert_eq!(found, ports, "{name}");
    }
    assert_eq!(state.problems, [""; 0]);
}
