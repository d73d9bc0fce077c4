//! What operators see of the connected proxies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_config::{ConfigKey, Str};
use pilot_model::{Proxy, Warning, WarningKind};
use pilot_networking::XdsType;
use serde::Serialize;

use crate::names::Names;
use crate::resource::{Encoded, ResourceSet};
use crate::stream::{Finding, StreamState};

/// One connected proxy.
#[derive(Clone, Debug)]
pub struct ClientStatus {
    /// Names the stream: the node id and a number.
    pub connection: String,
    /// Where the proxy connects from.
    pub peer: String,
    /// Who it is.
    pub proxy: Arc<Proxy>,
    /// The exchange so far, for each type that it asked for.
    pub types: BTreeMap<XdsType, TypeStatus>,
    /// Objects that are left out for the proxy because it rejects what is made from them.
    pub isolated: BTreeMap<ConfigKey, Finding>,
}

/// The exchange about one type.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TypeStatus {
    /// Nonce of the last response.
    pub nonce_sent: String,
    /// Nonce of the last response that the proxy accepted.
    pub nonce_acked: String,
    /// Version of the last response.
    pub version_sent: String,
    /// Version that the proxy accepted last.
    pub version_acked: String,
    /// Why the proxy rejected the last response; empty when it did not.
    pub error: String,
    /// What the proxy was sent, by reference.
    #[serde(skip)]
    pub sent: Vec<Arc<ResourceSet>>,
    /// What the proxy accepted last, by reference.
    #[serde(skip)]
    pub accepted: Vec<Arc<ResourceSet>>,
    /// What the proxy asked for.
    #[serde(skip)]
    pub names: Names,
}

/// The connected proxies.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_connection: Mutex<BTreeMap<u64, ClientStatus>>,
}

// === impl ClientStatus ===

impl ClientStatus {
    pub(crate) fn update(&mut self, state: &StreamState) {
        for xds_type in XdsType::ALL {
            let Some(subscription) = state.subscription(xds_type) else {
                continue;
            };
            let report = subscription.report();
            let status = TypeStatus {
                nonce_sent: report.nonce_sent.clone(),
                nonce_acked: report.nonce_acked.clone(),
                version_sent: report.version_sent.clone(),
                version_acked: report.version_acked.clone(),
                error: report.last_error.clone(),
                sent: subscription.sent().to_vec(),
                accepted: subscription.accepted().to_vec(),
                names: subscription.names().clone(),
            };
            self.types.insert(xds_type, status);
        }
    }
}

// === impl TypeStatus ===

impl TypeStatus {
    /// The resources that the proxy was sent.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Encoded>> {
        self.sent.iter().flat_map(|set| set.items())
    }

    /// `SYNCED` when the proxy accepted the last response, `STALE` when it has yet to, `NOT SENT`, or `ERROR`.
    pub fn summary(&self) -> &'static str {
        if self.nonce_sent.is_empty() {
            "NOT SENT"
        } else if !self.error.is_empty() {
            "ERROR"
        } else if self.nonce_sent == self.nonce_acked {
            "SYNCED"
        } else {
            "STALE"
        }
    }
}

// === impl Clients ===

impl Clients {
    pub(crate) fn insert(&self, connection: u64, status: ClientStatus) {
        self.lock().insert(connection, status);
    }

    pub(crate) fn update(&self, connection: u64, state: &StreamState) {
        if let Some(status) = self.lock().get_mut(&connection) {
            status.update(state);
        }
    }

    /// Notes which objects are left out for a proxy.
    pub(crate) fn isolate(&self, connection: u64, objects: &BTreeMap<ConfigKey, Finding>) {
        if let Some(status) = self.lock().get_mut(&connection)
            && status.isolated != *objects
        {
            status.isolated.clone_from(objects);
        }
    }

    pub(crate) fn remove(&self, connection: u64) {
        self.lock().remove(&connection);
    }

    pub(crate) fn all(&self) -> Vec<ClientStatus> {
        self.lock().values().cloned().collect()
    }

    /// The findings about everything that proxies were sent, each once.
    pub(crate) fn warnings(&self) -> BTreeSet<Warning> {
        // Most proxies hold the same sets.
        let mut sets: BTreeMap<*const ResourceSet, Arc<ResourceSet>> = BTreeMap::new();
        for status in self.lock().values().flat_map(|client| client.types.values()) {
            for set in &status.sent {
                sets.entry(Arc::as_ptr(set)).or_insert_with(|| Arc::clone(set));
            }
        }
        let mut warnings: BTreeSet<Warning> = sets.values().flat_map(|set| set.warnings()).cloned().collect();
        let clients = self.lock();
        let isolated = clients.values().flat_map(|client| &client.isolated);
        warnings.extend(isolated.map(|(object, finding)| Warning {
            object: object.clone(),
            kind: WarningKind::RejectedByProxy,
            reason: format!(
                "left out for proxies that reject what is made from it, in {}: {}",
                finding.xds_type, finding.reason
            ),
        }));
        warnings
    }

    /// The newest stream of a proxy, by node id, `<pod>.<namespace>`, or connection.
    pub(crate) fn find(&self, proxy: &str) -> Option<ClientStatus> {
        let is_it = |status: &&ClientStatus| {
            let names: [&Str; 2] = [&status.proxy.node_id, &status.proxy.id];
            names.into_iter().any(|name| &**name == proxy) || status.connection == proxy
        };
        self.lock().values().rev().find(is_it).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, ClientStatus>> {
        self.by_connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
