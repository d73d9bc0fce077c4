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
