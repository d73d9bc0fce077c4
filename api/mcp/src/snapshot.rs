//! Immutable states of all collections, and the cache that hands the newest to every stream.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use mesh_api::istio::mcp::v1alpha1::Resource;
use mesh_config::{Config, Str};
use tokio::sync::watch;

use crate::convert::to_resource;
use crate::frame;

/// The version of a collection that never had an object (P5.4, G5).
pub const EMPTY_VERSION: &str = "0";

/// The state of all collections at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    collections: BTreeMap<Str, Arc<Collection>>,
}

/// The state of one collection.
pub struct Collection {
    name: Str,
    version: String,
    entries: Vec<Arc<Entry>>,
    /// All entries as they stand in a response: put together once, for all sinks.
    encoded: OnceLock<Bytes>,
}

/// One object, encoded for the wire.
#[derive(PartialEq, Eq)]
pub struct Entry {
    name: String,
    version: String,
    record: Bytes,
}

/// Builds the next snapshot from the previous one; what is not set stays shared with it.
#[derive(Debug)]
pub struct SnapshotBuilder {
    collections: BTreeMap<Str, Arc<Collection>>,
}

/// The newest snapshot, once there is one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SnapshotCache {
    current: Arc<watch::Sender<Option<Arc<Snapshot>>>>,
}

// === impl Snapshot ===

impl Snapshot {
    /// A collection, if it was ever set.
    pub fn collection(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(name)
    }

    /// All collections by name.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }

    /// Starts the snapshot that follows this one.
    pub fn builder(&self) -> SnapshotBuilder {
        SnapshotBuilder {
            collections: self.collections.clone(),
        }
    }
}

// === impl SnapshotBuilder ===

impl SnapshotBuilder {
    /// Sets the state of a collection. The same version as before means the same state: the collection stays shared
    /// with the previous snapshot and `entries` are not looked at.
    ///
    /// When two entries have the same name the first stays.
    pub fn set(
        &mut self,
        name: impl Into<Str>,
        version: impl Into<String>,
        entries: impl IntoIterator<Item = Arc<Entry>>,
    ) -> &mut Self {
        let (name, version) = (name.into(), version.into());
        if self
            .collections
            .get(&name)
            .is_none_or(|previous| previous.version != version)
        {
            let collection = Collection::new(name.clone(), version, entries);
            self.collections.insert(name, Arc::new(collection));
        }
        self
    }

    /// The finished snapshot.
    pub fn build(self) -> Snapshot {
        Snapshot {
            collections: self.collections,
        }
    }
}

// === impl Collection ===

impl Collection {
    /// A collection in a given state.
    pub fn new(
        name: impl Into<Str>,
        version: impl Into<String>,
        entries: impl IntoIterator<Item = Arc<Entry>>,
    ) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        Self {
            name: name.into(),
            version: version.into(),
            entries,
            encoded: OnceLock::new(),
        }
    }

    /// A collection that never had an object.
    pub fn empty(name: impl Into<Str>) -> Self {
        Self::new(name, EMPTY_VERSION, [])
    }

    /// Name of the collection.
    pub fn name(&self) -> &Str {
        &self.name
    }

    /// Differs between any two states of this collection that a source has published.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The objects, by name.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// The object of that name.
    pub fn entry(&self, name: &str) -> Option<&Arc<Entry>> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.name.as_str().cmp(name))
            .ok()?;
        self.entries.get(index)
    }

    /// The `resources` field of a response with all objects.
    pub(crate) fn encoded(&self) -> &Bytes {
        self.encoded.get_or_init(|| {
            let length = self.entries.iter().map(|entry| entry.record.len()).sum();
            let mut buffer = BytesMut::with_capacity(length);
            for entry in &self.entries {
                buffer.extend_from_slice(&entry.record);
            }
            buffer.freeze()
        })
    }
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

// === impl Entry ===

impl Entry {
    /// Encodes an object.
    pub fn new(config: &Config) -> Self {
        Self::of_resource(&to_resource(config))
    }

    /// Encodes a resource, which may be of a collection that is none of the kinds'.
    pub fn of_resource(resource: &Resource) -> Self {
        let metadata = resource.metadata.as_ref();
        Self {
            name: metadata.map(|metadata| metadata.name.clone()).unwrap_or_default(),
            version: metadata
                .map(|metadata| metadata.version.clone())
                .unwrap_or_default(),
            record: frame::resource_record(resource),
        }
    }

    /// Name inside the collection, see [`mesh_config::ConfigKey::resource_name`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Version of the object.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The object as it stands in a response: key, length and encoded resource.
    pub(crate) fn record(&self) -> &Bytes {
        &self.record
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.name, self.version, self.record.len())
    }
}

// === impl SnapshotCache ===

impl SnapshotCache {
    /// A cache without snapshot: requests wait for the first one (T18).
    pub fn new() -> Self {
        Self {
            current: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Replaces the snapshot and wakes every stream.
    pub fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        self.current.send_replace(Some(snapshot.clone()));
        snapshot
    }

    /// The newest snapshot.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.borrow().clone()
    }

    /// Follows the snapshots; intermediate ones are skipped by who is slow.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.current.subscribe()
    }
}

impl Default for SnapshotCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::{ConfigKey, Kind, Meta, Timestamp};

    use super::*;

    fn entry(name: &str, version: &str) -> Arc<Entry> {
        Arc::new(Entry::new(&Config {
            meta: Meta {
                key: ConfigKey::new(Kind::Gateway, "a", name),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                created: Timestamp::default(),
                version: version.to_owned(),
            },
            body: mesh_api::Any::default(),
        }))
    }

    #[test]
    fn a_collection_of_the_same_version_stays_shared() {
        let mut builder = Snapshot::default().builder();
        builder
            .set("x", "1", [entry("a", "1")])
            .set("y", "1", [entry("b", "1")]);
        let first = builder.build();
        let mut builder = first.builder();
        builder.set("x", "1", []).set("y", "2", []);
        let second = builder.build();
        let shared = |name| Arc::ptr_eq(first.collection(name).unwrap(), second.collection(name).unwrap());
        assert!(shared("x"));
        assert!(!shared("y"));
    }

    #[test]
    fn entries_are_sorted_unique_and_found_by_name() {
        let collection = Collection::new("x", "1", [entry("b", "1"), entry("a", "1"), entry("b", "2")]);
        let names: Vec<_> = collection.entries().iter().map(|entry| entry.name()).collect();
        assert_eq!(names, ["a/a", "a/b"]);
        assert_eq!(collection.entry("a/b").unwrap().version(), "1");
        assert!(collection.entry("a/c").is_none());
    }

    #[test]
    fn the_full_state_is_encoded_once() {
        let collection = Collection::new("x", "1", [entry("a", "1")]);
        assert_eq!(collection.encoded().as_ptr(), collection.encoded().as_ptr());
        assert_eq!(collection.encoded(), entry("a", "1").record());
    }
}
