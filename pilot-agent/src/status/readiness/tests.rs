//! What counts as ready.

use std::net::IpAddr;

use super::{Dump, Listeners, Stats, Wanted};
use crate::config::tests::resolve;

fn wanted(ports: &[u16], gateway: bool) -> Wanted {
    let ips = ["10.0.0.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    Wanted {
        ports: ports.to_vec(),
        ips: ips.to_vec(),
        gateway,
    }
}

fn listeners(addresses: &[(&str, u16)]) -> Listeners {
    let each = addresses.iter().map(|(address, port)| {
        format!(r#"{{"name":"x","local_address":{{"socket_address":{{"address":"{address}","port_value":{port}}}}}}}"#)
    });
    let text = format!(
        r#"{{"listener_statuses":[{}]}}"#,
        each.collect::<Vec<_>>().join(",")
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn agt_70_only_what_envoy_accepted_counts() {
    let stats = Stats::parse(
        "cluster_manager.cds.update_rejected: 1\nlistener_manager.lds.update_success: 2\nlistener_manager.workers_started: 1\n",
    );
    assert!(!stats.clusters && stats.listeners && stats.workers);
    let stats = Stats::parse("cluster_manager.cds.update_success: 0\n");
    assert!(!stats.clusters && !stats.listeners && !stats.workers);
    let stats = Stats::parse("cluster_manager.cds.update_success: 1\n");
    assert!(stats.clusters);
    assert_eq!(Stats::parse("nonsense"), Stats::default());
}

#[test]
fn pain_10_envoy_is_not_ready_on_routes_that_it_rejected() {
    let rejected = "http.outbound_0.0.0.0_80.rds.80.update_rejected: 3\n";
    let stats = Stats::parse(rejected);
    assert_eq!(stats.missing_routes(), ["http.outbound_0.0.0.0_80.rds.80"]);
    // What it accepted before stays in force.
    let accepted = "http.outbound_0.0.0.0_80.rds.80.update_success: 1\n";
    assert_eq!(
        Stats::parse(&format!("{rejected}{accepted}")).missing_routes(),
        Vec::<String>::new()
    );
    assert_eq!(Stats::parse(accepted).missing_routes(), Vec::<String>::new());
}

#[test]
fn agt_70_one_application_port_on_an_address_of_the_pod_is_enough() {
    let cases: [(&[(&str, u16)], bool); 5] = [
        (&[("10.0.0.1", 80)], true),
        (&[("2001:db8::1", 81)], true),
        (&[("10.0.0.2", 80)], false),
        (&[("0.0.0.0", 80)], false),
        (&[("10.0.0.1", 82)], false),
    ];
    for (addresses, want) in cases {
        let wanted = wanted(&[80, 81], false);
        let served = listeners(addresses).served(&wanted);
        assert_eq!(wanted.satisfied_by(&served), want, "{addresses:?}");
    }
}

#[test]
fn agt_70_a_filter_chain_of_the_virtual_inbound_listener_serves_a_port() {
    let text = r#"{"configs":[{"name":"virtualInbound","active_state":{"listener":{"filter_chains":[
        {"filter_chain_match":{"destination_port":80,"prefix_ranges":[{"address_prefix":"10.0.0.1"}]}},
        {"name":"passthrough"}]}}}]}"#;
    let served: Vec<u16> = serde_json::from_str::<Dump>(text).unwrap().served().collect();
    assert!(wanted(&[80], false).satisfied_by(&served));
    assert!(!wanted(&[81], false).satisfied_by(&served));
    assert_eq!(serde_json::from_str::<Dump>("{}").unwrap().served().count(), 0);
}

#[test]
fn agt_70_where_nothing_is_captured_no_port_is_waited_for() {
    for (mode, want) in [("REDIRECT", vec![80]), ("TPROXY", vec![80]), ("NONE", vec![])] {
        let env = [
            ("POD_NAME", "a"),
            ("POD_NAMESPACE", "b"),
            ("ISTIO_META_INTERCEPTION_MODE", mode),
        ];
        let config = resolve("--applicationPorts 80", &env, &["10.0.0.1"]).unwrap();
        assert_eq!(Wanted::of(&config).ports, want, "{mode}");
    }
}

#[test]
fn agt_72_a_gateway_needs_every_port_on_every_address() {
    let wanted = wanted(&[80, 443], true);
    for (addresses, want) in [
        (vec![("0.0.0.0", 80), ("0.0.0.0", 443)], vec![]),
        (vec![("0.0.0.0", 80), ("::", 443)], vec![]),
        (vec![("0.0.0.0", 80)], vec![443]),
        (vec![("0.0.0.0", 80), ("10.0.0.1", 443)], vec![443]),
    ] {
        let served = listeners(&addresses).served(&wanted);
        assert_eq!(wanted.missing(&served), want, "{addresses:?}");
        assert_eq!(wanted.satisfied_by(&served), want.is_empty());
    }
}
