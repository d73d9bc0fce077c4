//! Hosts that live on another filter chain of the same port.
//!
//! A client that has an HTTP/2 connection uses it for every host that its certificate covers. When such a host is served
//! by another server, with another certificate or other demands on its clients, this connection is the wrong one:
//! 421 makes the client open a new one, where 404 would be the end (spec 09, pain 29).

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{Host, Str};
use pilot_model::ScopedView;

use super::{Published, common_hosts, server_hosts};
use crate::gateway::{Handling, TlsServer};
use crate::route::domains::{self, Domains};
use crate::route::key::{Routes, VirtualHostInput, VirtualHostKey};

/// How many hosts are listed. Every server of a port lists those of all others, which grows with the square of their
/// number; beyond this all hosts that are not a server's own are answered 421.
const MAX_LISTED: usize = 500;
/// Another server of this connection is meant (RFC 9110, section 15.5.20).
const MISDIRECTED_REQUEST: u16 = 421;

/// The domains of the hosts that live elsewhere and not here, sorted.
pub(super) fn domains(
    view: &ScopedView,
    elsewhere: Vec<&TlsServer<'_>>,
    here: &BTreeMap<Host, Published>,
) -> Vec<Str> {
    let mut hosts = BTreeSet::new();
    for server in elsewhere {
        hosts.extend(hosts_of(view, server));
    }
    hosts.retain(|host| domains::is_valid(host) && !here.contains_key(host));
    if hosts.len() > MAX_LISTED && !here.contains_key(&Host::from("*")) {
        return vec!["*".into()];
    }
    hosts.iter().map(|host| host.as_str().into()).collect()
}

/// The hosts that live on a server: those that it names, and what VirtualServices publish where it names all.
fn hosts_of(view: &ScopedView, server: &TlsServer<'_>) -> BTreeSet<Host> {
    let TlsServer { server, handling, .. } = server;
    let mut hosts: BTreeSet<Host> = server_hosts(server.gateway, server.server).collect();
    if hosts.remove(&Host::from("*")) && matches!(handling, Handling::Http { .. }) {
        for object in view.bound_virtual_services(server.gateway) {
            if !object.spec.http.is_empty() {
                hosts.extend(common_hosts(server.gateway, server.server, object));
            }
        }
        hosts.remove(&Host::from("*"));
    }
    hosts
}

/// Answers requests for hosts that live elsewhere.
pub(super) fn virtual_host(port: u16, domains: Vec<Str>) -> VirtualHostKey {
    VirtualHostKey::new(VirtualHostInput {
        name: format!("misdirected:{port}").into(),
        domains: Domains::Listed(domains),
        require_tls: false,
        routes: Routes::Status(MISDIRECTED_REQUEST),
    })
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::networking::v1alpha3::server::TlsOptions;
    use mesh_api::istio::networking::v1alpha3::server::tls_options::TlSmode;
    use mesh_api::istio::networking::v1alpha3::{Gateway, Port, Server};
    use mesh_config::Labels;

    use super::super::plan;
    use super::*;
    use crate::fixture::Mesh;

    /// The domains of the first of that many servers, each with a host of its own, and whether it answers 421 for them.
    fn foreign(servers: usize) -> Vec<(Vec<String>, bool)> {
        let server = |index: usize| Server {
            port: Some(Port {
                number: 443,
                protocol: "HTTPS".to_owned(),
                name: format!("https-{index}"),
            }),
            hosts: vec![format!("host-{index}.weather.com")],
            tls: Some(TlsOptions {
                mode: TlSmode::Simple.into(),
                server_certificate: "/tls.crt".to_owned(),
                private_key: "/tls.key".to_owned(),
                ..TlsOptions::default()
            }),
            ..Server::default()
        };
        let gateway = Gateway {
            servers: (0..servers).map(server).collect(),
            ..Gateway::default()
        };
        let view = Mesh::new().gateway("default", "edge", gateway).view("default");
        let gateways: Vec<_> = view.gateways(&Labels::default()).cloned().collect();
        let name = "https.443.https-0.edge.default";
        let (hosts, _) = plan(&view, &gateways, false, name, &mut Vec::new());
        hosts
            .iter()
            .map(|host| {
                let input = host.input();
                (
                    input.domains.to_vec(),
                    input.routes == Routes::Status(MISDIRECTED_REQUEST),
                )
            })
            .collect()
    }

    #[test]
    fn p14_hosts_of_other_servers_are_listed_as_long_as_the_list_is_short() {
        let any = || vec!["*".to_owned()];
        assert_eq!(foreign(1), [(any(), false)], "nobody else, nothing is found");
        let two = foreign(2);
        assert_eq!(two[0], (any(), false));
        assert_eq!(two[1], (vec!["host-1.weather.com".to_owned()], true));
        assert_eq!(foreign(MAX_LISTED + 1)[1].0.len(), MAX_LISTED);
        assert_eq!(foreign(MAX_LISTED + 2), [(any(), true)]);
    }
}
