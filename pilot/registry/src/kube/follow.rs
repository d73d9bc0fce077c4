//! Follows the API server of a cluster (P4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::core::DeserializeGuard;
use mesh_config::{Config, ConfigKey, Kind, Str};
use mesh_kube::{Client, Event, State, Status, Watch, WatchOptions};
use mesh_runtime::ReadyGuard;
use serde::Serialize;
use tokio::sync::watch;

use super::{KubeEvent, ObjectName, SLICES, Slice};
use crate::controller::{ClusterInput, ControllerGone};
use crate::kind_status::{self, KindStatus};

/// The kinds that are followed in any case, beside EndpointSlices.
const KINDS: [Kind; 3] = [Kind::Service, Kind::Pod, Kind::Node];

/// What to follow of a cluster, and how.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The name of the cluster's registry.
    pub cluster: Str,
    /// `--appNamespace`: services, endpoints and pods of this namespace only. Nodes belong to none.
    pub namespace: Option<String>,
    /// `--resync`: a connection that died unnoticed is replaced after so long.
    pub resync: Duration,
}

/// Follows the Services, EndpointSlices, Pods and Nodes of a cluster. An API server that is away changes nothing: what it
/// said last stays in force until it is back.
///
/// Endpoints are followed instead of EndpointSlices where the server has no slices, and where we may not read any.
pub struct Cluster {
    client: Client,
    namespace: Option<String>,
    options: WatchOptions,
    objects: SelectAll<BoxStream<'static, (Kind, Event<Config>)>>,
    slices: Watch<Slice>,
    slices_status: watch::Receiver<Status>,
    /// In place of slices.
    endpoints: Option<Watch<Config>>,
    /// The Endpoints that were told.
    told: BTreeSet<ConfigKey>,
    /// What has not been listed yet.
    missing: BTreeSet<&'static str>,
    ready: Option<ReadyGuard>,
    handle: KubeHandle,
    input: ClusterInput,
}

/// Shows how it stands with a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KubeHandle {
    cluster: Str,
    source: Arc<str>,
    kinds: Arc<Mutex<BTreeMap<&'static str, watch::Receiver<Status>>>>,
}

/// How it stands with a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    /// The name of its registry.
    pub cluster: String,
    /// What is followed.
    pub source: String,
    /// Whether every kind was answered the last time.
    pub connected: bool,
    /// Whether every kind was listed once.
    pub synced: bool,
    /// The first reason why something is not followed.
    pub error: Option<String>,
    /// By kind.
    pub kinds: BTreeMap<&'static str, KindStatus>,
}

// === impl Cluster ===

impl Cluster {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(client: Client, options: ClusterOptions, input: ClusterInput) -> (Self, KubeHandle) {
        let ClusterOptions {
            cluster,
            namespace,
            resync,
        } = options;
        let options = WatchOptions {
            timeout: resync,
            ..WatchOptions::default()
        };
        let handle = KubeHandle {
            source: format!("Kubernetes API server of {cluster}").into(),
            cluster,
            kinds: Arc::default(),
        };
        let mut objects = SelectAll::new();
        for kind in KINDS {
            let watch = watch_kind(&client, kind, namespace.as_deref(), &options);
            handle.show(kind.schema().kind, watch.status());
            objects.push(watch.into_stream().map(move |event| (kind, event)).boxed());
        }
        let slices: Api<DeserializeGuard<EndpointSlice>> = match &namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let slices = Watch::decoding("endpointslices".to_owned(), slices, options.clone(), |guard| {
            guard
                .0
                .map(|slice| Slice::new(&slice))
                .map_err(|invalid| invalid.error)
        });
        let slices_status = slices.status();
        handle.show(SLICES, slices_status.clone());
        let missing = KINDS.map(|kind| kind.schema().kind).into_iter();
        let cluster = Self {
            client,
            namespace,
            options,
            objects,
            slices,
            slices_status,
            endpoints: None,
            told: BTreeSet::new(),
            missing: missing.chain([SLICES]).collect(),
            ready: None,
            handle: handle.clone(),
            input,
        };
        (cluster, handle)
    }

    /// Follows the cluster until nobody listens any more. `ready` is dropped when every kind was listed.
    pub async fn run(mut self, ready: Option<ReadyGuard>) {
        self.ready = ready;
        // Then there is nobody left to be told anything.
        let Err(ControllerGone) = self.follow().await;
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, ControllerGone> {
        loop {
            tokio::select! {
                Some((kind, event)) = self.objects.next() => self.tell(kind, event).await?,
                event = self.slices.next() => self.tell_slice(event).await?,
                event = next(&mut self.endpoints) => self.tell(Kind::Endpoints, event).await?,
                Ok(()) = self.slices_status.changed() => self.choose().await?,
            }
        }
    }

    async fn tell(&mut self, kind: Kind, event: Event<Config>) -> Result<(), ControllerGone> {
        let key = |name: mesh_kube::ObjectName| ConfigKey::new(kind, name.namespace, name.name);
        let event = match event {
            Event::Applied(_, config) => KubeEvent::Set(Box::new(config)),
            Event::Deleted(name) => KubeEvent::Gone(key(name)),
            Event::Rejected(name, reason) => KubeEvent::Rejected(Some(key(name)), reason),
            Event::Synced => return self.listed(kind.schema().kind).await,
        };
        if kind == Kind::Endpoints {
            match &event {
                KubeEvent::Set(config) => self.told.insert(config.meta.key.clone()),
                KubeEvent::Gone(key) => self.told.remove(key),
                _ => false,
            };
        }
        self.input.send(event).await
    }

    async fn tell_slice(&mut self, event: Event<Slice>) -> Result<(), ControllerGone> {
        let name = |name: mesh_kube::ObjectName| -> ObjectName { (name.namespace.into(), name.name.into()) };
        let event = match event {
            Event::Applied(of, slice) => KubeEvent::Slice(name(of), Box::new(slice)),
            Event::Deleted(of) => KubeEvent::SliceGone(name(of)),
            Event::Rejected(_, reason) => KubeEvent::Rejected(None, reason),
            Event::Synced => {
                // Before anybody may believe that there are no endpoints.
                self.choose().await?;
                return self.listed(SLICES).await;
            }
        };
        self.input.send(event).await
    }

    /// Follows Endpoints as long as there is no way to slices.
    async fn choose(&mut self) -> Result<(), ControllerGone> {
        let has_slices = {
            let status = self.slices_status.borrow_and_update();
            match status.state {
                State::NotServed => false,
                // A role that was taken away leaves what is known.
                State::Forbidden(_) => status.lists > 0,
                State::Following => true,
                State::Starting | State::Failing(_) => return Ok(()),
            }
        };
        if has_slices && self.endpoints.take().is_some() {
            tracing::info!(cluster = %self.handle.cluster, "EndpointSlices are there: they are followed instead of Endpoints");
            let endpoints = Kind::Endpoints.schema().kind;
            self.handle.hide(endpoints);
            for key in std::mem::take(&mut self.told) {
                self.input.send(KubeEvent::Gone(key)).await?;
            }
            self.listed(endpoints).await?;
        } else if !has_slices && self.endpoints.is_none() {
            tracing::info!(cluster = %self.handle.cluster, "no EndpointSlices can be read: Endpoints are followed");
            let endpoints = watch_kind(
                &self.client,
                Kind::Endpoints,
                self.namespace.as_deref(),
                &self.options,
            );
            self.handle
                .show(Kind::Endpoints.schema().kind, endpoints.status());
            if !self.missing.is_empty() {
                self.missing.insert(Kind::Endpoints.schema().kind);
            }
            self.endpoints = Some(endpoints);
        }
        Ok(())
    }

    /// A kind was listed, or there is nothing to list.
    async fn listed(&mut self, kind: &'static str) -> Result<(), ControllerGone> {
        if self.missing.remove(kind) && self.missing.is_empty() {
            tracing::info!(cluster = %self.handle.cluster, "every kind of object was listed");
            self.input.send(KubeEvent::Synced).await?;
            self.ready = None;
        }
        Ok(())
    }
}

fn watch_kind(client: &Client, kind: Kind, namespace: Option<&str>, options: &WatchOptions) -> Watch<Config> {
    let namespace = namespace.filter(|_| kind != Kind::Node);
    mesh_kube::config::watch(client.clone(), kind, namespace, options.clone())
}

/// The next event; never, where nothing is followed.
async fn next(watch: &mut Option<Watch<Config>>) -> Event<Config> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("status", &self.handle.status())
            .finish_non_exhaustive()
    }
}

// === impl KubeHandle ===

impl KubeHandle {
    /// How it stands now.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let kinds: BTreeMap<&'static str, KindStatus> = self
            .kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(kind, status)| (*kind, KindStatus::of(&status.borrow())))
            .collect();
        ClusterStatus {
            cluster: self.cluster.to_string(),
            source: self.source.to_string(),
            connected: kinds.values().all(KindStatus::is_answered),
            synced: kinds
                .values()
                .all(|status| status.lists > 0 || status.state == "not served"),
            error: kind_status::first_error(&kinds),
            kinds,
        }
    }

    /// Waits until every kind was listed, or asked for in vain.
    pub(super) fn attempted(&self) -> impl Future<Output = ()> + use<> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kinds: Vec<watch::Receiver<Status>> = kinds.values().cloned().collect();
        async move {
            for mut kind in kinds {
                let is_over = |status: &Status| {
                    status.lists > 0 || !matches!(status.state, State::Starting | State::Following)
                };
                // A watch that is gone is not waited for either.
                let _ = kind.wait_for(is_over).await;
            }
        }
    }

    fn show(&self, kind: &'static str, status: watch::Receiver<Status>) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(kind, status);
    }

    fn hide(&self, kind: &str) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.remove(kind);
    }
}
