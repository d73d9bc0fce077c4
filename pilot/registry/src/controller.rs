//! The task that owns the state: takes what the sources say, publishes when changes pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Config, ConfigKey, Kind, Str};
use mesh_mcp::sink::{Apply, ApplyError, Change as McpChange, Content};
use pilot_model::{Builder, Change, Networks, Published, Visibility};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config_store::{ConfigEvent, ConfigStore};
use crate::consul;
use crate::debounce::Debounce;
use crate::ingress::{self, Ingresses};
use crate::kube::{self, KubeEvent};
use crate::metrics::RegistryMetrics;
use crate::registries::Registries;

/// How many states of collections wait at most: each source has one under way.
const QUEUE: usize = 64;

/// The source of what is made of other objects. What anybody says himself counts before it.
const MADE: usize = usize::MAX;

/// What the controller hands out when it publishes.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The model. Its generation is that of the publication before when only the rest is different.
    pub published: Published,
    /// The objects in force, as the sources have them.
    pub objects: Arc<BTreeMap<ConfigKey, Arc<Config>>>,
    /// Objects that could not be read, or not be followed in a part, and why.
    pub rejected: Arc<BTreeMap<ConfigKey, String>>,
}

/// One message for the controller.
#[derive(Debug)]
enum Input {
    /// The news of a collection.
    State {
        source: usize,
        kind: Kind,
        content: Content,
    },
    /// An object that its source leaves out, and why. What it said before stays.
    Refused { key: ConfigKey, reason: String },
    /// New mesh-wide configuration.
    Mesh(Box<MeshConfig>),
    /// New networks.
    Networks(Box<Networks>),
    /// The instances of a service of the Consul catalog.
    Consul {
        service: String,
        instances: Vec<consul::Instance>,
    },
    /// Every service of the Consul catalog was received once.
    ConsulSynced,
    /// What the API server of a cluster says.
    Kube {
        cluster: Str,
        incarnation: u64,
        event: KubeEvent,
    },
}

/// The way to the controller.
#[derive(Clone, Debug)]
pub struct Controller {
    inputs: mpsc::Sender<Input>,
}

/// The controller itself, to be run as a task.
#[derive(Debug)]
pub struct ControllerTask {
    inputs: mpsc::Receiver<Input>,
    builder: Builder,
    store: ConfigStore,
    registries: Registries,
    debounce: Debounce,
    started: Instant,
    /// Collections that have not been delivered yet, by source.
    missing: BTreeSet<(usize, Kind)>,
    /// Whether the services of a Consul catalog are still to come.
    awaits_consul: bool,
    /// Objects that their sources leave out, and why.
    refused: BTreeMap<ConfigKey, String>,
    ingresses: Option<Ingresses>,
    /// Clusters whose objects are still to come.
    awaited_clusters: BTreeSet<Str>,
    last: Option<Published>,
    metrics: Option<RegistryMetrics>,
}

/// Where one source's changes go.
#[derive(Clone, Debug)]
pub struct SourceInput {
    controller: Controller,
    source: usize,
}

/// Where the services of a Consul catalog go.
#[derive(Clone, Debug)]
pub struct ConsulInput {
    controller: Controller,
}

/// Where what an API server says of its cluster goes.
#[derive(Clone, Debug)]
pub struct ClusterInput {
    controller: Controller,
    cluster: Str,
    /// Tells its followers apart, of which the last one counts.
    incarnation: u64,
}

/// The controller is gone: nobody is left to be told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller is gone")]
pub struct ControllerGone;

// === impl Controller ===

impl Controller {
    /// A controller of `sources` sources, each of which delivers `kinds`. Nothing is published before all were received.
    pub fn new(
        builder: Builder,
        registries: Registries,
        debounce: Debounce,
        sources: usize,
        kinds: &[Kind],
    ) -> (Self, ControllerTask) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let missing = (0..sources)
            .flat_map(|source| kinds.iter().map(move |&kind| (source, kind)))
            .collect();
        let awaits_consul = registries.has_consul();
        let awaited_clusters = registries.has_api_server().then(|| kube::REGISTRY.into());
        let task = ControllerTask {
            inputs: receiver,
            builder,
            store: ConfigStore::default(),
            registries,
            debounce,
            started: Instant::now(),
            missing,
            awaits_consul,
            refused: BTreeMap::new(),
            ingresses: None,
            awaited_clusters: awaited_clusters.into_iter().collect(),
            last: None,
            metrics: None,
        };
        (Self { inputs: sender }, task)
    }

    /// The input of a source. Sources are numbered from 0; where two have the same object, the lower number wins.
    pub fn source(&self, source: usize) -> SourceInput {
        SourceInput {
            controller: self.clone(),
            source,
        }
    }

    /// The input of a Consul catalog.
    pub fn consul(&self) -> ConsulInput {
        ConsulInput {
            controller: self.clone(),
        }
    }

    /// The input of a cluster, by the name of its registry.
    pub fn cluster(&self, cluster: impl Into<Str>) -> ClusterInput {
        ClusterInput {
            controller: self.clone(),
            cluster: cluster.into(),
            incarnation: 0,
        }
    }

    /// Takes over mesh-wide configuration.
    pub async fn set_mesh(&self, mesh: MeshConfig) {
        // Without a task there is nobody left to configure.
        let _ = self.inputs.send(Input::Mesh(Box::new(mesh))).await;
    }

    /// Takes over the networks that the mesh spans.
    pub async fn set_networks(&self, networks: Networks) {
        let _ = self.inputs.send(Input::Networks(Box::new(networks))).await;
    }
}

// === impl SourceInput ===

impl SourceInput {
    /// Takes over everything that the source says of a kind.
    ///
    /// # Errors
    ///
    /// When nobody is left to be told anything.
    pub async fn replace(&self, kind: Kind, objects: Vec<Config>) -> Result<(), ControllerGone> {
        self.state(kind, Content::Full(objects)).await
    }

    /// Takes over what is different in what the source says of a kind.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub async fn change(
        &self,
        kind: Kind,
        changed: Vec<Config>,
        gone: Vec<ConfigKey>,
    ) -> Result<(), ControllerGone> {
        self.state(kind, Content::Changes { changed, gone }).await
    }

    /// Notes that the source leaves an object out. What it said before stays.
    ///
    /// # Errors
    ///
    /// As [`Self::replace`].
    pub async fn refuse(&self, key: ConfigKey, reason: String) -> Result<(), ControllerGone> {
        self.send(Input::Refused { key, reason }).await
    }

    async fn state(&self, kind: Kind, content: Content) -> Result<(), ControllerGone> {
        let source = self.source;
        self.send(Input::State {
            source,
            kind,
            content,
        })
        .await
    }

    async fn send(&self, input: Input) -> Result<(), ControllerGone> {
        self.controller
            .inputs
            .send(input)
            .await
            .map_err(|_| ControllerGone)
    }
}

impl Apply for SourceInput {
    async fn apply(&mut self, change: McpChange) -> Result<(), ApplyError> {
        self.state(change.kind, change.content)
            .await
            .map_err(|ControllerGone| ApplyError::Closed)
    }
}

// === impl ConsulInput ===

impl ConsulInput {
    /// Takes over the instances of a service; none when the catalog does not have it any more.
    pub(crate) async fn set(
        &self,
        service: String,
        instances: Vec<consul::Instance>,
    ) -> Result<(), ControllerGone> {
        self.send(Input::Consul { service, instances }).await
    }

    /// Says that every service was given over once.
    pub(crate) async fn synced(&self) -> Result<(), ControllerGone> {
        self.send(Input::ConsulSynced).await
    }

    async fn send(&self, input: Input) -> Result<(), ControllerGone> {
        self.controller
            .inputs
            .send(input)
            .await
            .map_err(|_| ControllerGone)
    }
}

// === impl ClusterInput ===

impl ClusterInput {
    /// The input of a follower of this number.
    pub(crate) fn incarnation(self, incarnation: u64) -> Self {
        Self { incarnation, ..self }
    }

    /// Hands over what the API server says.
    pub(crate) async fn send(&self, event: KubeEvent) -> Result<(), ControllerGone> {
        let cluster = self.cluster.clone();
        let input = Input::Kube {
            cluster,
            incarnation: self.incarnation,
            event,
        };
        self.controller
            .inputs
            .send(input)
            .await
            .map_err(|_| ControllerGone)
    }
}

// === impl ControllerTask ===

impl ControllerTask {
    /// Counts what the sources say.
    #[must_use]
    pub fn with_metrics(self, metrics: RegistryMetrics) -> Self {
        Self {
            metrics: Some(metrics),
            ..self
        }
    }

    /// Follows the Ingresses too, which a source of their own delivers.
    #[must_use]
    pub fn with_ingresses(mut self, source: usize, ingresses: Ingresses) -> Self {
        self.missing.insert((source, Kind::Ingress));
        self.ingresses = Some(ingresses);
        self
    }

    /// Publishes nothing before the Secrets that name other clusters were listed, and those clusters or one attempt at
    /// them.
    #[must_use]
    pub fn with_remotes(mut self) -> Self {
        self.awaited_clusters.insert(kube::SECRETS.into());
        self
    }

    /// Runs until all senders are gone. `publish` is called with each publication, from this task.
    pub async fn run(mut self, mut publish: impl FnMut(Publication) + Send) {
        if self.is_complete() {
            self.debounce.on_change(self.started.elapsed());
        }
        loop {
            // Before every collection was received, a publication would take configuration away from proxies.
            let deadline = if self.is_complete() {
                self.debounce.deadline()
            } else {
                None
            };
            let wait = deadline.map(|deadline| deadline.saturating_sub(self.started.elapsed()));
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    if self.debounce.take(self.started.elapsed()) {
                        publish(self.publication());
                    }
                }
            }
        }
    }

    /// Whether everything was received once.
    fn is_complete(&self) -> bool {
        self.missing.is_empty() && !self.awaits_consul && self.awaited_clusters.is_empty()
    }

    fn take(&mut self, input: Input) {
        let changed = match input {
            Input::Mesh(mesh) => {
                let default = Visibility::from_export_to(&mesh.default_service_export_to, Visibility::Public);
                for change in self.registries.set_default_export_to(default) {
                    self.builder.apply(change);
                }
                let ingresses = self.ingresses.as_mut();
                let others = ingresses.is_some_and(|ingresses| ingresses.set_mesh(&mesh));
                self.builder.apply(Change::Mesh(mesh));
                others || self.builder.has_changes()
            }
            Input::Networks(networks) => {
                self.builder.apply(Change::Networks(networks));
                self.builder.has_changes()
            }
            Input::Consul { service, instances } => {
                for change in self.registries.apply_consul(&service, instances) {
                    self.builder.apply(change);
                }
                self.builder.has_changes()
            }
            Input::ConsulSynced => {
                let was_complete = self.is_complete();
                self.awaits_consul = false;
                !was_complete && self.is_complete()
            }
            Input::Kube {
                cluster,
                incarnation,
                event,
            } => self.take_kube(&cluster, incarnation, event),
            Input::State {
                source,
                kind,
                content,
            } => {
                let was_last = self.missing.remove(&(source, kind)) && self.is_complete();
                if was_last {
                    tracing::info!("every collection was received");
                }
                let accepted = self.accept(kind, &content);
                let events = match content {
                    Content::Full(objects) => self.store.replace(source, kind, objects),
                    Content::Changes { changed, gone } => self.store.change(source, kind, changed, &gone),
                };
                self.apply(&events);
                was_last || accepted || !events.is_empty()
            }
            Input::Refused { key, reason } => {
                self.refused.insert(key, reason);
                true
            }
        };
        if changed {
            self.debounce.on_change(self.started.elapsed());
        }
    }

    /// Takes over what is different in the store.
    fn apply(&mut self, events: &[ConfigEvent]) {
        for event in events {
            if let Some(metrics) = &self.metrics {
                metrics.count(event);
            }
            for change in self.registries.apply(event) {
                self.builder.apply(change);
            }
            if let Some(ingresses) = &mut self.ingresses {
                ingresses.note(event.key());
            }
        }
    }

    /// Forgets that objects were left out which their source delivers now, or which are gone; whether there were any.
    fn accept(&mut self, kind: Kind, content: &Content) -> bool {
        let before = self.refused.len();
        if before > 0 {
            match content {
                Content::Full(_) => self.refused.retain(|key, _| key.kind != kind),
                Content::Changes { changed, gone } => {
                    for key in changed.iter().map(|config| &config.meta.key).chain(gone) {
                        self.refused.remove(key);
                    }
                }
            }
        }
        self.refused.len() != before
    }

    /// Makes of the Ingresses what they mean.
    fn convert_ingresses(&mut self) {
        let Some(ingresses) = &mut self.ingresses else {
            return;
        };
        let first = ConfigKey::new(Kind::Ingress, "", "");
        let objects = self.store.objects().range(first..);
        let objects = objects
            .map(|(_, config)| &**config)
            .take_while(|config| config.meta.key.kind == Kind::Ingress);
        let Some(mut made) = ingresses.convert(objects, |port| self.registries.port_number(port)) else {
            return;
        };
        for kind in ingress::MADE {
            let objects = made.remove(&kind).unwrap_or_default();
            let events = self.store.replace(MADE, kind, objects);
            self.apply(&events);
        }
    }

    /// The objects that are left out, wholly or in a part, and why.
    fn rejected(&self) -> BTreeMap<ConfigKey, String> {
        let mut rejected = self.registries.rejected().clone();
        let warnings = self.ingresses.iter().flat_map(Ingresses::warnings);
        for (key, reason) in warnings.chain(&self.refused) {
            rejected.insert(key.clone(), reason.clone());
        }
        rejected
    }

    /// Takes over what an API server says; whether it makes a publication due.
    fn take_kube(&mut self, cluster: &Str, incarnation: u64, event: KubeEvent) -> bool {
        let is_primary = **cluster == *kube::REGISTRY;
        let was_complete = self.is_complete();
        match event {
            // A cluster that joins later holds nobody up.
            KubeEvent::Began if !was_complete => drop(self.awaited_clusters.insert(cluster.clone())),
            KubeEvent::Synced | KubeEvent::ClusterGone | KubeEvent::Attempted => {
                self.awaited_clusters.remove(cluster);
            }
            _ => {}
        }
        if !was_complete && self.is_complete() {
            self.debounce.on_change(self.started.elapsed());
        }
        if let (Some(metrics), Some(happened)) = (&self.metrics, event.happened()) {
            metrics.count_kube(&happened, self.registries.has(cluster, &event));
        }
        if let Some(ingresses) = &mut self.ingresses {
            match &event {
                KubeEvent::Set(config) => ingresses.note(&config.meta.key),
                KubeEvent::Gone(key) => ingresses.note(key),
                _ => {}
            }
        }
        let is_rejected = matches!(event, KubeEvent::Rejected(..));
        let changes = if is_primary {
            self.registries.apply_kube(event)
        } else {
            self.registries.apply_remote(cluster, incarnation, event)
        };
        for change in changes {
            self.builder.apply(change);
        }
        is_rejected || self.builder.has_changes()
    }

    fn publication(&mut self) -> Publication {
        self.convert_ingresses();
        let published = match &self.last {
            // Objects changed that proxies are not configured by, or that could not be read.
            Some(last) if !self.builder.has_changes() => last.clone(),
            _ => self.publish(),
        };
        Publication {
            published,
            objects: Arc::clone(self.store.objects()),
            rejected: Arc::new(self.rejected()),
        }
    }

    fn publish(&mut self) -> Published {
        let published = self.builder.publish();
        tracing::info!(
            generation = published.generation,
            configs = published.changes.configs.len(),
            services = published.changes.services.len(),
            endpoints = published.changes.endpoints.len(),
            workloads = published.changes.workloads.len(),
            "published"
        );
        self.last.insert(published).clone()
    }
}

#[cfg(test)]
mod tests;
