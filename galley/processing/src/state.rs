//! The objects that there are, by collection, and their versions (G5).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_config::{Config, ConfigKey, Kind};
use mesh_mcp::snapshot::EMPTY_VERSION;
use mesh_mcp::{Entry, Snapshot};

use crate::metrics::ProcessingMetrics;

/// All objects by collection.
#[derive(Debug)]
pub(crate) struct State {
    collections: BTreeMap<Kind, Collection>,
    snapshot: Snapshot,
    served: Served,
}

#[derive(Debug, Default)]
struct Collection {
    objects: BTreeMap<ConfigKey, Object>,
    /// Counts the changes.
    version: u64,
    /// Changed since the last snapshot.
    changed: bool,
}

#[derive(Debug)]
struct Object {
    config: Arc<Config>,
    entry: Arc<Entry>,
}

/// What is served now, for debug pages.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// By kind; every kind is there once there was a snapshot.
    pub collections: BTreeMap<Kind, Arc<ServedCollection>>,
}

/// One collection that is served.
#[derive(Clone, Debug)]
pub struct ServedCollection {
    /// Its version; `0` means that it never had an object.
    pub version: String,
    /// Its objects, by name.
    pub configs: Vec<Arc<Config>>,
}

// === impl State ===

impl State {
    /// No objects, but all collections: sinks wait for an answer for each.
    pub(crate) fn new() -> Self {
        let collections = Kind::ALL
            .iter()
            .map(|&kind| {
                (
                    kind,
                    Collection {
                        changed: true,
                        ..Collection::default()
                    },
                )
            })
            .collect();
        Self {
            collections,
            snapshot: Snapshot::default(),
            served: Served::default(),
        }
    }

    /// Takes an object. Returns whether it changes anything.
    pub(crate) fn upsert(&mut self, config: Config) -> bool {
        let collection = self.collections.entry(config.meta.key.kind).or_default();
        if collection
            .objects
            .get(&config.meta.key)
            .is_some_and(|object| *object.config == config)
        {
            return false;
        }
        let entry = Arc::new(Entry::new(&config));
        let object = Object {
            config: Arc::new(config),
            entry,
        };
        collection.objects.insert(object.config.meta.key.clone(), object);
        collection.change();
        true
    }

    /// Forgets an object. Returns whether it was there.
    pub(crate) fn delete(&mut self, key: &ConfigKey) -> bool {
        let Some(collection) = self.collections.get_mut(&key.kind) else {
            return false;
        };
        let was_there = collection.objects.remove(key).is_some();
        if was_there {
            collection.change();
        }
        was_there
    }

    /// Everything as it is now. Collections without change are shared with the snapshot before.
    pub(crate) fn snapshot(&mut self, metrics: &ProcessingMetrics) -> (Snapshot, Served) {
        let mut builder = self.snapshot.builder();
        for (&kind, collection) in &mut self.collections {
            if !std::mem::take(&mut collection.changed) {
                continue;
            }
            let version = collection.version();
            let entries = collection.objects.values().map(|object| object.entry.clone());
            builder.set(kind.collection(), version.clone(), entries);
            let configs: Vec<_> = collection
                .objects
                .values()
                .map(|object| object.config.clone())
                .collect();
            let count = i64::try_from(configs.len()).unwrap_or(i64::MAX);
            metrics
                .type_instances
                .with_label_values(&[kind.collection()])
                .set(count);
            self.served
                .collections
                .insert(kind, Arc::new(ServedCollection { version, configs }));
        }
        self.snapshot = builder.build();
        (self.snapshot.clone(), self.served.clone())
    }
}

// === impl Collection ===

impl Collection {
    fn change(&mut self) {
        self.version += 1;
        self.changed = true;
    }

    fn version(&self) -> String {
        if self.version == 0 {
            EMPTY_VERSION.to_owned()
        } else {
            self.version.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::{Meta, Timestamp};
    use mesh_runtime::Metrics;

    use super::*;

    fn config(kind: Kind, name: &str, version: &str) -> Config {
        Config {
            meta: Meta {
                key: ConfigKey::new(kind, "ns", name),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                created: Timestamp::default(),
                version: version.to_owned(),
            },
            body: mesh_api::Any::default(),
        }
    }

    #[test]
    fn g5_only_changes_count_and_untouched_collections_stay_shared() {
        let registry = Metrics::new();
        let metrics = ProcessingMetrics::register(&registry).unwrap();
        let mut state = State::new();
        let (empty, served) = state.snapshot(&metrics);
        assert_eq!(empty.collections().count(), Kind::ALL.len());
        assert_eq!(served.collections.len(), Kind::ALL.len());
        assert!(empty.collections().all(|collection| collection.version() == "0"));

        assert!(state.upsert(config(Kind::Gateway, "a", "1")));
        assert!(!state.upsert(config(Kind::Gateway, "a", "1")));
        assert!(state.upsert(config(Kind::Sidecar, "a", "1")));
        let (first, served) = state.snapshot(&metrics);
        assert_eq!(served.collections[&Kind::Gateway].configs.len(), 1);
        assert_eq!(
            first.collection(Kind::Gateway.collection()).unwrap().version(),
            "1"
        );

        assert!(state.upsert(config(Kind::Gateway, "a", "2")));
        assert!(!state.delete(&ConfigKey::new(Kind::Sidecar, "ns", "b")));
        let (second, _) = state.snapshot(&metrics);
        let shared = |kind: Kind| {
            let (first, second) = (
                first.collection(kind.collection()),
                second.collection(kind.collection()),
            );
            Arc::ptr_eq(first.unwrap(), second.unwrap())
        };
        assert!(shared(Kind::Sidecar) && shared(Kind::Node) && !shared(Kind::Gateway));

        assert!(state.delete(&ConfigKey::new(Kind::Gateway, "ns", "a")));
        let (third, _) = state.snapshot(&metrics);
        let gateways = third.collection(Kind::Gateway.collection()).unwrap();
        assert_eq!((gateways.version(), gateways.entries().len()), ("3", 0));
        let text = registry.encode().unwrap();
        let gauge =
            "galley_runtime_state_type_instances_total{collection=\"istio/networking/v1alpha3/sidecars\"} 1";
        assert!(text.lines().any(|line| line == gauge), "{text}");
    }
}
