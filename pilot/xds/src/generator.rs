//! From what is published and who asks to the resources that are sent.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_config::{Host, Str};
use pilot_model::{EndpointIndex, Proxy, ProxyType, Published, ScopedView, Workload};
use pilot_networking::{
    Features, Generate, Origin, Plan, Vantage, XdsType, cluster, endpoint, listener, route,
};
use prost::Message;

use crate::cache::Cache;
use crate::memo::Memo;
use crate::metrics::XdsMetrics;
use crate::name_list::NameList;
use crate::names::{NameTable, Names};
use crate::resource::{Encoded, ResourceSet};
use crate::stream::Impact;

/// A proxy together with what is published about and for it.
#[derive(Clone, Debug)]
pub struct ProxyContext {
    /// Who asks.
    pub proxy: Arc<Proxy>,
    /// The workload that it stands in front of.
    pub workload: Arc<Workload>,
    /// What its namespace sees, or what its Sidecar leaves of that.
    pub view: Arc<ScopedView>,
    /// What is published.
    pub published: Published,
}

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
    endpoint_sets: Memo<(EndpointScope, Identity<EndpointIndex>), Arc<ResourceSet>>,
    /// The newest set of each scope, from which the next one is made.
    last_endpoints: Mutex<HashMap<EndpointScope, LastEndpoints>>,
    /// What sets should hold, for the auditor.
    expected: Memo<(EndpointScope, Identity<EndpointIndex>), Arc<Expected>>,
    /// Hosts whose endpoints are different in two publications.
    changed_hosts: Memo<[Identity<EndpointIndex>; 2], Arc<[Host]>>,
    route_sets: Memo<(route::RouteScope, Names), Arc<ResourceSet>>,
    names: NameTable,
}

/// What a set of load assignments depends on besides the endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndpointScope {
    names: Names,
    clusters: cluster::OutboundScope,
}

/// Names and versions of load assignments.
pub(crate) type Expected = Vec<(Str, Str)>;

/// A set of load assignments and the endpoints that it was made from.
#[derive(Clone, Debug)]
struct LastEndpoints {
    endpoints: Identity<EndpointIndex>,
    set: Arc<ResourceSet>,
    generation: u64,
}

/// A shared value that is compared by identity.
#[derive(Debug)]
struct Identity<T>(Arc<T>);

// === impl ProxyContext ===

impl ProxyContext {
    /// The context of a proxy at a publication.
    pub fn new(proxy: Arc<Proxy>, published: Published) -> Self {
        let cluster = proxy.metadata.get("CLUSTER_ID").map_or("", |cluster| cluster);
        let workload = proxy
            .ips
            .iter()
            .find_map(|ip| published.workloads.get(*ip))
            .map(|workload| workload.of_proxy(&proxy.id, cluster));
        // A proxy that no registry knows yet is configured by what it says of itself.
        let workload = workload.unwrap_or_else(|| {
            Arc::new(Workload {
                namespace: proxy.namespace.clone(),
                labels: proxy.declared_labels(),
                locality: proxy.locality.clone(),
                ..Workload::default()
            })
        });
        let view = published.snapshot.view_of(&proxy, &workload);
        Self {
            proxy,
            workload,
            view,
            published,
        }
    }

    /// What may be different for the proxy from what it was served before.
    ///
    /// Clusters, listeners and routes are made from the snapshot, the proxy and its own workload.
    pub fn impact_since(&self, former: &Self) -> Impact {
        let is_same = Arc::ptr_eq(&self.published.snapshot, &former.published.snapshot)
            && self.workload == former.workload;
        if is_same {
            Impact::Endpoints
        } else {
            Impact::Everything
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
            last_endpoints: Mutex::default(),
            expected: Memo::new(),
            changed_hosts: Memo::new(),
            route_sets: Memo::new(),
            names: NameTable::default(),
        }
    }

    /// The list that everybody with these names shares, and with it what is made for them.
    pub fn intern(&self, names: &Names) -> Names {
        self.names.intern(names)
    }

    /// The names of a request, as the list that everybody with these names shares.
    pub(crate) fn requested(&self, names: &NameList) -> Names {
        self.names.of_request(names)
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
        // Held by both of these whether or not anybody uses it.
        let is_sent = |set: &Arc<ResourceSet>| Arc::strong_count(set) > 2;
        self.lock_last_endpoints()
            .retain(|_, last| last.generation + 2 > generation || is_sent(&last.set));
        self.endpoint_sets.sweep(generation, is_sent);
        self.changed_hosts.sweep(generation, |_| false);
        self.expected.sweep(generation, |_| false);
        self.route_sets.sweep(generation, is_live);
        self.clusters.sweep(generation);
        self.endpoints.sweep(generation);
        self.listeners.sweep(generation);
        self.routes.sweep(generation);
        self.virtual_hosts.sweep(generation);
        self.names.sweep();
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

    fn vantage(&self, context: &ProxyContext) -> Vantage {
        Vantage::new(&context.view, &context.proxy, &context.workload, &self.features)
    }

    fn cluster_sets(&self, context: &ProxyContext) -> Vec<Arc<ResourceSet>> {
        let generation = context.generation();
        let vantage = self.vantage(context);
        let scope = cluster::OutboundScope::new(&context.view, &vantage);
        let outbound = self.outbound_clusters.get_or_compute(&scope, generation, || {
            self.clusters(cluster::outbound(&context.view, &vantage), generation)
        });
        match context.proxy.proxy_type {
            ProxyType::Router => {
                let own = cluster::gateway(&context.view, &context.proxy, &context.workload);
                vec![outbound, self.clusters(own, generation)]
            }
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
                let plan =
                    listener::gateway(&context.view, &context.proxy, &context.workload, &self.features);
                vec![self.listeners(plan, generation)]
            }
            ProxyType::Sidecar => {
                let scope = listener::OutboundScope::new(
                    &context.view,
                    &context.proxy,
                    &context.workload,
                    &self.features,
                );
                let outbound = self.outbound_listeners.get_or_compute(&scope, generation, || {
                    self.listeners(listener::outbound(&context.view, &scope), generation)
                });
                let inbound =
                    listener::inbound(&context.view, &context.proxy, &context.workload, &self.features);
                vec![outbound, self.listeners(inbound, generation)]
            }
        }
    }

    fn endpoint_set(&self, context: &ProxyContext, names: &Names) -> Arc<ResourceSet> {
        let key = self.endpoint_scope(context, names);
        self.endpoint_sets.get_or_compute(&key, context.generation(), || {
            self.new_endpoint_set(context, &key)
        })
    }

    fn endpoint_scope(
        &self,
        context: &ProxyContext,
        names: &Names,
    ) -> (EndpointScope, Identity<EndpointIndex>) {
        let scope = EndpointScope {
            names: names.clone(),
            clusters: cluster::OutboundScope::new(&context.view, &self.vantage(context)),
        };
        (scope, Identity(Arc::clone(&context.published.endpoints)))
    }

    /// Makes a set from the one before it as far as the endpoints are the same: the cost of a change follows the change.
    fn new_endpoint_set(
        &self,
        context: &ProxyContext,
        (scope, endpoints): &(EndpointScope, Identity<EndpointIndex>),
    ) -> Arc<ResourceSet> {
        let generation = context.generation();
        let last = self.lock_last_endpoints().get(scope).cloned();
        let incremental = last
            .filter(|last| last.set.failed().is_empty())
            .and_then(|last| self.changed_endpoints(context, scope, &last));
        let set = incremental.unwrap_or_else(|| {
            let plan = Plan {
                keys: scope
                    .names
                    .iter()
                    .map(|name| endpoint_key(context, scope, name))
                    .collect(),
                warnings: Vec::new(),
            };
            self.set::<endpoint::Endpoints>(&self.endpoints, plan, generation)
        });
        let newest = LastEndpoints {
            endpoints: endpoints.clone(),
            set: Arc::clone(&set),
            generation,
        };
        let mut all = self.lock_last_endpoints();
        // A stream that lags behind must not take the others back.
        if all.get(scope).is_none_or(|last| last.generation <= generation) {
            all.insert(scope.clone(), newest);
        }
        set
    }

    /// A set with the changed load assignments; `None` when one of them cannot be built.
    fn changed_endpoints(
        &self,
        context: &ProxyContext,
        scope: &EndpointScope,
        last: &LastEndpoints,
    ) -> Option<Arc<ResourceSet>> {
        let generation = context.generation();
        let now = Identity(Arc::clone(&context.published.endpoints));
        let hosts = self
            .changed_hosts
            .get_or_compute(&[last.endpoints.clone(), now], generation, || {
                context
                    .published
                    .endpoints
                    .changed_since(&last.endpoints.0)
                    .into()
            });
        let names = hosts.iter().flat_map(|host| scope.names.of_host(host.as_str()));
        let changed = names.map(|name| {
            self.resource::<endpoint::Endpoints>(
                &self.endpoints,
                &endpoint_key(context, scope, name),
                generation,
            )
        });
        Some(ResourceSet::replacing(&last.set, changed.collect::<Option<_>>()?))
    }

    /// What the load assignments of these names should be, made anew.
    pub(crate) fn expected_endpoints(&self, context: &ProxyContext, names: &Names) -> Arc<Expected> {
        let key = self.endpoint_scope(context, names);
        self.expected.get_or_compute(&key, context.generation(), || {
            let expect = |name: &Str| {
                let key = endpoint_key(context, &key.0, name);
                let body = endpoint::Endpoints::build(&key).message.encode_to_vec();
                let resource = Encoded::new(name.clone(), body.into(), false, Vec::new());
                (name.clone(), resource.version().clone())
            };
            Arc::new(names.iter().map(expect).collect())
        })
    }

    fn lock_last_endpoints(&self) -> MutexGuard<'_, HashMap<EndpointScope, LastEndpoints>> {
        self.last_endpoints.lock().unwrap_or_else(PoisonError::into_inner)
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
            let origins = key.origins.iter().cloned().map(Origin::Object).collect();
            let encoded = Encoded::new(key.name.clone(), body, false, Vec::new());
            Some(encoded.with_origins(origins).with_parts(parts))
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
            let encoded = Encoded::new(
                G::name(key).into(),
                built.message.encode_to_vec().into(),
                awaits_endpoints,
                built.warnings,
            );
            let encoded = encoded.with_endpoints(G::endpoints(&built.message));
            Some(encoded.with_origins(G::origins(key)))
        };
        cache.get(key, generation, build, || self.on_panic(G::TYPE, G::name(key)))
    }

    fn on_panic(&self, xds_type: XdsType, name: &str) {
        tracing::error!(%xds_type, resource = name, "generator panicked, proxies keep what they have");
        self.metrics.internal_errors.inc();
    }
}

fn endpoint_key(context: &ProxyContext, scope: &EndpointScope, name: &Str) -> endpoint::EndpointKey {
    endpoint::key(
        &context.view,
        &context.published.endpoints,
        name,
        scope.clusters.vantage(),
    )
}

/// What the generator must know about a kind of resource besides how it is built.
trait Kind: Generate {
    const TYPE: XdsType;

    /// Whether Envoy holds traffic back from the resource until its endpoints arrive.
    fn awaits_endpoints(_message: &Self::Message) -> bool {
        false
    }

    /// How many endpoints a load assignment has.
    fn endpoints(_message: &Self::Message) -> usize {
        0
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

    fn endpoints(message: &Self::Message) -> usize {
        let localities = message.endpoints.iter();
        localities.map(|locality| locality.lb_endpoints.len()).sum()
    }
}

impl Kind for listener::Listeners {
    const TYPE: XdsType = XdsType::Listener;
}

impl Kind for route::VirtualHosts {
    const TYPE: XdsType = XdsType::Route;
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
