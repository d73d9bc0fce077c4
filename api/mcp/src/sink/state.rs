//! The rules of the sink for one source (G3.2), without input or output.

use std::collections::BTreeSet;
use std::collections::btree_map::{self, BTreeMap};

use mesh_api::google::rpc;
use mesh_api::istio::mcp::v1alpha1::{RequestResources, Resource, Resources};
use mesh_config::{Config, ConfigError, ConfigKey, Kind, Timestamp};
use tonic::Code;

use super::codec::TooLarge;
use super::{Change, Content};
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
    /// The version that was applied last.
    version: String,
    /// Versions of the objects by resource name: where a new stream goes on.
    versions: BTreeMap<String, String>,
}

/// A response that is being applied. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Pending {
    collection: &'static str,
    version: String,
    nonce: String,
    incremental: bool,
    /// Versions of new and changed objects.
    changed: Vec<(String, String)>,
    gone: Vec<String>,
}

/// Resources as objects, by name.
#[derive(Debug, Default)]
struct Read {
    objects: BTreeMap<String, Config>,
    /// Names of resources that cannot be used.
    unusable: BTreeSet<String>,
    errors: Vec<ConfigError>,
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
                        version: String::new(),
                        versions: BTreeMap::new(),
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
            initial_resource_versions: if self.incremental {
                held.versions.clone()
            } else {
                BTreeMap::new()
            },
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

        let kind = held.kind;
        let read = Read::of(kind, resources, received);
        let changed = read.objects.iter();
        let changed = changed.map(|(name, config)| (name.clone(), config.meta.version.clone()));
        let changed = changed.collect();
        let mut gone: Vec<String> = Vec::new();
        let content = if incremental {
            // What an object was before is no longer what the source has, even if what it is now cannot be used.
            let removed = removed_resources.into_iter().chain(read.unusable);
            gone.extend(removed.filter(|name| !read.objects.contains_key(name)));
            let keys = gone
                .iter()
                .filter_map(|name| ConfigKey::from_resource_name(kind, name));
            Content::Changes {
                gone: keys.collect(),
                changed: read.objects.into_values().collect(),
            }
        } else {
            Content::Full(read.objects.into_values().collect())
        };
        let change = Change {
            collection,
            kind,
            version: version.clone(),
            content,
            errors: read.errors,
        };
        let pending = Pending {
            collection,
            version,
            nonce,
            incremental,
            changed,
            gone,
        };
        Step::Apply(change, pending)
    }

    /// Refuses a response that is larger than the sink takes.
    pub(super) fn too_large(&self, response: &TooLarge, limit: usize) -> Refusal {
        let TooLarge {
            collection,
            nonce,
            bytes,
        } = response;
        let reason = format!(
            "collection {collection:?} has {bytes} bytes, more than the {limit} that this sink takes (--mcpMaxMsgSize)"
        );
        refusal(
            collection,
            nonce,
            self.incremental,
            Code::ResourceExhausted,
            reason,
        )
    }

    /// How many objects a collection holds.
    pub fn len(&self, collection: &str) -> usize {
        self.collections
            .get(collection)
            .map_or(0, |held| held.versions.len())
    }

    /// The version of a collection that was applied last; empty before.
    pub fn version(&self, collection: &str) -> &str {
        self.collections.get(collection).map_or("", |held| &held.version)
    }

    /// The change was applied: the ACK.
    pub fn accept(&mut self, pending: Pending) -> RequestResources {
        let Pending {
            collection,
            version,
            nonce,
            incremental,
            changed,
            gone,
        } = pending;
        if let Some(held) = self.collections.get_mut(collection) {
            held.version = version;
            if !incremental {
                held.versions.clear();
            }
            for name in &gone {
                held.versions.remove(name);
            }
            held.versions.extend(changed);
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
            collection, nonce, ..
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

// === impl Read ===

impl Read {
    fn of(kind: Kind, resources: Vec<Resource>, received: Timestamp) -> Self {
        let mut read = Self::default();
        for resource in resources {
            let name = resource.metadata.as_ref();
            let name = name.map(|metadata| metadata.name.clone()).unwrap_or_default();
            match from_resource(kind, resource, received) {
                Ok(config) => match read.objects.entry(name) {
                    btree_map::Entry::Vacant(entry) => {
                        read.unusable.remove(entry.key());
                        entry.insert(config);
                    }
                    btree_map::Entry::Occupied(entry) => read.errors.push(ConfigError {
                        location: None,
                        object: format!("{kind} {}", entry.key()),
                        field: String::new(),
                        reason: "was sent twice, the first one counts".to_owned(),
                    }),
                },
                Err(error) => {
                    if !read.objects.contains_key(&name) {
                        read.unusable.insert(name);
                    }
                    read.errors.push(error);
                }
            }
        }
        read
    }
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
