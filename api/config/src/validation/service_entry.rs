//! ServiceEntry (V7).

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::istio::networking::v1alpha3::ServiceEntry;
use mesh_api::istio::networking::v1alpha3::service_entry::{Endpoint, Resolution};

use super::primitive;
use super::problems::Problems;
use super::virtual_service::check_tags;
use crate::Protocol;

pub(super) fn check(entry: &ServiceEntry, problems: &mut Problems) {
    if entry.hosts.is_empty() {
        problems.report_field("hosts", "a service entry needs at least one host");
    }
    problems.each("hosts", &entry.hosts, |problems, host| {
        problems.check(match host.as_str() {
            "*" => Err("\"*\" stands for every host and is not allowed".to_owned()),
            host => primitive::wildcard_domain(host),
        });
    });
    let resolution = Resolution::try_from(entry.resolution);
    problems.each("addresses", &entry.addresses, |problems, address| {
        problems.check(primitive::subnet(address));
        if address.contains('/') && resolution == Ok(Resolution::Dns) {
            problems.report("a CIDR block needs resolution NONE or STATIC");
        }
    });
    check_ports(entry, problems);
    match resolution {
        Err(_) => problems.report_field("resolution", format!("unknown value {}", entry.resolution)),
        Ok(resolution) => check_endpoints(entry, resolution, problems),
    }
    problems.check_field("exportTo", primitive::export_to(&entry.export_to));
}

fn check_ports(entry: &ServiceEntry, problems: &mut Problems) {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    problems.each("ports", &entry.ports, |problems, port| {
        problems.check_field("name", primitive::label(&port.name));
        if !names.insert(port.name.clone()) {
            problems.report_field("name", format!("another port is named {:?}", port.name));
        }
        problems.check_field("number", primitive::port(port.number));
        if !numbers.insert(port.number) {
            problems.report_field("number", format!("another port has number {}", port.number));
        }
        if let Err(reason) = primitive::protocol(&port.protocol) {
            problems.report_field("protocol", reason);
        }
    });
    let tells_hosts_apart = |protocol: Protocol| protocol.is_http() || protocol.is_tls();
    if entry.hosts.len() > 1 && entry.resolution() != Resolution::None {
        problems.each("ports", &entry.ports, |problems, port| {
            if port.protocol.parse().is_ok_and(|protocol| !tells_hosts_apart(protocol)) {
                let reason = "several hosts need an HTTP or TLS protocol or resolution NONE: nothing else tells them apart";
                problems.report_field("protocol", reason);
            }
        });
    }
}

fn check_endpoints(entry: &ServiceEntry, resolution: Resolution, problems: &mut Problems) {
    match resolution {
        Resolution::None if !entry.endpoints.is_empty() => {
            problems.report_field("endpoints", "resolution NONE takes none");
        }
        Resolution::Static if entry.endpoints.is_empty() => {
            problems.report_field("endpoints", "resolution STATIC needs at least one");
        }
        Resolution::Dns if entry.endpoints.is_empty() => {
            problems.each("hosts", &entry.hosts, |problems, host| {
                if host.contains('*') {
                    problems
                        .report("resolution DNS without endpoints resolves the hosts: no wildcards (R-SE-3)");
                }
            })
        }
        _ => {}
    }
    let ports: BTreeMap<_, _> = entry
        .ports
        .iter()
        .map(|port| (port.name.as_str(), port.number))
        .collect();
    problems.each("endpoints", &entry.endpoints, |problems, endpoint| {
        check_endpoint(endpoint, resolution, &ports, problems);
    });
}

fn check_endpoint(
    endpoint: &Endpoint,
    resolution: Resolution,
    ports: &BTreeMap<&str, u32>,
    problems: &mut Problems,
) {
    let address = endpoint.address.as_str();
    if let (Some(path), Resolution::Static) = (address.strip_prefix("unix://"), resolution) {
        problems.check_field("address", primitive::unix_path(path));
        if !endpoint.ports.is_empty() {
            problems.report_field("ports", "a Unix socket has no ports");
        }
        if ports.len() != 1 {
            problems.report_field(
                "address",
                "a Unix socket needs a service entry with exactly one port",
            );
        }
    } else {
        problems.check_field(
            "address",
            match resolution {
                Resolution::Dns if !primitive::is_ip(address) => primitive::fqdn(address),
                _ => primitive::ip(address),
            },
        );
        problems.each_entry("ports", &endpoint.ports, |problems, name, number| {
            if !ports.contains_key(name.as_str()) {
                problems.report("the service entry has no port of this name");
            }
            problems.check(primitive::port(*number));
        });
    }
    check_tags("labels", &endpoint.labels, problems);
}
