//! The VirtualServices of Ingresses: one for each host, with the rules of all Ingresses that name it.

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3::{
    Destination, HttpRoute, HttpRouteDestination, PortSelector, VirtualService, port_selector,
};
use mesh_api::k8s::io::api::networking::v1::{HttpIngressPath, IngressBackend};

use super::path::PathMatch;
use super::{Converted, Flavour, GATEWAY, Ingress, PortName};
use crate::validation::{self, primitive};
use crate::{ConfigKey, Kind, Str, Timestamp};

/// Stands for any host.
const ANY: &str = "*";

/// What is routed so far, by host.
pub(super) struct VirtualServices<'a> {
    flavour: &'a Flavour,
    domain: &'a str,
    port_number: &'a dyn Fn(PortName<'_>) -> Option<u32>,
    hosts: BTreeMap<String, Rules>,
}

/// The rules of one host.
struct Rules {
    /// The name is made of that of the Ingress that is the first to name the host.
    name: String,
    namespace: Str,
    created: Timestamp,
    /// The Gateways of all Ingresses that name the host.
    gateways: Vec<String>,
    paths: BTreeMap<PathMatch, Rule>,
    /// Takes what no path matches.
    default: Option<Rule>,
}

/// Where requests go.
struct Rule {
    /// Whose rule it is.
    owner: ConfigKey,
    destination: Destination,
}

// === impl VirtualServices ===

impl<'a> VirtualServices<'a> {
    pub(super) fn new(
        flavour: &'a Flavour,
        domain: &'a str,
        port_number: &'a dyn Fn(PortName<'_>) -> Option<u32>,
    ) -> Self {
        Self {
            flavour,
            domain,
            port_number,
            hosts: BTreeMap::new(),
        }
    }

    /// Adds the rules of an Ingress. Where an Ingress before it has the same path of the same host, that one's counts.
    pub(super) fn add(&mut self, ingress: &Ingress<'_>, converted: &mut Converted) {
        let key = &ingress.meta.key;
        let default = ingress.spec.default_backend.as_ref();
        let default = default.and_then(|backend| self.backend(key, backend, "defaultBackend", converted));
        for (index, rule) in ingress.spec.rules.iter().enumerate() {
            let host = match rule.host() {
                "" => ANY,
                host => host,
            };
            if let Err(reason) = validation::public_host(host) {
                converted.warn(key, format!("rules[{index}].host"), reason);
                continue;
            }
            let http = rule
                .ingress_rule_value
                .as_ref()
                .and_then(|rule| rule.http.as_ref());
            let paths = http.map_or(&[][..], |http| &http.paths);
            if paths.is_empty() && default.is_none() {
                let reason = "names no paths, and there is no defaultBackend";
                converted.warn(key, format!("rules[{index}].http"), reason);
            }
            for (place, path) in paths.iter().enumerate() {
                let field = format!("rules[{index}].http.paths[{place}]");
                if let Some((path, destination)) = self.path(key, path, &field, converted) {
                    self.route(ingress, host, path, destination, &field, converted);
                }
            }
            if let Some(destination) = &default {
                self.default(ingress, host, destination, converted);
            }
        }
        // What no host claims.
        if let Some(destination) = &default {
            self.default(ingress, ANY, destination, converted);
        }
    }

    /// Hands the VirtualServices over.
    pub(super) fn finish(self, converted: &mut Converted) {
        for (host, rules) in self.hosts {
            let mut paths: Vec<_> = rules.paths.into_iter().collect();
            paths.sort_by_key(|(path, _)| path.rank());
            let default = rules.default.map(|rule| (PathMatch::Any, rule));
            let http = paths.into_iter().chain(default);
            let service = VirtualService {
                hosts: vec![host],
                gateways: rules.gateways,
                http: http.map(|(path, rule)| route(&path, rule.destination)).collect(),
                // Who asks for an Ingress asks for it to be reachable, whatever the default of the mesh is.
                export_to: vec!["*".to_owned()],
                ..VirtualService::default()
            };
            // `a.b` and `a-b` read alike in names.
            let key = |name: String| ConfigKey::new(Kind::VirtualService, rules.namespace.clone(), name);
            let mut unused = key(rules.name.clone());
            for number in 2.. {
                if !converted.objects.contains_key(&unused) {
                    break;
                }
                unused = key(format!("{}-{number}", rules.name));
            }
            converted.insert(unused, rules.created, &service);
        }
    }

    fn path(
        &self,
        key: &ConfigKey,
        path: &HttpIngressPath,
        field: &str,
        converted: &mut Converted,
    ) -> Option<(PathMatch, Destination)> {
        let matched = match PathMatch::read(path.path(), path.path_type()) {
            Ok(matched) => matched,
            Err(reason) => {
                converted.warn(key, format!("{field}.path"), reason);
                return None;
            }
        };
        if path.path_type() != "Exact" && matched.looks_like_expression() {
            let reason = format!("{:?} is no expression, it means this path only", path.path());
            converted.warn(key, format!("{field}.path"), reason);
        }
        let Some(backend) = &path.backend else {
            converted.warn(key, format!("{field}.backend"), "missing");
            return None;
        };
        let destination = self.backend(key, backend, &format!("{field}.backend"), converted)?;
        Some((matched, destination))
    }

    fn route(
        &mut self,
        ingress: &Ingress<'_>,
        host: &str,
        path: PathMatch,
        destination: Destination,
        field: &str,
        converted: &mut Converted,
    ) {
        let owner = ingress.meta.key.clone();
        let rules = self.rules(ingress, host);
        match rules.paths.get(&path) {
            None => {
                rules.paths.insert(path, Rule { owner, destination });
            }
            Some(first) if first.destination != destination => {
                let reason = format!("{} routes this path of {host:?} already", first.owner);
                converted.warn(&owner, format!("{field}.path"), reason);
            }
            Some(_) => {}
        }
    }

    fn default(
        &mut self,
        ingress: &Ingress<'_>,
        host: &str,
        destination: &Destination,
        converted: &mut Converted,
    ) {
        let owner = ingress.meta.key.clone();
        let rules = self.rules(ingress, host);
        match &rules.default {
            None => {
                let destination = destination.clone();
                rules.default = Some(Rule { owner, destination });
            }
            Some(first) if first.destination != *destination => {
                let reason = format!("{} is the default of host {host:?} already", first.owner);
                converted.warn(&owner, "defaultBackend", reason);
            }
            Some(_) => {}
        }
    }

    /// The rules of a host, to which an Ingress adds.
    fn rules(&mut self, ingress: &Ingress<'_>, host: &str) -> &mut Rules {
        let (flavour, key) = (self.flavour, &ingress.meta.key);
        let rules = self.hosts.entry(host.to_owned()).or_insert_with(|| {
            let prefix = match host {
                ANY => "",
                host => host,
            };
            Rules {
                name: format!("{}-{}-{GATEWAY}", prefix.replace('.', "-"), key.name),
                namespace: flavour.namespace_of(key),
                created: ingress.meta.created,
                gateways: vec![flavour.reference(GATEWAY)],
                paths: BTreeMap::new(),
                default: None,
            }
        });
        let own = flavour.reference(&flavour.gateway_of(&key.name).name);
        if !rules.gateways.contains(&own) {
            rules.gateways.push(own);
        }
        rules
    }

    /// Where a backend is; nowhere with a warning.
    fn backend(
        &self,
        key: &ConfigKey,
        backend: &IngressBackend,
        field: &str,
        converted: &mut Converted,
    ) -> Option<Destination> {
        let mut warn = |name: &str, reason: String| {
            converted.warn(key, format!("{field}{name}"), reason);
            None
        };
        let Some(service) = &backend.service else {
            return warn("", "is no service".to_owned());
        };
        if let Err(reason) = primitive::label(service.name()) {
            return warn(".service.name", reason);
        }
        let port = service.port.as_ref();
        let number = match port.map(|port| (port.number(), port.name())) {
            Some((number, "")) => match primitive::port(number) {
                Ok(()) => u32::try_from(number).ok()?,
                Err(reason) => return warn(".service.port.number", reason),
            },
            Some((_, name)) => {
                let port = PortName {
                    namespace: &key.namespace,
                    service: service.name(),
                    port: name,
                };
                match (self.port_number)(port) {
                    Some(number) => number,
                    None => {
                        let reason = format!(
                            "no port {name:?} of service {}/{} is known",
                            key.namespace,
                            service.name()
                        );
                        return warn(".service.port.name", reason);
                    }
                }
            }
            None => return warn(".service.port", "missing".to_owned()),
        };
        Some(Destination {
            host: format!("{}.{}.svc.{}", service.name(), key.namespace, self.domain),
            port: Some(PortSelector {
                port: Some(port_selector::Port::Number(number)),
            }),
            ..Destination::default()
        })
    }
}

fn route(path: &PathMatch, destination: Destination) -> HttpRoute {
    HttpRoute {
        r#match: path.to_matches(),
        route: vec![HttpRouteDestination {
            destination: Some(destination),
            weight: 100,
            ..HttpRouteDestination::default()
        }],
        ..HttpRoute::default()
    }
}
