//! Whether the API server can reach us: the addresses of our service (G8.6).

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::DeserializeGuard;
use kube::{Api, Client};
use mesh_kube::{Event, ObjectName, Watch, WatchOptions};
use std::collections::BTreeMap;

/// Addresses of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Those that are called.
    pub(crate) ready: usize,
    /// Those that will be when their pods say that they are ready.
    pub(crate) waiting: usize,
}

/// Follows the addresses of a service. Slices and Endpoints say the same; either may be all that we may read.
#[derive(Debug)]
pub(crate) struct ServiceWatch {
    slices: Watch<EndpointSlice>,
    endpoints: Watch<Endpoints>,
    of_slices: BTreeMap<ObjectName, Addresses>,
    of_endpoints: Addresses,
}

// === impl ServiceWatch ===

impl ServiceWatch {
    pub(crate) fn new(client: &Client, namespace: &str, service: &str) -> Self {
        let slices: Api<DeserializeGuard<EndpointSlice>> = Api::namespaced(client.clone(), namespace);
        let endpoints: Api<DeserializeGuard<Endpoints>> = Api::namespaced(client.clone(), namespace);
        let labels = WatchOptions {
            labels: Some(format!("kubernetes.io/service-name={service}")),
            ..WatchOptions::default()
        };
        let fields = WatchOptions {
            fields: Some(format!("metadata.name={service}")),
            ..WatchOptions::default()
        };
        Self {
            slices: Watch::new(slices, labels),
            endpoints: Watch::new(endpoints, fields),
            of_slices: BTreeMap::new(),
            of_endpoints: Addresses::default(),
        }
    }

    /// The addresses after the next change. May be dropped while waiting.
    pub(crate) async fn next(&mut self) -> Addresses {
        tokio::select! {
            event = self.slices.next() => match event {
                Event::Applied(name, slice) => {
                    self.of_slices.insert(name, of_slice(&slice));
                }
                Event::Deleted(name) => {
                    self.of_slices.remove(&name);
                }
                Event::Rejected(..) | Event::Synced => {}
            },
            event = self.endpoints.next() => match event {
                Event::Applied(_, endpoints) => self.of_endpoints = of_endpoints(&endpoints),
                Event::Deleted(_) => self.of_endpoints = Addresses::default(),
                Event::Rejected(..) | Event::Synced => {}
            },
        }
        let slices = self.of_slices.values();
        slices.fold(self.of_endpoints, |sum, slice| Addresses {
            ready: sum.ready + slice.ready,
            waiting: sum.waiting + slice.waiting,
        })
    }
}

fn of_slice(slice: &EndpointSlice) -> Addresses {
    let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
    let ready = slice
        .endpoints
        .iter()
        .filter(|endpoint| {
            is_ready(
                endpoint
                    .conditions
                    .as_ref()
                    .and_then(|conditions| conditions.ready),
            )
        })
        .count();
    Addresses {
        ready,
        waiting: slice.endpoints.len() - ready,
    }
}

fn of_endpoints(endpoints: &Endpoints) -> Addresses {
    let subsets = || endpoints.subsets.iter().flatten();
    Addresses {
        ready: subsets()
            .flat_map(|subset| subset.addresses.iter().flatten())
            .count(),
        waiting: subsets()
            .flat_map(|subset| subset.not_ready_addresses.iter().flatten())
            .count(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn g8_6_ready_addresses_are_told_from_those_that_wait() {
        let slice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "endpoints": [
                { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
                { "addresses": ["10.0.0.2"] },
                { "addresses": ["10.0.0.3"], "conditions": { "ready": false } },
            ],
        }));
        let expected = Addresses { ready: 2, waiting: 1 };
        assert_eq!(of_slice(&slice.unwrap()), expected);
        let endpoints = serde_json::from_value(json!({
            "subsets": [
                { "addresses": [{ "ip": "10.0.0.1" }, { "ip": "10.0.0.2" }], "notReadyAddresses": [{ "ip": "10.0.0.3" }] },
                {},
            ],
        }));
        assert_eq!(of_endpoints(&endpoints.unwrap()), expected);
    }
}
