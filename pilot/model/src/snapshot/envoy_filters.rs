//! EnvoyFilters and whom they select.

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3;
use mesh_config::{ConfigKey, Labels, Meta, Timestamp};

use crate::{Derived, Rev, Versioned};

/// An EnvoyFilter.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvoyFilter {
    /// Names the object.
    pub key: ConfigKey,
    /// When it was created.
    pub created: Timestamp,
    /// Labels of the workloads whose proxies it is for; empty means all.
    pub workload_labels: Labels,
    /// Its content, as written.
    pub spec: v1alpha3::EnvoyFilter,
}

/// All EnvoyFilters, oldest first.
#[derive(Debug, Default)]
pub struct EnvoyFilterTable {
    rev: Rev,
    all: Vec<Versioned<EnvoyFilter>>,
    derived: Derived,
}

// === impl EnvoyFilter ===

impl EnvoyFilter {
    pub(super) fn new(meta: &Meta, spec: v1alpha3::EnvoyFilter) -> Self {
        Self {
            key: meta.key.clone(),
            created: meta.created,
            workload_labels: Labels::from(&spec.workload_labels),
            spec,
        }
    }
}

// === impl EnvoyFilterTable ===

impl EnvoyFilterTable {
    pub(super) fn new(rev: Rev, objects: &BTreeMap<ConfigKey, Versioned<EnvoyFilter>>) -> Self {
        let mut all: Vec<_> = objects.values().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        Self {
            rev,
            all,
            derived: Derived::default(),
        }
    }

    /// Changes when any EnvoyFilter does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<EnvoyFilter>> {
        self.all.iter()
    }

    /// Those for the proxy of a workload with these labels, oldest first (P12.6). Namespaces do not matter, as in 1.1.
    pub fn selecting<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Versioned<EnvoyFilter>> {
        self.all
            .iter()
            .filter(|object| object.workload_labels.is_subset_of(labels))
    }

    /// Results made from these objects, shared by all publications in which they are the same.
    pub fn derived(&self) -> &Derived {
        &self.derived
    }
}
