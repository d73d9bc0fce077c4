//! VirtualService (V6).

mod http;

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3::{
    Destination, L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute, VirtualService,
    port_selector,
};

use super::primitive::{self, Checked};
use super::problems::Problems;
use crate::{Host, MESH_GATEWAY};

pub(super) fn check(service: &VirtualService, problems: &mut Problems) {
    check_gateways(&service.gateways, problems);
    check_hosts(service, problems);
    if service.http.is_empty() && service.tcp.is_empty() && service.tls.is_empty() {
        problems.report("one of http, tcp and tls is needed");
    }
    problems.each("http", &service.http, |problems, route| {
        http::check(route, problems)
    });
    let hosts: Vec<Host> = service
        .hosts
        .iter()
        .map(|host| Host::from(host.as_str()))
        .collect();
    problems.each("tls", &service.tls, |problems, route| {
        check_tls(route, &hosts, problems)
    });
    problems.each("tcp", &service.tcp, |problems, route| check_tcp(route, problems));
    problems.check_field("exportTo", primitive::export_to(&service.export_to));
}

/// Checks the keys and values of a map of labels.
pub(super) fn check_tags(name: &str, labels: &BTreeMap<String, String>, problems: &mut Problems) {
    problems.each_entry(name, labels, |problems, key, value| {
        problems.check(primitive::tag(key));
        problems.check(primitive::tag(value));
    });
}

/// `name`, `namespace/name`, `./name`, or a legacy full name (`R-VS-2`).
fn check_gateways(gateways: &[String], problems: &mut Problems) {
    problems.each("gateways", gateways, |problems, gateway| {
        problems.check(match gateway.split_once('/') {
            Some((".", name)) => primitive::label(name),
            Some((namespace, name)) => primitive::label(namespace).and_then(|()| primitive::label(name)),
            None => primitive::fqdn(gateway),
        });
    });
}

fn check_hosts(service: &VirtualService, problems: &mut Problems) {
    let in_sidecars =
        service.gateways.is_empty() || service.gateways.iter().any(|gateway| gateway == MESH_GATEWAY);
    if service.hosts.is_empty() {
        problems.report_field("hosts", "a virtual service needs at least one host");
    }
    let before = problems.len();
    problems.each("hosts", &service.hosts, |problems, host| {
        if host == "*" && in_sidecars {
            problems.report("\"*\" needs gateways without the word mesh");
        } else if !primitive::is_ip(host) {
            problems.check(primitive::wildcard_domain(host));
        }
    });
    if problems.len() > before {
        return;
    }
    let hosts: Vec<Host> = service
        .hosts
        .iter()
        .map(|host| Host::from(host.as_str()))
        .collect();
    let mut index = 0;
    problems.each("hosts", &hosts, |problems, host| {
        if let Some(other) = hosts[..index].iter().find(|other| other.matches(host)) {
            problems.report(format!("overlaps with {other}"));
        }
        index += 1;
    });
}

fn check_tls(route: &TlsRoute, hosts: &[Host], problems: &mut Problems) {
    if route.r#match.is_empty() {
        problems.report_field("match", "a TLS route needs at least one match");
    }
    problems.each("match", &route.r#match, |problems, attributes| {
        check_tls_match(attributes, hosts, problems)
    });
    check_destinations(&route.route, problems);
}

fn check_tls_match(attributes: &TlsMatchAttributes, hosts: &[Host], problems: &mut Problems) {
    let TlsMatchAttributes {
        sni_hosts,
        destination_subnets,
        port,
        source_subnet: _,
        source_labels,
        gateways,
    } = attributes;
    if sni_hosts.is_empty() {
        problems.report_field("sniHosts", "a TLS match needs at least one");
    }
    problems.each("sniHosts", sni_hosts, |problems, name| {
        if !primitive::is_ip(name) {
            problems.check(primitive::wildcard_domain(name));
        }
        if !hosts
            .iter()
            .any(|host| Host::from(name.as_str()).is_subset_of(host))
        {
            problems.report(format!(
                "{name:?} is not covered by any host of the virtual service"
            ));
        }
    });
    check_l4(destination_subnets, *port, source_labels, gateways, problems);
}

fn check_tcp(route: &TcpRoute, problems: &mut Problems) {
    problems.each("match", &route.r#match, |problems, attributes| {
        let L4MatchAttributes {
            destination_subnets,
            port,
            source_subnet,
            source_labels,
            gateways,
        } = attributes;
        if !source_subnet.is_empty() {
            problems.check_field("sourceSubnet", primitive::subnet(source_subnet));
        }
        check_l4(destination_subnets, *port, source_labels, gateways, problems);
    });
    check_destinations(&route.route, problems);
}

fn check_l4(
    subnets: &[String],
    port: u32,
    source_labels: &BTreeMap<String, String>,
    gateways: &[String],
    problems: &mut Problems,
) {
    problems.each("destinationSubnets", subnets, |problems, subnet| {
        problems.check(primitive::subnet(subnet))
    });
    check_origin(port, source_labels, gateways, problems);
}

/// The conditions that all kinds of matches share.
fn check_origin(
    port: u32,
    source_labels: &BTreeMap<String, String>,
    gateways: &[String],
    problems: &mut Problems,
) {
    if port != 0 {
        problems.check_field("port", primitive::port(port));
    }
    check_tags("sourceLabels", source_labels, problems);
    check_gateways(gateways, problems);
}

fn check_destinations(route: &[RouteDestination], problems: &mut Problems) {
    if route.is_empty() {
        problems.report_field("route", "a route needs at least one destination");
    }
    problems.each("route", route, |problems, destination| {
        check_weighted(destination.destination.as_ref(), destination.weight, problems);
    });
    let weights: Vec<i32> = route.iter().map(|destination| destination.weight).collect();
    problems.check_field("route", weights_add_up(&weights));
}

fn check_weighted(destination: Option<&Destination>, weight: i32, problems: &mut Problems) {
    match destination {
        None => problems.report_field("destination", "missing"),
        Some(destination) => {
            problems.field("destination", |problems| check_destination(destination, problems))
        }
    }
    problems.check_field("weight", primitive::percent(weight));
}

/// Weights are percentages of the whole; a single destination takes all, whatever it says (`R-VS-11`, `R-VS-12`).
fn weights_add_up(weights: &[i32]) -> Checked {
    let sum: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
    if weights.len() > 1 && sum != 100 {
        Err(format!("the weights add up to {sum} instead of 100"))
    } else {
        Ok(())
    }
}

fn check_destination(destination: &Destination, problems: &mut Problems) {
    problems.check_field(
        "host",
        match destination.host.as_str() {
            "*" => Err("\"*\" is no destination".to_owned()),
            host => primitive::wildcard_domain(host),
        },
    );
    if !destination.subset.is_empty() {
        problems.check_field("subset", primitive::label(&destination.subset));
    }
    if let Some(port) = &destination.port {
        problems.field("port", |problems| match &port.port {
            None => problems.report_field("number", "missing"),
            Some(port_selector::Port::Number(number)) => {
                problems.check_field("number", primitive::port(*number))
            }
            Some(port_selector::Port::Name(_)) => problems.report_field("name", "only numbers are supported"),
        });
    }
}
