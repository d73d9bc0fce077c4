//! VirtualServices: where they apply, what they lead to, and routes that nothing reaches.

use std::net::IpAddr;

use mesh_api::istio::networking::v1alpha3 as networking;
use mesh_api::istio::networking::v1alpha3::port_selector;
use mesh_config::{Config, ConfigKey, Host, Kind, MESH_GATEWAY, resolve_gateway};

use crate::Known;
use crate::facts::{Fact, VirtualService};
use crate::superset::{Condition, Place, shadowed};
use crate::warnings::Warnings;

pub(crate) fn check(known: &Known, config: &Config, spec: &networking::VirtualService, out: &mut Warnings) {
    let fact = VirtualService::of(config, spec, &known.domain);
    check_gateways(known, config, spec, &fact, out);
    check_hosts(known, config, spec, &fact, out);
    check_others(known, config, &fact, out);
    let place = Place {
        gateways: &fact.gateways,
        namespace: &config.meta.key.namespace,
    };
    let http: Vec<_> = spec.http.iter().map(|route| &*route.r#match).collect();
    let tls: Vec<_> = spec.tls.iter().map(|route| &*route.r#match).collect();
    let tcp: Vec<_> = spec.tcp.iter().map(|route| &*route.r#match).collect();
    check_order("http", &http, &place, out);
    check_order("tls", &tls, &place, out);
    check_order("tcp", &tcp, &place, out);
    check_destinations(known, config, spec, out);
    check_conditions(spec, &place, out);
}

fn check_gateways(
    known: &Known,
    config: &Config,
    spec: &networking::VirtualService,
    fact: &VirtualService,
    out: &mut Warnings,
) {
    if !known.knows_all(&[Kind::Gateway]) {
        return;
    }
    let namespace = &*config.meta.key.namespace;
    for (index, name) in spec.gateways.iter().enumerate() {
        let full = resolve_gateway(name, namespace);
        let Some((of, own)) = full.split_once('/') else {
            continue;
        };
        let field = format!("gateways[{index}]");
        match known.get(&ConfigKey::new(Kind::Gateway, of, own)) {
            Some(Fact::Gateway(gateway)) => {
                let bound = |host| gateway.servers.iter().any(|server| server.takes(namespace, host));
                if !fact.hosts.iter().any(bound) {
                    out.say(
                        field,
                        format!("no server of Gateway {full} is for any of the hosts"),
                    );
                }
            }
            _ => out.say(field, format!("there is no Gateway {full}")),
        }
    }
}

/// Rules for a service of the mesh that only gateways follow.
fn check_hosts(
    known: &Known,
    config: &Config,
    spec: &networking::VirtualService,
    fact: &VirtualService,
    out: &mut Warnings,
) {
    if fact.gateways.contains(MESH_GATEWAY) {
        return;
    }
    for (index, host) in fact.hosts.iter().enumerate() {
        let is_internal = known
            .with_host(Kind::Service, host, &config.meta.key)
            .next()
            .is_some();
        if is_internal {
            let name = spec.hosts.get(index).map(String::as_str).unwrap_or_default();
            out.say(
                "gateways",
                format!("{name} is a service of the mesh, but sidecars do not follow these rules: `mesh` is not listed"),
            );
        }
    }
}

/// Others with the same host at the same place.
fn check_others(known: &Known, config: &Config, fact: &VirtualService, out: &mut Warnings) {
    let key = &config.meta.key;
    for (index, host) in fact.hosts.iter().enumerate() {
        for (other_key, other) in known.with_host(Kind::VirtualService, host, key) {
            let Fact::VirtualService(other) = other else {
                continue;
            };
            // Nobody sees both.
            if (fact.private || other.private) && other_key.namespace != key.namespace {
                continue;
            }
            let shared = fact.gateways.intersection(&other.gateways);
            let field = format!("hosts[{index}]");
            let is_new = config.meta.created == Default::default();
            let is_later = is_new || (other.created, other_key) < (config.meta.created, key);
            for gateway in shared {
                let same_layer = fact.http && other.http || fact.l4 && other.l4;
                if &**gateway == MESH_GATEWAY && same_layer {
                    let followed = if is_later { "that one is" } else { "this one is" };
                    out.say(
                        &field,
                        format!("{other_key} is for {host} too; sidecars follow the older: {followed}"),
                    );
                } else if fact.http && other.http && other.takes_all && is_later {
                    out.say(
                        &field,
                        format!(
                            "{other_key} is for {host} at {gateway} too, is older and takes every request"
                        ),
                    );
                }
            }
        }
    }
}

fn check_order<C: Condition>(layer: &str, routes: &[&[C]], place: &Place<'_>, out: &mut Warnings) {
    for (later, earlier) in shadowed(routes, place) {
        let reason = if routes[earlier].is_empty() {
            format!("never reached: {layer}[{earlier}] has no match and takes everything")
        } else {
            format!("never reached: {layer}[{earlier}] takes all that it matches")
        };
        out.say(format!("{layer}[{later}]"), reason);
    }
}

/// Conditions on gateways to which the object is not bound.
fn check_conditions(spec: &networking::VirtualService, place: &Place<'_>, out: &mut Warnings) {
    let http = spec.http.iter().enumerate().flat_map(|(route, it)| {
        let conditions = it.r#match.iter().enumerate();
        conditions.map(move |(index, it)| (format!("http[{route}].match[{index}]"), &it.gateways))
    });
    let tls = spec.tls.iter().enumerate().flat_map(|(route, it)| {
        let conditions = it.r#match.iter().enumerate();
        conditions.map(move |(index, it)| (format!("tls[{route}].match[{index}]"), &it.gateways))
    });
    let tcp = spec.tcp.iter().enumerate().flat_map(|(route, it)| {
        let conditions = it.r#match.iter().enumerate();
        conditions.map(move |(index, it)| (format!("tcp[{route}].match[{index}]"), &it.gateways))
    });
    for (field, gateways) in http.chain(tls).chain(tcp) {
        for (index, name) in gateways.iter().enumerate() {
            if !place.gateways.contains(&resolve_gateway(name, place.namespace)) {
                out.say(
                    format!("{field}.gateways[{index}]"),
                    format!("never holds: {name} is not among the gateways of this object"),
                );
            }
        }
    }
}

fn check_destinations(known: &Known, config: &Config, spec: &networking::VirtualService, out: &mut Warnings) {
    let mut look = |field: String, destination: Option<&networking::Destination>| {
        if let Some(destination) = destination {
            check_destination(known, config, &field, destination, out);
        }
    };
    for (route, it) in spec.http.iter().enumerate() {
        for (index, to) in it.route.iter().enumerate() {
            look(
                format!("http[{route}].route[{index}].destination"),
                to.destination.as_ref(),
            );
        }
        look(format!("http[{route}].mirror"), it.mirror.as_ref());
    }
    let tls = spec.tls.iter().map(|it| &it.route).enumerate();
    let tcp = spec.tcp.iter().map(|it| &it.route).enumerate();
    let layers = tls.map(|it| ("tls", it)).chain(tcp.map(|it| ("tcp", it)));
    for (layer, (route, destinations)) in layers {
        for (index, to) in destinations.iter().enumerate() {
            look(
                format!("{layer}[{route}].route[{index}].destination"),
                to.destination.as_ref(),
            );
        }
    }
}

fn check_destination(
    known: &Known,
    config: &Config,
    field: &str,
    destination: &networking::Destination,
    out: &mut Warnings,
) {
    let namespace = &*config.meta.key.namespace;
    let host = Host::resolve(&destination.host, namespace, &known.domain);
    if host.as_str().parse::<IpAddr>().is_ok() {
        return;
    }
    let services: Vec<_> = known.services(&host).collect();
    if known.knows_services() && services.is_empty() {
        out.say(
            format!("{field}.host"),
            format!("no Service of this cluster and no ServiceEntry is called {host}"),
        );
        // Whatever else it asks of the host is not there either.
        return;
    }
    let hidden = services
        .iter()
        .all(|(key, service)| service.private && &*key.namespace != namespace);
    if let Some((key, _)) = services.first()
        && hidden
    {
        out.say(
            format!("{field}.host"),
            format!("{host} is not exported to this namespace by {key}"),
        );
    }
    if let Some(port_selector::Port::Number(number)) =
        destination.port.as_ref().and_then(|port| port.port.as_ref())
        && known.knows_services()
        && !services.iter().any(|(_, service)| service.ports.contains(number))
    {
        out.say(
            format!("{field}.port.number"),
            format!("{host} has no port {number}"),
        );
    }
    check_subset(known, field, &host, &destination.subset, out);
}

fn check_subset(known: &Known, field: &str, host: &Host, subset: &str, out: &mut Warnings) {
    if subset.is_empty() || !known.knows_all(&[Kind::DestinationRule]) {
        return;
    }
    let mut rules = known.covering(Kind::DestinationRule, host);
    let is_declared =
        rules.any(|(_, fact)| matches!(fact, Fact::Rule(rule) if rule.subsets.contains(subset)));
    if !is_declared {
        out.say(
            format!("{field}.subset"),
            format!("no DestinationRule declares {subset} of {host}: requests are answered with 503"),
        );
    }
}
