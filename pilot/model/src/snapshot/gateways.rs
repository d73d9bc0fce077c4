//! Gateways and whom they select.

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3;
use mesh_config::{ConfigKey, Labels, Meta, Str, Timestamp};

use crate::{Rev, Versioned};

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Names the object.
    pub key: ConfigKey,
    /// `namespace/name`, as VirtualServices refer to it once resolved.
    pub name: Str,
    /// When it was created.
    pub created: Timestamp,
    /// Labels of the proxies that execute it; empty means all.
    pub selector: Labels,
    /// Its content, as written.
    pub spec: v1alpha3::Gateway,
}

/// All Gateways, oldest first.
#[derive(Debug, Default)]
pub struct GatewayTable {
    rev: Rev,
    all: Vec<Versioned<Gateway>>,
}

// === impl Gateway ===

impl Gateway {
    pub(super) fn new(meta: &Meta, spec: v1alpha3::Gateway) -> Self {
        Self {
            key: meta.key.clone(),
            name: meta.key.resource_name().into(),
            created: meta.created,
            selector: Labels::from(&spec.selector),
            spec,
        }
    }
}

// === impl GatewayTable ===

impl GatewayTable {
    pub(super) fn new(rev: Rev, objects: &BTreeMap<ConfigKey, Versioned<Gateway>>) -> Self {
        let mut all: Vec<_> = objects.values().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        Self { rev, all }
    }

    /// Changes when any Gateway does.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<Gateway>> {
        self.all.iter()
    }

    /// Those that a proxy with these labels executes, oldest first.
    pub fn selecting<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Versioned<Gateway>> {
        self.all
            .iter()
            .filter(|gateway| gateway.selector.is_subset_of(labels))
    }

    /// Whether a Gateway of this resolved name exists.
    pub fn contains(&self, name: &str) -> bool {
        self.all.iter().any(|gateway| &*gateway.name == name)
    }
}
