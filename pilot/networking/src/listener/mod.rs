//! Listeners (P12, P14).

use mesh_api::envoy::config::listener::v3::Listener;
use mesh_config::{Labels, Str};
use pilot_model::{InterceptionMode, Proxy, Rev, ScopedView, Workload};

use crate::{Built, Generate, Plan};

/// Makes listeners.
#[derive(Debug)]
pub struct Listeners;

/// What the outbound listeners of a sidecar depend on: sidecars with equal scopes share them all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundScope {
    mesh: Rev,
    services: Rev,
    interception: InterceptionMode,
    namespace: Option<Str>,
}

/// Everything that one listener depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    name: Str,
}

// === impl OutboundScope ===

impl OutboundScope {
    /// The scope of a sidecar.
    pub fn new(view: &ScopedView, interception: InterceptionMode) -> Self {
        let revs = view.revs();
        Self {
            mesh: revs.mesh,
            services: revs.services,
            interception,
            namespace: (!view.differing_hosts().is_empty()).then(|| view.namespace().clone()),
        }
    }
}

// === impl Listeners ===

impl Generate for Listeners {
    type Key = ListenerKey;
    type Message = Listener;

    fn name(key: &ListenerKey) -> &str {
        &key.name
    }

    fn build(key: &ListenerKey) -> Built<Listener> {
        Listener { name: key.name.to_string(), ..Listener::default() }.into()
    }
}

/// The listeners for connections that the workload of a sidecar opens.
pub fn outbound(_view: &ScopedView, _interception: InterceptionMode) -> Plan<ListenerKey> {
    Plan::default()
}

/// The listeners for connections that others open to the workload of a sidecar.
pub fn inbound(_view: &ScopedView, _proxy: &Proxy, _workload: &Workload) -> Plan<ListenerKey> {
    Plan::default()
}

/// The listeners of a router: one for each port of the Gateways that select it.
///
/// `labels` are those of its workload; `workload` also tells which target port stands behind a service port (§7.4).
pub fn gateway(_view: &ScopedView, _labels: &Labels, _workload: &Workload) -> Plan<ListenerKey> {
    Plan::default()
}
