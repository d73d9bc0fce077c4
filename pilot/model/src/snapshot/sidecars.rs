//! Sidecars and whom they select.

use std::collections::BTreeMap;

use mesh_config::{ConfigKey, Labels, Str};

use crate::{Rev, Sidecar, Versioned};

/// All Sidecars, by namespace.
#[derive(Debug, Default)]
pub struct SidecarTable {
    rev: Rev,
    namespaces: BTreeMap<Str, NamespaceSidecars>,
}

/// The Sidecars of one namespace, oldest first.
#[derive(Debug, Default)]
struct NamespaceSidecars {
    selecting: Vec<Versioned<Sidecar>>,
    /// Those for the whole namespace; the first one counts.
    general: Vec<Versioned<Sidecar>>,
}

// === impl SidecarTable ===

impl SidecarTable {
    pub(super) fn new(rev: Rev, objects: &BTreeMap<ConfigKey, Versioned<Sidecar>>) -> Self {
        let mut all: Vec<_> = objects.values().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let mut namespaces: BTreeMap<Str, NamespaceSidecars> = BTreeMap::new();
        for object in all {
            let namespace = namespaces.entry(object.key.namespace.clone()).or_default();
            if object.selector.is_some() {
                namespace.selecting.push(object);
            } else {
                namespace.general.push(object);
            }
        }
        Self { rev, namespaces }
    }

    /// Changes when any Sidecar does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// All, by namespace.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<Sidecar>> {
        let namespaces = self.namespaces.values();
        namespaces.flat_map(|namespace| namespace.selecting.iter().chain(&namespace.general))
    }

    /// The Sidecar of a proxy in `namespace` whose workload has these labels (`R-SC-4`): the oldest of its namespace
    /// that selects the workload, then that for the whole namespace, then that for the whole mesh, which is the one
    /// without selector in the root namespace.
    pub fn select(&self, namespace: &str, labels: &Labels, root: &str) -> Option<&Versioned<Sidecar>> {
        let own = self.namespaces.get(namespace);
        let selects = |object: &&Versioned<Sidecar>| {
            let selector = object.selector.as_ref();
            selector.is_some_and(|selector| selector.is_subset_of(labels))
        };
        own.and_then(|own| own.selecting.iter().find(selects).or(own.general.first()))
            .or_else(|| self.namespaces.get(root)?.general.first())
    }

    /// Younger Sidecars that would be about the same proxies as one for a whole namespace; nobody follows them.
    pub(crate) fn overruled_by(&self, sidecar: &Sidecar) -> impl Iterator<Item = &ConfigKey> {
        let namespace = self.namespaces.get(&sidecar.key.namespace);
        namespace
            .into_iter()
            .filter(|_| sidecar.selector.is_none())
            .flat_map(|namespace| &namespace.general)
            .map(|other| &other.key)
            .filter(|key| **key != sidecar.key)
    }
}
