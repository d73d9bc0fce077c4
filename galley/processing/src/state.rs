//! The objects that there are, by collection, and their versions (G5).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Config, ConfigKey, Kind};
use mesh_mcp::snapshot::EMPTY_VERSION;
use mesh_mcp::{Entry, Snapshot};

use crate::event::Problem;
use crate::mesh;
use crate::metrics::ProcessingMetrics;
use crate::projection::Projection;

/// All objects by collection.
#[derive(Debug)]
pub(crate) struct State {
    collections: BTreeMap<Kind, Collection>,
    snapshot: Snapshot,
    served: Served,
    mesh: Option<Mesh>,
}

/// The mesh configuration and what follows from it.
#[derive(Debug)]
struct Mesh {
    config: MeshConfig,
    /// Counts the changes.
    version: u64,
    projection: Projection,
    /// What the projection is made of has changed since the last snapshot.
    stale: bool,
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
    /// The version of the mesh configuration, where it is served ([`mesh::COLLECTION`]).
    pub mesh_version: Option<String>,
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
            mesh: None,
        }
    }

    /// Serves a mesh configuration, and what Ingresses mean by it. `domain` is the DNS suffix of the cluster.
    pub(crate) fn with_mesh(self, config: MeshConfig, domain: String) -> Self {
        Self {
            mesh: Some(Mesh {
                config,
                version: 1,
                projection: Projection::new(domain),
                stale: true,
            }),
            ..self
        }
    }

    /// Takes a mesh configuration. Returns whether it changes anything.
    pub(crate) fn set_mesh(&mut self, config: MeshConfig) -> bool {
        match &mut self.mesh {
            Some(mesh) if mesh.config != config => {
                mesh.config = config;
                mesh.version += 1;
                mesh.stale = true;
                true
            }
            _ => false,
        }
    }

    /// The parts of Ingresses that were left out of the last snapshot.
    pub(crate) fn left_out(&self) -> &[Problem] {
        self.mesh.as_ref().map_or(&[], |mesh| mesh.projection.problems())
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
        self.project();
        let mut builder = self.snapshot.builder();
        if let Some(mesh) = &self.mesh {
            let version = mesh.version.to_string();
            builder.set(mesh::COLLECTION, version.clone(), [mesh::entry(&mesh.config)]);
            self.served.mesh_version = Some(version);
        }
        for (&kind, collection) in &mut self.collections {
            if !std::mem::take(&mut collection.changed) {
                continue;
            }
            let made = self.mesh.as_ref().and_then(|mesh| mesh.projection.made(kind));
            let version = match made {
                Some(made) => format!("{}_{}", collection.version(), made.version),
                None => collection.version(),
            };
            // What users call the same is theirs.
            let own = &collection.objects;
            let made = made.into_iter().flat_map(|made| &made.objects);
            let made = made
                .filter(|(key, _)| !own.contains_key(key))
                .map(|(_, made)| made);
            let entries = own.values().map(|object| object.entry.clone());
            let entries = entries.chain(made.clone().map(|(_, entry)| entry.clone()));
            builder.set(kind.collection(), version.clone(), entries);
            let configs = own.values().map(|object| object.config.clone());
            let mut configs: Vec<_> = configs.chain(made.map(|(config, _)| config.clone())).collect();
            configs.sort_by(|a, b| a.meta.key.cmp(&b.meta.key));
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

    /// Makes Gateways and VirtualServices of the Ingresses, where something may be different.
    fn project(&mut self) {
        let Some(mesh) = &mut self.mesh else { return };
        let sources = [Kind::Ingress, Kind::Service].map(|kind| self.collections.get(&kind));
        let touched = sources.iter().flatten().any(|collection| collection.changed);
        if !std::mem::take(&mut mesh.stale) && !touched {
            return;
        }
        let [ingresses, services] = sources;
        let ingresses = ingresses
            .into_iter()
            .flat_map(|collection| collection.objects.values());
        let changed = mesh
            .projection
            .update(&mesh.config, ingresses.map(|object| &*object.config), |key| {
                Some(&*services?.objects.get(key)?.config)
            });
        for kind in changed {
            self.collections.entry(kind).or_default().changed = true;
        }
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

    fn ingress(name: &str, class: &str) -> Config {
        let text = format!(
            "{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: {name}, namespace: ns}}, spec: \
             {{ingressClassName: {class}, defaultBackend: {{service: {{name: web, port: {{number: 80}}}}}}}}}}"
        );
        let document = mesh_config::yaml::documents("test", &text).remove(0).unwrap();
        mesh_config::decode::object(&document).unwrap()
    }

    /// Names and version of a collection.
    fn collection(snapshot: &Snapshot, kind: Kind) -> (Vec<String>, String) {
        let collection = snapshot.collection(kind.collection()).unwrap();
        let names = collection.entries().iter().map(|entry| entry.name().to_owned());
        (names.collect(), collection.version().to_owned())
    }

    #[test]
    fn g7_ingresses_become_gateways_and_virtual_services_beside_those_of_users() {
        let metrics = ProcessingMetrics::register(&Metrics::new()).unwrap();
        let default = mesh_config::mesh::default_galley_mesh();
        let mut state = State::new().with_mesh(default.clone(), "cluster.local".to_owned());
        state.upsert(config(Kind::Gateway, "own", "1"));
        state.upsert(ingress("a", "other"));
        let (snapshot, _) = state.snapshot(&metrics);
        assert_eq!(
            collection(&snapshot, Kind::Gateway),
            (vec!["ns/own".to_owned()], "1".to_owned())
        );

        state.upsert(ingress("b", "istio"));
        let (snapshot, served) = state.snapshot(&metrics);
        let made = "istio-system/b-istio-autogenerated-k8s-ingress".to_owned();
        let (names, version) = collection(&snapshot, Kind::Gateway);
        assert_eq!(
            (names, version.as_str()),
            (vec![made, "ns/own".to_owned()], "1_1")
        );
        let (names, version) = collection(&snapshot, Kind::VirtualService);
        assert_eq!((names.len(), version.as_str()), (1, "0_1"));
        assert_eq!(served.collections[&Kind::Gateway].configs.len(), 2);

        // An Ingress that is not ours changes the Ingresses and nothing else.
        state.upsert(ingress("c", "other"));
        let (next, _) = state.snapshot(&metrics);
        assert_eq!(
            collection(&next, Kind::Gateway),
            collection(&snapshot, Kind::Gateway)
        );
        assert_ne!(
            collection(&next, Kind::Ingress).1,
            collection(&snapshot, Kind::Ingress).1
        );

        // Another class.
        let mut mesh = default;
        mesh.ingress_class = "nobody".to_owned();
        assert!(state.set_mesh(mesh.clone()) && !state.set_mesh(mesh));
        let (next, _) = state.snapshot(&metrics);
        assert_eq!(
            collection(&next, Kind::Gateway),
            (vec!["ns/own".to_owned()], "1_2".to_owned())
        );
        let mesh = next.collection(mesh::COLLECTION).unwrap();
        assert_eq!((mesh.version(), mesh.entries()[0].name()), ("2", mesh::RESOURCE));
    }

    #[test]
    fn g7_a_part_of_an_ingress_that_is_left_out_is_told() {
        let metrics = ProcessingMetrics::register(&Metrics::new()).unwrap();
        let default = mesh_config::mesh::default_galley_mesh();
        let mut state = State::new().with_mesh(default, "cluster.local".to_owned());
        let mut spec: mesh_api::k8s::io::api::networking::v1::IngressSpec =
            ingress("a", "istio").decode().unwrap();
        let port = &mut spec
            .default_backend
            .as_mut()
            .unwrap()
            .service
            .as_mut()
            .unwrap()
            .port;
        *port = Some(mesh_api::k8s::io::api::networking::v1::ServiceBackendPort {
            name: Some("http".to_owned()),
            ..Default::default()
        });
        let mut named = ingress("a", "istio");
        named.body = mesh_api::Any::pack(&spec);
        state.upsert(named);
        state.snapshot(&metrics);
        let error = &state.left_out()[0].errors[0];
        assert_eq!(error.object, "Ingress ns/a");
        assert!(error.field.starts_with("defaultBackend"), "{error}");
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
