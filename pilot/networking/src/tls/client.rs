//! What callers speak to each service, for people who ask (P17).

use mesh_config::{ConfigKey, Host, Protocol};
use pilot_model::{PeerMode, ScopedView};

use super::upstream::{self, TlSmode};
use crate::destination;

/// What callers speak to a port of a service, and what it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// The service.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Whether it is outside the mesh, so that nobody here knows what it speaks itself.
    pub mesh_external: bool,
    /// The mode of TLS; `None` for whatever the application speaks itself.
    pub mode: Option<TlSmode>,
    /// The first DestinationRule for the service, whether or not it mentions TLS.
    pub rule: Option<ConfigKey>,
    /// Which connections sidecars of the service take there.
    pub server: PeerMode,
    /// The authentication policy that says so.
    pub policy: Option<ConfigKey>,
}

/// What the callers of a view speak to each port of each service that they see, by host and port. Subsets may have
/// settings of their own.
pub fn client_tls(view: &ScopedView) -> Vec<ClientTls> {
    let mut all = Vec::new();
    for service in view.services() {
        let rules = view.rules(service).map_or(&[][..], |rules| rules);
        for port in service.ports.iter().filter(|port| port.protocol != Protocol::Udp) {
            let settings = destination::policy(rules, None, port.number).tls;
            let id = &service.id;
            let policy = view.authentication_policy(&id.namespace, &id.host, port);
            all.push(ClientTls {
                host: service.id.host.clone(),
                port: port.number,
                mesh_external: service.mesh_external,
                mode: upstream::mode(service, rules, settings),
                rule: rules.first().map(|rule| rule.key.clone()),
                server: policy.map_or(PeerMode::PlainText, |policy| policy.peer_mode()),
                policy: policy.map(|policy| policy.key.clone()),
            });
        }
    }
    // Stable: of services with the same host the oldest one's cluster is used.
    all.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    all.dedup_by(|later, first| (&later.host, later.port) == (&first.host, first.port));
    all
}
