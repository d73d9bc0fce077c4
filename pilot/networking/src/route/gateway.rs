//! Which virtual hosts a router gets (P14, §7.3).

mod misdirected;

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::istio::networking::v1alpha3::Server;
use mesh_config::{ConfigKey, Host};
use pilot_model::{Gateway, ScopedView, Versioned, VirtualService, Warning};

use super::domains::{self, Domains, HostDomains, canonical};
use super::key::{Routes, RuleSet, Shared, VirtualHostInput, VirtualHostKey};
use super::rules;
use crate::gateway::{self, DefaultEndpoint, GatewayServer, Handling, Place as Port, Servers, TlsServer};
use crate::name;
use crate::target::Place;

/// The virtual hosts of one route configuration, sorted by name: of all plain HTTP servers on the port that its name says,
/// or of the one server that ends TLS and has this name. With them the Gateways whose servers these are.
pub(super) fn plan(
    view: &ScopedView,
    gateways: &[Versioned<Gateway>],
    secrets: bool,
    name: &str,
    warnings: &mut Vec<Warning>,
) -> (Vec<VirtualHostKey>, Vec<ConfigKey>) {
    let merged = gateway::merge(gateways, secrets);
    let found = merged
        .ports
        .iter()
        .find_map(|(port, content)| Some((port.number(), find(port, &content.servers, name)?)));
    let Some((port, (servers, elsewhere))) = found else {
        return Default::default();
    };
    let origins: BTreeSet<&ConfigKey> = servers.iter().map(|server| &server.gateway.key).collect();

    let mut hosts: BTreeMap<Host, Published> = BTreeMap::new();
    for server in &servers {
        publish(view, server, port, &mut hosts, warnings);
    }
    let misdirected = misdirected::domains(view, elsewhere, &hosts);
    let mut virtual_hosts = Vec::with_capacity(hosts.len() + 2);
    let catches_all = misdirected.iter().any(|domain| **domain == *"*");
    if hosts.is_empty() && !catches_all {
        virtual_hosts.push(not_found(port));
    }
    if !misdirected.is_empty() {
        virtual_hosts.push(misdirected::virtual_host(port, misdirected));
    }
    virtual_hosts.extend(hosts.into_iter().map(|(host, published)| {
        VirtualHostKey::new(VirtualHostInput {
            name: name::virtual_host(&host, port).into(),
            domains: Domains::Host(HostDomains {
                host,
                port,
                shared_labels: 0,
                has_pods: false,
                addresses: Vec::new(),
                port_only: false,
                taken: Vec::new(),
            }),
            require_tls: published.require_tls,
            routes: match published.default_endpoint {
                Some(default) => Routes::RulesOrDefault(published.rules, default),
                None => Routes::Rules(published.rules),
            },
        })
    }));
    virtual_hosts.sort_by(VirtualHostKey::by_name);
    (virtual_hosts, origins.into_iter().cloned().collect())
}

/// The servers of a port whose requests a route configuration is for, and the others of the port that are told apart by
/// TLS.
fn find<'a>(
    port: &Port,
    servers: &'a Servers<'a>,
    name: &str,
) -> Option<(Vec<GatewayServer<'a>>, Vec<&'a TlsServer<'a>>)> {
    match servers {
        Servers::Http(servers) => (port.http_routes() == name).then(|| (servers.clone(), Vec::new())),
        Servers::Tcp(_) => None,
        Servers::Tls(servers) => {
            let (own, elsewhere): (Vec<_>, Vec<_>) = servers.iter().partition(
                |server| matches!(&server.handling, Handling::Http { routes, .. } if **routes == *name),
            );
            (!own.is_empty()).then(|| (own.iter().map(|server| server.server).collect(), elsewhere))
        }
    }
}

/// What is known of a host that some server publishes.
#[derive(Default)]
struct Published {
    rules: Vec<Shared<RuleSet>>,
    require_tls: bool,
    /// That of the oldest server that publishes it and has one.
    default_endpoint: Option<DefaultEndpoint>,
}

/// Binds VirtualServices to one server (§7.3).
fn publish(
    view: &ScopedView,
    server: &GatewayServer<'_>,
    port: u16,
    hosts: &mut BTreeMap<Host, Published>,
    warnings: &mut Vec<Warning>,
) {
    let default_endpoint = server.default_endpoint().ok().flatten();
    let GatewayServer { gateway, server } = *server;
    let place = Place {
        gateway: &gateway.name,
        port,
        source_selectors: &[],
    };
    let mut own = BTreeSet::new();
    for object in view.bound_virtual_services(gateway) {
        let common = common_hosts(gateway, server, object);
        if common.is_empty() {
            continue;
        }
        let selected = rules::select(view, object, place);
        warnings.extend(selected.warnings);
        let Some(rules) = selected.rules else { continue };
        for host in common {
            let published = hosts.entry(host.clone()).or_default();
            if !published.rules.contains(&rules) {
                published.rules.push(rules.clone());
            }
            own.insert(host);
        }
    }
    let redirects = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
    if redirects || default_endpoint.is_some() {
        // Also for hosts that have no routes here.
        own.extend(server_hosts(gateway, server).filter(domains::is_valid));
        for host in own {
            let published = hosts.entry(host).or_default();
            published.require_tls |= redirects;
            if published.default_endpoint.is_none() {
                published.default_endpoint.clone_from(&default_endpoint);
            }
        }
    }
}

/// The names that a server publishes for a VirtualService, as Envoy compares them.
fn common_hosts(gateway: &Gateway, server: &Server, object: &VirtualService) -> Vec<Host> {
    let mut common: Vec<Host> = gateway::common(gateway, server, object)
        .iter()
        .map(as_domain)
        .filter(domains::is_valid)
        .collect();
    common.sort();
    common.dedup();
    common
}

/// The hosts of a server as Envoy compares them.
fn server_hosts<'a>(gateway: &'a Gateway, server: &'a Server) -> impl Iterator<Item = Host> {
    gateway::published(gateway, server).map(|(_, host)| as_domain(&host))
}

fn as_domain(host: &Host) -> Host {
    Host::new(&*canonical(host.as_str()))
}

/// Answers everything on a port that nobody publishes anything on (`R-GW-1`).
fn not_found(port: u16) -> VirtualHostKey {
    VirtualHostKey::new(VirtualHostInput {
        name: format!("blackhole:{port}").into(),
        domains: Domains::Any,
        require_tls: false,
        routes: Routes::Status(404),
    })
}
