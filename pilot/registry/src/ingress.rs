//! Ingresses among the objects of the sources, and what they mean (P5.5).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::ingress::{self, Flavour, PortName};
use mesh_config::{Config, ConfigKey, Kind, Str};

/// The kinds that are made of Ingresses.
pub(crate) const MADE: [Kind; 2] = [Kind::Gateway, Kind::VirtualService];

/// Says what Ingresses mean, again whenever that may be something else.
#[derive(Debug)]
pub struct Ingresses {
    flavour: Flavour,
    domain: Str,
    mesh: MeshConfig,
    /// Whether something changed since they were converted.
    changed: bool,
    /// Services whose ports are called by name.
    named: BTreeSet<(Str, Str)>,
    /// What was said of them last, by Ingress.
    warnings: BTreeMap<ConfigKey, String>,
}

// === impl Ingresses ===

impl Ingresses {
    /// Ingresses of a cluster with the DNS suffix `domain`, whose Gateways are in `namespace` (`K8S_INGRESS_NS`).
    pub fn new(namespace: impl Into<Str>, domain: impl Into<Str>, mesh: MeshConfig) -> Self {
        Self {
            flavour: Flavour::pilot(namespace),
            domain: domain.into(),
            mesh,
            changed: true,
            named: BTreeSet::new(),
            warnings: BTreeMap::new(),
        }
    }

    /// Takes over which Ingresses are ours; whether that may be others than before.
    pub(crate) fn set_mesh(&mut self, mesh: &MeshConfig) -> bool {
        let differs = self.mesh.ingress_controller_mode != mesh.ingress_controller_mode
            || self.mesh.ingress_class != mesh.ingress_class;
        self.mesh = mesh.clone();
        self.changed |= differs;
        differs
    }

    /// Notes that an object is different.
    pub(crate) fn note(&mut self, key: &ConfigKey) {
        self.changed |= match key.kind {
            Kind::Ingress => true,
            Kind::Service => self.named.contains(&(key.namespace.clone(), key.name.clone())),
            _ => false,
        };
    }

    /// The objects that the Ingresses among `objects` mean, by kind; `None` when that is as it was.
    pub(crate) fn convert<'a>(
        &mut self,
        objects: impl IntoIterator<Item = &'a Config>,
        port_number: impl Fn(PortName<'_>) -> Option<u32>,
    ) -> Option<BTreeMap<Kind, Vec<Config>>> {
        if !mem::take(&mut self.changed) {
            return None;
        }
        let named = RefCell::new(BTreeSet::new());
        let converted = ingress::convert(&self.mesh, &self.flavour, &self.domain, objects, |port| {
            named
                .borrow_mut()
                .insert((Str::from(port.namespace), Str::from(port.service)));
            port_number(port)
        });
        self.named = named.into_inner();
        let mut warnings: BTreeMap<ConfigKey, String> = BTreeMap::new();
        for warning in converted.warnings {
            let text = warnings.entry(warning.object).or_default();
            for part in ["; ", &warning.problem.field, ": ", &warning.problem.reason] {
                // Nothing stands before the first one.
                if !text.is_empty() || part != "; " {
                    text.push_str(part);
                }
            }
        }
        for (object, reason) in &warnings {
            if self.warnings.get(object) != Some(reason) {
                tracing::warn!(%object, reason, "a part of the Ingress is left out");
            }
        }
        self.warnings = warnings;
        let mut made: BTreeMap<Kind, Vec<Config>> = MADE.into_iter().map(|kind| (kind, Vec::new())).collect();
        for (key, config) in converted.objects {
            made.entry(key.kind).or_default().push(config);
        }
        Some(made)
    }

    /// What of the Ingresses is left out, and why.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = (&ConfigKey, &String)> {
        self.warnings.iter()
    }
}
