//! From what is published and who asks to the resources that are sent.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_config::Str;
use pilot_model::{EndpointIndex, Proxy, ProxyType, Published, ScopedView, Workload};
use pilot_networking::{Features, Generate, Plan, XdsType, cluster, endpoint, listener, route};
use prost::Message;

use crate::cache::Cache;
use crate::memo::Memo;
use crate::metrics::XdsMetrics;
use crate::resource::{Encoded, ResourceSet};

/// A proxy together with what is published about and for it.
#[derive(Clone, Debug)]
pub struct ProxyContext {
    /// Who asks.
    pub proxy: Arc<Proxy>,
    /// The workload that it stands in front of.
    pub workload: Arc<Workload>,
    /// What its namespace sees.
    pub view: Arc<ScopedView>,
    /// What is published.
    pub published: Published,
}

/// Resource names that a client subscribed to: sorted, unique, and shared by all clients with the same names.
#[derive(Clone, Debug)]
pub struct Names(Arc<[Str]>);

/// Makes the resources of all proxies, each once.
///
/// Scopes say which proxies get the same; what they share is planned, built, encoded and framed once.
#[derive(Debug)]
pub struct Generator {
    features: Features,
    metrics: XdsMetrics,
    clusters: Cache<cluster::ClusterKey>,
    endpoints: Cache<endpoint::EndpointKey>,
    listeners: Cache<listener::ListenerKey>,
    virtual_hosts: Cache<route::VirtualHostKey>,
    routes: Cache<route::RouteKey>,
    outbound_clusters: Memo<cluster::OutboundScope, Arc<ResourceSet>>,
    outbound_listeners: Memo<listener::OutboundScope, Arc<ResourceSet>>,
    endpoint_sets: Memo<EndpointScope, Arc<ResourceSet>>,
    route_sets: Memo<(route::RouteScope, Names), Arc<ResourceSet>>,
    names: Mutex<HashSet<Arc<[Str]>>>,
}

/// What a set of load assignments depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndpointScope {
    names: Names,
    clusters: cluster::OutboundScope,
    endpoints: Identity<EndpointIndex>,
}

/// A shared value that is compared by identity.
#[derive(Debug)]
struct Identity<T>(Arc<T>);

// === impl ProxyContext ===

impl ProxyContext {
    /// The context of a proxy at a publication.
    pub fn new(proxy: Arc<Proxy>, published: Published) -> Self {
        let workload = proxy
            .ips
            .iter()
            .find_map(|ip| published.workloads.get(*ip))
            .cloned();
        // A proxy that no registry knows yet is configured by what it says of itself.
        let workload = workload.unwrap_or_else(|| {
            Arc::new(Workload {
                namespace: proxy.namespace.clone(),
                labels: proxy.declared_labels(),
                locality: proxy.locality.clone(),
                ..Workload::default()
            })
        });
        let view = published.snapshot.view(&proxy.namespace);
        Self {
            proxy,
            workload,
            view,
            published,
        }
    }

    fn generation(&self) -> u64 {
        self.published.generation
    }
}

// === impl Generator ===

impl Generator {
    /// A generator with empty caches.
    pub fn new(features: Features, metrics: XdsMetrics) -> Self {
        Self {
            features,
            metrics,
            clusters: Cache::new(),
            endpoints: Cache::new(),
            listeners: Cache::new(),
            virtual_hosts: Cache::new(),
            routes: Cache::new(),
            outbound_clusters: Memo::new(),
            outbound_listeners: Memo::new(),
            endpoint_sets: Memo::new(),
            route_sets: Memo::new(),
            names: Mutex::default(),
        }
    }

    /// Interns subscribed names, so that clients with the same names share what is made for them.
    pub fn names(&self, names: &BTreeSet<Str>) -> Names {
        let names: Arc<[Str]> = names.iter().cloned().collect();
        let mut interned = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = interned.get(&names) {
            return Names(Arc::clone(known));
        }
        interned.insert(Arc::clone(&names));
        Names(names)
    }

    /// All resources of one type for a proxy: sets that it shares with others first, then its own.
    ///
    /// `names` are those that it subscribed to; clusters and listeners are sent whole and do not ask for them.
    pub fn generate(
        &self,
        context: &ProxyContext,
        xds_type: XdsType,
        names: &Names,
    ) -> Vec<Arc<ResourceSet>> {
        match xds_type {
            XdsType::Cluster => self.cluster_sets(context),
            XdsType::Endpoint => vec![self.endpoint_set(context, names)],
            XdsType::Listener => self.listener_sets(context),
            XdsType::Route => vec![self.route_set(context, names)],
        }
    }

    /// Forgets what no proxy uses any more. Called after each publication.
    pub fn sweep(&self, generation: u64) {
        let is_live = |set: &Arc<ResourceSet>| Arc::strong_count(set) > 1;
        self.outbound_clusters.sweep(generation, is_live);
        self.outbound_listeners.sweep(generation, is_live);
        self.endpoint_sets.sweep(generation, is_live);
        self.route_sets.sweep(generation, is_live);
        self.clusters.sweep(generation);
        self.endpoints.sweep(generation);
        self.listeners.sweep(generation);
        self.routes.sweep(generation);
        self.virtual_hosts.sweep(generation);
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|names| Arc::strong_count(names) > 1);
    }

    /// How many resources each cache holds.
    pub fn cache_sizes(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            ("clusters", self.clusters.len()),
            ("endpoints", self.endpoints.len()),
            ("listeners", self.listeners.len()),
            ("routes", self.routes.len()),
            ("virtual_hosts", self.virtual_hosts.len()),
        ])
    }

    fn cluster_sets(&self, context: &ProxyContext) -> Vec<Arc<ResourceSet>> {
        let generation = context.generation();
        let scope = cluster::OutboundScope::new(&context.view, context.proxy.proxy_type);
        let outbound = self.outbound_clusters.get_or_compute(&scope, generation, || {
            self.clusters(
                cluster::outbound(&context.view, context.proxy.proxy_type),
                generation,
            )
        });
        match context.proxy.proxy_type {
            ProxyType::Router => vec![outbound],
            ProxyType::Sidecar => {
                let inbound = cluster::inbound(&context.view, &context.proxy, &context.workload);
                vec![outbound, self.clusters(inbound, generation)]
            }
        }
    }

    fn listener_sets(&self, context: &ProxyContext) -> Vec<Arc<ResourceSet>> {
        let generation = context.generation();
        match context.proxy.proxy_type {
            ProxyType::Router => {
                let plan = listener::gateway(&context.view, &context.workload.labels, &context.workload);
                vec![self.listeners(plan, generation)]
            }
            ProxyType::Sidecar => {
                let scope = listener::OutboundScope::new(&context.view, context.proxy.interception);
                let outbound = self.outbound_listeners.get_or_compute(&scope, generation, || {
                    self.listeners(
                        listener::outbound(&context.view, context.proxy.interception),
                        generation,
                    )
                });
                let inbound = listener::inbound(&context.view, &context.proxy, &context.workload);
                vec![outbound, self.listeners(inbound, generation)]
            }
        }
    }

    fn endpoint_set(&self, context: &ProxyContext, names: &Names) -> Arc<ResourceSet> {
        let generation = context.generation();
        let scope = EndpointScope {
            names: names.clone(),
            clusters: cluster::OutboundScope::new(&context.view, context.proxy.proxy_type),
            endpoints: Identity(Arc::clone(&context.published.endpoints)),
        };
        self.endpoint_sets.get_or_compute(&scope, generation, || {
            let keys = names
                .iter()
                .map(|name| endpoint::key(&context.view, &context.published.endpoints, name));
            let plan = Plan {
                keys: keys.collect(),
                warnings: Vec::new(),
            };
            self.set::<endpoint::Endpoints>(&self.endpoints, plan, generation)
        })
    }

    fn route_set(&self, context: &ProxyContext, names: &Names) -> Arc<ResourceSet> {
        let generation = context.generation();
        let scope = route::RouteScope::new(&context.view, &context.proxy, &context.workload, &self.features);
        self.route_sets
            .get_or_compute(&(scope, names.clone()), generation, || {
                let mut warnings = Vec::new();
                let mut items = Vec::new();
                let mut failed = Vec::new();
                for name in names.iter() {
                    let plan = route::plan(
                        &context.view,
                        &context.proxy,
                        &context.workload,
                        &self.features,
                        name,
                    );
                    warnings.extend(plan.warnings);
                    match self.route(&plan.key, generation) {
                        Some(route) => items.push(route),
                        None => failed.push(name.clone()),
                    }
                }
                Arc::new(ResourceSet::new(XdsType::Route, items, warnings).with_failed(failed))
            })
    }

    /// A route configuration is assembled from virtual hosts that other configurations share. It is not built without
    /// one of them: requests to that would be answered 404.
    fn route(&self, key: &route::RouteKey, generation: u64) -> Option<Arc<Encoded>> {
        let assemble = |key: &route::RouteKey| {
            let virtual_hosts = key.virtual_hosts.iter();
            let parts: Vec<Arc<Encoded>> = virtual_hosts
                .map(|key| self.resource::<route::VirtualHosts>(&self.virtual_hosts, key, generation))
                .collect::<Option<_>>()?;
            let bodies: Vec<Bytes> = parts.iter().map(|part| part.body.clone()).collect();
            let body = route::assemble(key, &bodies);
            Some(Encoded {
                parts,
                ..Encoded::new(key.name.clone(), body, false, Vec::new())
            })
        };
        self.routes.get(key, generation, assemble, || {
            self.on_panic(XdsType::Route, &key.name);
        })
    }

    fn clusters(&self, plan: Plan<cluster::ClusterKey>, generation: u64) -> Arc<ResourceSet> {
        self.set::<cluster::Clusters>(&self.clusters, plan, generation)
    }

    fn listeners(&self, plan: Plan<listener::ListenerKey>, generation: u64) -> Arc<ResourceSet> {
        self.set::<listener::Listeners>(&self.listeners, plan, generation)
    }

    fn set<G: Kind>(&self, cache: &Cache<G::Key>, plan: Plan<G::Key>, generation: u64) -> Arc<ResourceSet> {
        let mut items = Vec::with_capacity(plan.keys.len());
        let mut failed = Vec::new();
        for key in &plan.keys {
            match self.resource::<G>(cache, key, generation) {
                Some(resource) => items.push(resource),
                None => failed.push(G::name(key).into()),
            }
        }
        Arc::new(ResourceSet::new(G::TYPE, items, plan.warnings).with_failed(failed))
    }

    fn resource<G: Kind>(
        &self,
        cache: &Cache<G::Key>,
        key: &G::Key,
        generation: u64,
    ) -> Option<Arc<Encoded>> {
        let build = |key: &G::Key| {
            let built = G::build(key);
            let awaits_endpoints = G::awaits_endpoints(&built.message);
            Some(Encoded::new(
                G::name(key).into(),
                built.message.encode_to_vec().into(),
                awaits_endpoints,
                built.warnings,
            ))
        };
        cache.get(key, generation, build, || self.on_panic(G::TYPE, G::name(key)))
    }

    fn on_panic(&self, xds_type: XdsType, name: &str) {
        tracing::error!(%xds_type, resource = name, "generator panicked, proxies keep what they have");
        self.metrics.internal_errors.inc();
    }
}

/// What the generator must know about a kind of resource besides how it is built.
trait Kind: Generate {
    const TYPE: XdsType;

    /// Whether Envoy holds traffic back from the resource until its endpoints arrive.
    fn awaits_endpoints(_message: &Self::Message) -> bool {
        false
    }
}

impl Kind for cluster::Clusters {
    const TYPE: XdsType = XdsType::Cluster;

    fn awaits_endpoints(message: &Self::Message) -> bool {
        message.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    }
}

impl Kind for endpoint::Endpoints {
    const TYPE: XdsType = XdsType::Endpoint;
}

impl Kind for listener::Listeners {
    const TYPE: XdsType = XdsType::Listener;
}

impl Kind for route::VirtualHosts {
    const TYPE: XdsType = XdsType::Route;
}

// === impl Names ===

impl Names {
    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &Str> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Names {}

impl Hash for Names {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

// === impl Identity ===

impl<T> Clone for Identity<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Identity<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Identity<T> {}

impl<T> Hash for Identity<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

#[cfg(test)]
mod tests;
