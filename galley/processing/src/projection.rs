//! What Ingresses mean, as Gateways and VirtualServices beside those of users (G7).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::ingress::{self, Converted, Flavour, PortName};
use mesh_config::{Config, ConfigError, ConfigKey, Kind};
use mesh_mcp::Entry;

use crate::event::Problem;

/// Where everything lives that is made of Ingresses.
const NAMESPACE: &str = "istio-system";

/// The kinds that Ingresses, and the mesh configuration, are made into.
pub(crate) const KINDS: [Kind; 2] = [Kind::Gateway, Kind::VirtualService];

/// The objects that were made, by kind.
#[derive(Debug)]
pub(crate) struct Projection {
    flavour: Flavour,
    domain: String,
    made: BTreeMap<Kind, Made>,
    problems: Vec<Problem>,
}

/// The objects of one kind that were made.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) objects: BTreeMap<ConfigKey, (Arc<Config>, Arc<Entry>)>,
    /// Counts the changes.
    pub(crate) version: u64,
}

// === impl Projection ===

impl Projection {
    /// Nothing yet. `domain` is the DNS suffix of the cluster.
    pub(crate) fn new(domain: String) -> Self {
        Self {
            flavour: Flavour::galley(NAMESPACE),
            domain,
            made: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Makes everything anew; returns the kinds that are not as before. `service` finds a Service, where these are known.
    pub(crate) fn update<'a>(
        &mut self,
        mesh: &MeshConfig,
        ingresses: impl Iterator<Item = &'a Config>,
        service: impl Fn(&ConfigKey) -> Option<&'a Config>,
    ) -> Vec<Kind> {
        let port = |port: PortName<'_>| {
            let key = ConfigKey::new(Kind::Service, port.namespace, port.service);
            ingress::port_number(service(&key)?, port.port)
        };
        let Converted {
            mut objects,
            warnings,
        } = ingress::convert(mesh, &self.flavour, &self.domain, ingresses, port);
        self.problems = warnings
            .into_iter()
            .map(|warning| Problem {
                kind: Some(Kind::Ingress),
                namespace: Some(warning.object.namespace.clone()),
                errors: vec![ConfigError {
                    location: None,
                    object: warning.object.to_string(),
                    field: warning.problem.field,
                    reason: warning.problem.reason,
                }],
            })
            .collect();
        let mut changed = Vec::new();
        for kind in KINDS {
            let of_kind: BTreeMap<_, _> = objects.extract_if(.., |key, _| key.kind == kind).collect();
            let made = self.made.entry(kind).or_default();
            if made
                .objects
                .iter()
                .map(|(key, (config, _))| (key, &**config))
                .eq(&of_kind)
            {
                continue;
            }
            made.version += 1;
            made.objects = of_kind
                .into_iter()
                .map(|(key, config)| {
                    let entry = Arc::new(Entry::new(&config));
                    (key, (Arc::new(config), entry))
                })
                .collect();
            changed.push(kind);
        }
        changed
    }

    /// What was made of a kind, once there was something.
    pub(crate) fn made(&self, kind: Kind) -> Option<&Made> {
        self.made.get(&kind).filter(|made| made.version > 0)
    }

    /// The parts of Ingresses that are left out.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }
}
