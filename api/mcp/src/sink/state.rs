//! The rules of the sink for one source (G3.2), without input or output.

use std::collections::btree_map::{self, BTreeMap};

use mesh_api::google::rpc;
use mesh_api::istio::mcp::v1alpha1::{RequestResources, Resource, Resources};
use mesh_config::{Config, ConfigError, Kind, Timestamp};
use tonic::Code;

use super::Change;
use crate::convert::from_resource;

/// What a sink has asked for and was given.
#[derive(Debug)]
pub struct SinkState {
    incremental: bool,
    collections: BTreeMap<&'static str, Held>,
}

/// The state of one collection.
#[derive(Debug)]
struct Held {
    kind: Kind,
    /// Objects by resource name, to which changes apply; empty unless incremental.
    objects: BTreeMap<String, Config>,
}

/// A response that is being applied. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Pending {
    collection: &'static str,
    nonce: String,
    objects: BTreeMap<String, Config>,
}

/// What to do with a response.
#[derive(Debug)]
pub enum Step {
    /// Hand the change over, then call [`SinkState::accept`] or [`SinkState::reject`].
    Apply(Change, Pending),
    /// Send the NACK.
    Refuse(Refusal),
}

/// A NACK.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// To be sent.
    pub request: RequestResources,
    /// Its code.
    pub code: Code,
    /// Its message.
    pub reason: String,
}

// === impl SinkState ===

impl SinkState {
    /// A sink that wants the collections of some kinds.
    pub fn new(kinds: impl IntoIterator<Item = Kind>, incremental: bool) -> Self {
        let collections = kinds
            .into_iter()
            .map(|kind| {
                (
                    kind.collection(),
                    Held {
                        kind,
                        objects: BTreeMap::new(),
                    },
                )
            })
            .collect();
        Self {
            incremental,
            collections,
        }
    }

    /// The requests with which a stream begins, one for each collection.
    pub fn connect(&self) -> Vec<RequestResources> {
        let request = |(&collection, held): (&&str, &Held)| RequestResources {
            collection: collection.to_owned(),
            initial_resource_versions: held
                .objects
                .iter()
                .map(|(name, config)| (name.clone(), config.meta.version.clone()))
                .collect(),
            incremental: self.incremental,
            ..RequestResources::default()
        };
        self.collections.iter().map(request).collect()
    }

    /// Takes a response. `received` is the creation time of objects that have none.
    pub fn on_response(&self, response: Resources, received: Timestamp) -> Step {
        let Resources {
            system_version_info: version,
            collection,
            resources,
            removed_resources,
            nonce,
            incremental,
        } = response;
        let Some((&collection, held)) = self.collections.get_key_value(collection.as_str()) else {
            let reason = format!("unsupported collection {collection:?}");
            return Step::Refuse(refusal(
                &collection,
                &nonce,
                self.incremental,
                Code::Unimplemented,
                reason,
            ));
        };
        if incremental && !self.incremental {
            let reason = "changes were sent where the full state was asked for".to_owned();
            return Step::Refuse(refusal(collection, &nonce, false, Code::InvalidArgument, reason));
        }

        let mut objects = if incremental {
            held.objects.clone()
        } else {
            BTreeMap::new()
        };
        for name in &removed_resources {
            objects.remove(name);
        }
        let kind = held.kind;
        let errors = upsert(&mut objects, kind, resources, received);
        let change = Change {
            collection,
            kind,
            version,
            resources: if self.incremental {
                objects.values().cloned().collect()
            } else {
                std::mem::take(&mut objects).into_values().collect()
            },
            errors,
        };
        Step::Apply(
            change,
            Pending {
                collection,
                nonce,
                objects,
            },
        )
    }

    /// The change was applied: the ACK.
    pub fn accept(&mut self, pending: Pending) -> RequestResources {
        let Pending {
            collection,
            nonce,
            objects,
        } = pending;
        if let Some(held) = self.collections.get_mut(collection) {
            held.objects = objects;
        }
        RequestResources {
            collection: collection.to_owned(),
            response_nonce: nonce,
            incremental: self.incremental,
            ..RequestResources::default()
        }
    }

    /// The change was refused: the NACK. The former state stays.
    pub fn reject(&self, pending: Pending, reason: String) -> Refusal {
        let Pending {
            collection,
            nonce,
            objects: _,
        } = pending;
        refusal(
            collection,
            &nonce,
            self.incremental,
            Code::InvalidArgument,
            reason,
        )
    }
}

/// Puts resources into `objects`; those that cannot be used are left out and returned as errors.
fn upsert(
    objects: &mut BTreeMap<String, Config>,
    kind: Kind,
    resources: Vec<Resource>,
    received: Timestamp,
) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut seen = BTreeMap::new();
    for resource in resources {
        let name = resource
            .metadata
            .as_ref()
            .map(|metadata| metadata.name.clone())
            .unwrap_or_default();
        match from_resource(kind, resource, received) {
            Ok(config) => match seen.entry(name) {
                btree_map::Entry::Vacant(entry) => {
                    objects.insert(entry.key().clone(), config);
                    entry.insert(());
                }
                btree_map::Entry::Occupied(entry) => errors.push(ConfigError {
                    location: None,
                    object: format!("{kind} {}", entry.key()),
                    field: String::new(),
                    reason: "was sent twice, the first one counts".to_owned(),
                }),
            },
            Err(error) => {
                // What it was before is no longer what the source has.
                if !seen.contains_key(&name) {
                    objects.remove(&name);
                }
                errors.push(error);
            }
        }
    }
    errors
}

fn refusal(collection: &str, nonce: &str, incremental: bool, code: Code, reason: String) -> Refusal {
    let status = rpc::Status {
        code: code as i32,
        message: reason.clone(),
        details: Vec::new(),
    };
    let request = RequestResources {
        collection: collection.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail: Some(status),
        incremental,
        ..RequestResources::default()
    };
    Refusal {
        request,
        code,
        reason,
    }
}

#[cfg(test)]
#[path = "state/tests.rs"]
mod tests;
