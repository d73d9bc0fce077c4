//! What one proxy gets.

use std::collections::BTreeSet;

use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_api::envoy::config::listener::v3::{Listener, filter};
use mesh_api::envoy::config::route::v3::RouteConfiguration;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_api::{Any, json};
use mesh_config::Str;
use pilot_model::{Proxy, ProxyType, Published, Warning, Workload};
use pilot_networking::simulate::ProxyConfig;
use pilot_networking::{Features, Generate, Plan, Vantage, cluster, endpoint, listener, route};
use prost::{Message, Name};
use serde_json::Value;

/// The files of `want`.
pub(crate) const KINDS: [&str; 4] = ["clusters", "endpoints", "listeners", "routes"];

/// What one proxy gets.
pub(crate) struct Generated {
    pub(crate) name: String,
    pub(crate) config: ProxyConfig,
    pub(crate) endpoints: Vec<ClusterLoadAssignment>,
    pub(crate) warnings: BTreeSet<Warning>,
}

// === impl Generated ===

impl Generated {
    /// Plans and builds everything, as the push engine does.
    pub(crate) fn new(
        name: &str,
        published: &Published,
        proxy: &Proxy,
        workload: &Workload,
        features: Features,
    ) -> Result<Self, String> {
        let view = published.snapshot.view_of(proxy, workload);
        let vantage = Vantage::new(&view, proxy, workload, &features);
        let mut warnings = BTreeSet::new();

        let mut clusters = Vec::new();
        let mut listeners = Vec::new();
        collect::<cluster::Clusters>(cluster::outbound(&view, &vantage), &mut clusters, &mut warnings);
        match proxy.proxy_type {
            ProxyType::Sidecar => {
                let inbound = cluster::inbound(&view, proxy, workload);
                collect::<cluster::Clusters>(inbound, &mut clusters, &mut warnings);
                let scope = listener::OutboundScope::new(&view, proxy, workload, &features);
                let outbound = listener::outbound(&view, &scope);
                collect::<listener::Listeners>(outbound, &mut listeners, &mut warnings);
                let inbound = listener::inbound(&view, proxy, workload, &features);
                collect::<listener::Listeners>(inbound, &mut listeners, &mut warnings);
            }
            ProxyType::Router => {
                let own = cluster::gateway(&view, proxy, workload);
                collect::<cluster::Clusters>(own, &mut clusters, &mut warnings);
                let gateway = listener::gateway(&view, proxy, workload, &features);
                collect::<listener::Listeners>(gateway, &mut listeners, &mut warnings);
            }
        }

        let mut routes = Vec::new();
        for name in listeners.iter().flat_map(route_names).collect::<BTreeSet<_>>() {
            let plan = route::plan(&view, proxy, workload, &features, &name);
            warnings.extend(plan.warnings);
            let bodies: Vec<_> = plan
                .key
                .virtual_hosts
                .iter()
                .map(|key| {
                    let built = route::VirtualHosts::build(key);
                    warnings.extend(built.warnings);
                    built.message.encode_to_vec().into()
                })
                .collect();
            let assembled = route::assemble(&plan.key, &bodies);
            routes.push(RouteConfiguration::decode(assembled).map_err(|error| error.to_string())?);
        }

        let eds = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        let mut endpoints = Vec::new();
        for cluster in clusters
            .iter()
            .filter(|cluster| cluster.cluster_discovery_type == eds)
        {
            let key = endpoint::key(
                &view,
                &published.endpoints,
                &cluster.name.as_str().into(),
                &vantage,
            );
            let built = endpoint::Endpoints::build(&key);
            warnings.extend(built.warnings);
            endpoints.push(built.message);
        }
        let config = ProxyConfig {
            listeners,
            routes,
            clusters,
        };
        Ok(Self {
            name: name.to_owned(),
            config,
            endpoints,
            warnings,
        })
    }

    /// Everything as it goes over the wire.
    pub(crate) fn resources(&self) -> Vec<Any> {
        let ProxyConfig {
            listeners,
            routes,
            clusters,
        } = &self.config;
        let mut resources: Vec<Any> = clusters.iter().map(Any::pack).collect();
        resources.extend(self.endpoints.iter().map(Any::pack));
        resources.extend(listeners.iter().map(Any::pack));
        resources.extend(routes.iter().map(Any::pack));
        resources
    }

    /// The resources of one of [`KINDS`].
    pub(crate) fn to_json(&self, kind: &str) -> Result<Vec<Value>, String> {
        fn all<M: Name>(messages: &[M]) -> Result<Vec<Value>, String> {
            messages
                .iter()
                .map(|message| json::to_value(message).map_err(|error| error.to_string()))
                .collect()
        }
        match kind {
            "clusters" => all(&self.config.clusters),
            "endpoints" => all(&self.endpoints),
            "listeners" => all(&self.config.listeners),
            _ => all(&self.config.routes),
        }
    }
}

/// The name of a resource.
pub(crate) fn name_of(resource: &Value) -> Option<&str> {
    resource
        .get("name")
        .or_else(|| resource.get("clusterName"))?
        .as_str()
}

/// Builds what a plan says.
fn collect<G: Generate>(
    plan: Plan<G::Key>,
    messages: &mut Vec<G::Message>,
    warnings: &mut BTreeSet<Warning>,
) {
    warnings.extend(plan.warnings);
    for key in &plan.keys {
        let built = G::build(key);
        warnings.extend(built.warnings);
        messages.push(built.message);
    }
}

/// The route configurations that a listener asks for.
fn route_names(listener: &Listener) -> Vec<Str> {
    let filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
    filters
        .filter_map(|filter| match filter.config_type.as_ref()? {
            filter::ConfigType::TypedConfig(config) => config.unpack::<HttpConnectionManager>().ok(),
            filter::ConfigType::ConfigDiscovery(_) => None,
        })
        .filter_map(|manager| match manager.route_specifier? {
            RouteSpecifier::Rds(rds) => Some(rds.route_config_name.into()),
            _ => None,
        })
        .collect()
}
