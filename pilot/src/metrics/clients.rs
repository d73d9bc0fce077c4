//! What is counted over the connected proxies, whenever somebody reads the metrics.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::Str;
use pilot_model::EndpointAddress;
use pilot_networking::XdsType;
use pilot_xds::{ClientStatus, ProxyContext};
use prometheus::core::Collector;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::count;
use crate::state::State;

/// Gauges by 1.1's names, and that of the auditor.
#[derive(Debug)]
pub(super) struct ClientMetrics {
    no_ip: IntGauge,
    not_ready: IntGauge,
    no_pod: IntGauge,
    no_instances: IntGauge,
    invalid_listeners: IntGauge,
    divergence: IntGauge,
    instances: IntGaugeVec,
}

// === impl ClientMetrics ===

impl ClientMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauge = IntGauge::new::<&str, &str>;
        Ok(Self {
            no_ip: gauge(
                "pilot_no_ip",
                "Pods not found in the endpoint table, possibly invalid.",
            )?,
            not_ready: gauge("pilot_endpoint_not_ready", "Endpoint found in unready state.")?,
            no_pod: gauge("endpoint_no_pod", "Endpoints without an associated pod.")?,
            no_instances: gauge("pilot_eds_no_instances", "Number of clusters without instances.")?,
            invalid_listeners: gauge(
                "pilot_invalid_out_listeners",
                "Number of objects whose listeners some proxy rejects.",
            )?,
            divergence: gauge(
                "pilot_endpoint_divergence",
                "Clusters whose endpoints at a proxy are not those that the registries know.",
            )?,
            instances: IntGaugeVec::new(
                Opts::new(
                    "pilot_xds_eds_instances",
                    "Instances for each cluster, as of last push. Zero instances is an error.",
                ),
                &["cluster"],
            )?,
        })
    }

    pub(super) fn collectors(&self) -> impl Iterator<Item = &dyn Collector> {
        let all: [&dyn Collector; 7] = [
            &self.no_ip,
            &self.not_ready,
            &self.no_pod,
            &self.no_instances,
            &self.invalid_listeners,
            &self.divergence,
            &self.instances,
        ];
        all.into_iter()
    }

    pub(super) fn refresh(&self, state: &State) {
        let clients = state.discovery.clients();
        let contexts: Vec<ProxyContext> = clients
            .iter()
            .filter_map(|client| state.discovery.context(client))
            .collect();
        let has_no_service = |context: &&ProxyContext| context.workload.instances.is_empty();
        self.no_ip
            .set(count(contexts.iter().filter(has_no_service).count()));
        let is_not_ready = |context: &&ProxyContext| is_not_ready(context);
        self.not_ready
            .set(count(contexts.iter().filter(is_not_ready).count()));
        self.no_pod.set(count(endpoints_without_pod(state)));

        let sizes = assignment_sizes(&clients);
        self.no_instances
            .set(count(sizes.values().filter(|size| **size == 0).count()));
        self.instances.reset();
        for (cluster, size) in &sizes {
            self.instances.with_label_values(&[&**cluster]).set(count(*size));
        }

        let isolated = clients.iter().flat_map(|client| &client.isolated);
        let of_listeners = isolated.filter(|(_, finding)| finding.xds_type == XdsType::Listener);
        let of_listeners: BTreeSet<_> = of_listeners.map(|(object, _)| object).collect();
        self.invalid_listeners.set(count(of_listeners.len()));

        let divergences = state.discovery.audit();
        let clusters = divergences.iter().map(|divergence| divergence.clusters.len());
        self.divergence.set(count(clusters.sum()));
    }
}

/// Whether a service lists the proxy's workload, but not among its endpoints.
fn is_not_ready(context: &ProxyContext) -> bool {
    let endpoints = &context.published.endpoints;
    let is_endpoint = |host: &str| {
        let endpoints = endpoints
            .get(host)
            .into_iter()
            .flat_map(|endpoints| endpoints.iter());
        endpoints
            .filter_map(|endpoint| endpoint.address.ip())
            .any(|ip| context.proxy.ips.contains(&ip))
    };
    let mut instances = context.workload.instances.iter();
    instances.any(|instance| !is_endpoint(instance.host.as_str()))
}

/// Addresses that Kubernetes lists for a service and that belong to no pod.
fn endpoints_without_pod(state: &State) -> usize {
    let Some(publication) = state.publication() else {
        return 0;
    };
    let mut addresses: BTreeSet<&EndpointAddress> = BTreeSet::new();
    for (_, endpoints) in publication.published.endpoints.iter() {
        let listed = endpoints.shards().get(pilot_registry::kube::REGISTRY);
        let listed = listed.into_iter().flat_map(|shard| shard.iter());
        addresses.extend(
            listed
                .filter(|endpoint| endpoint.uid.is_empty())
                .map(|endpoint| &endpoint.address),
        );
    }
    addresses.len()
}

/// How many endpoints proxies were sent of each cluster; the most, where they see different ones.
fn assignment_sizes(clients: &[ClientStatus]) -> BTreeMap<Str, usize> {
    let mut seen = BTreeSet::new();
    let mut sizes: BTreeMap<Str, usize> = BTreeMap::new();
    let statuses = clients
        .iter()
        .filter_map(|client| client.types.get(&XdsType::Endpoint));
    for set in statuses.flat_map(|status| &status.sent) {
        // Most proxies hold the same sets.
        if !seen.insert(std::sync::Arc::as_ptr(set)) {
            continue;
        }
        for assignment in set.items() {
            let size = sizes.entry(assignment.name.clone()).or_default();
            *size = (*size).max(assignment.endpoints);
        }
    }
    sizes
}
