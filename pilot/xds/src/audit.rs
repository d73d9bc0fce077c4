//! Do proxies hold the endpoints that the registries know? (pain 6)
//!
//! What proxies acknowledged is compared with load assignments that are made anew from what is published, past all
//! caches: whatever went wrong on the way shows here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_config::Str;
use pilot_model::Published;
use pilot_networking::XdsType;

use crate::generator::{Expected, Generator, ProxyContext};
use crate::resource::ResourceSet;
use crate::status::ClientStatus;

/// The load assignments of one proxy that are not what the registries know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The stream.
    pub connection: String,
    /// The node id of the proxy.
    pub proxy: Str,
    /// The clusters.
    pub clusters: Vec<Str>,
}

/// What was compared already: most proxies hold the same.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    /// By what is expected and what is held; both are kept, so that no other can take their place in memory.
    compared: Mutex<BTreeMap<(usize, Vec<usize>), Compared>>,
}

#[derive(Clone, Debug)]
struct Compared {
    _expected: Arc<Expected>,
    _held: Vec<Arc<ResourceSet>>,
    clusters: Arc<[Str]>,
}

// === impl Auditor ===

impl Auditor {
    /// Compares all proxies that asked for endpoints. Those that hold what they should are not mentioned.
    pub(crate) fn audit(
        &self,
        generator: &Generator,
        published: &Published,
        clients: &[ClientStatus],
    ) -> Vec<Divergence> {
        let mut compared = BTreeMap::new();
        let mut divergences = Vec::new();
        for client in clients {
            let Some(status) = client.types.get(&XdsType::Endpoint) else {
                continue;
            };
            let left = published.without(&client.isolated.keys().cloned().collect());
            let context = ProxyContext::new(Arc::clone(&client.proxy), left);
            let expected = generator.expected_endpoints(&context, &status.names);
            let held = &status.accepted;
            let key = (
                Arc::as_ptr(&expected) as usize,
                held.iter().map(|set| Arc::as_ptr(set) as usize).collect(),
            );
            let known = compared
                .get(&key)
                .cloned()
                .or_else(|| self.lock().get(&key).cloned());
            let known: Compared = known.unwrap_or_else(|| Compared {
                clusters: differing(&expected, held).into(),
                _expected: expected,
                _held: held.clone(),
            });
            if !known.clusters.is_empty() {
                divergences.push(Divergence {
                    connection: client.connection.clone(),
                    proxy: client.proxy.node_id.clone(),
                    clusters: known.clusters.to_vec(),
                });
            }
            compared.insert(key, known);
        }
        *self.lock() = compared;
        divergences
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(usize, Vec<usize>), Compared>> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn differing(expected: &Expected, held: &[Arc<ResourceSet>]) -> Vec<Str> {
    let is_held = |(name, version): &&(Str, Str)| {
        let mut found = held.iter().filter_map(|set| set.get(name));
        found.next().is_some_and(|item| item.version() == version)
    };
    let missing = expected.iter().filter(|assignment| !is_held(assignment));
    missing.map(|(name, _)| name.clone()).collect()
}
