//! Metrics of the configuration itself, by their names of 1.1 (P17). Those of the push engine are its own.

mod clients;

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{ConfigKey, Kind};
use mesh_runtime::Metrics;
use pilot_model::{Warning, WarningKind};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use self::clients::ClientMetrics;
use crate::state::State;

/// What is counted whenever somebody reads the metrics, so that it is never out of date.
#[derive(Debug)]
struct ConfigurationMetrics {
    state: State,
    services: IntGauge,
    virtual_services: IntGauge,
    rejected: IntGaugeVec,
    object_errors: IntGaugeVec,
    held: IntGaugeVec,
    clients: ClientMetrics,
    /// By the rule that configuration broke.
    warnings: BTreeMap<WarningKind, IntGauge>,
}

/// The metric of each rule.
const WARNINGS: &[(WarningKind, &str, &str)] = &[
    (
        WarningKind::UnknownHost,
        "pilot_unknown_destination_host",
        "Routes to hosts that no registry knows.",
    ),
    (
        WarningKind::UnknownSubset,
        "pilot_unknown_destination_subset",
        "Routes to subsets that no rule declares.",
    ),
    (
        WarningKind::UnknownPort,
        "pilot_unknown_destination_port",
        "Routes to ports that the service does not have.",
    ),
    (
        WarningKind::UnknownGateway,
        "pilot_unknown_gateway",
        "Virtual services bound to gateways that do not exist.",
    ),
    (
        WarningKind::DuplicateDomain,
        "pilot_vservice_dup_domain",
        "Virtual services with dup domains.",
    ),
    (
        WarningKind::DuplicateSubset,
        "pilot_destrule_subsets",
        "Duplicate subsets across destination rules for same host.",
    ),
    (
        WarningKind::DuplicateSidecar,
        "pilot_duplicate_sidecars",
        "Sidecars for a whole namespace that has an older one.",
    ),
    (
        WarningKind::DuplicateCluster,
        "pilot_duplicate_envoy_clusters",
        "Duplicate envoy clusters caused by service entries with same hostname.",
    ),
    (
        WarningKind::TcpOverHttp,
        "pilot_conflict_outbound_listener_tcp_over_current_http",
        "Number of conflicting wildcard tcp listeners with current wildcard http listener.",
    ),
    (
        WarningKind::HttpOverTcp,
        "pilot_conflict_outbound_listener_http_over_current_tcp",
        "Number of conflicting wildcard http listeners with current wildcard tcp listener.",
    ),
    (
        WarningKind::TcpOverTcp,
        "pilot_conflict_outbound_listener_tcp_over_current_tcp",
        "Number of conflicting tcp listeners with current tcp listener.",
    ),
    (
        WarningKind::InboundListener,
        "pilot_conflict_inbound_listener",
        "Number of conflicting inbound listeners.",
    ),
    (
        WarningKind::GatewayServer,
        "pilot_rejected_gateway_servers",
        "Gateway servers that cannot be merged with others on their port.",
    ),
    (
        WarningKind::RejectedByProxy,
        "pilot_isolated_configs",
        "Objects that are left out for proxies that reject what is made from them.",
    ),
    (
        WarningKind::Unsupported,
        "pilot_unsupported_fields",
        "Objects with a valid part that this version leaves out.",
    ),
];

/// Registers the metrics.
///
/// # Errors
///
/// When one of the names is taken.
pub(crate) fn register(metrics: &Metrics, version: &str, state: State) -> anyhow::Result<()> {
    metrics
        .int_gauge_vec("pilot_info", "Pilot version and build information.", &["version"])?
        .with_label_values(&[version])
        .set(1);
    let collector = ConfigurationMetrics::new(state)?;
    metrics.register("configuration metrics", collector)?;
    Ok(())
}

// === impl ConfigurationMetrics ===

impl ConfigurationMetrics {
    fn new(state: State) -> Result<Self, prometheus::Error> {
        Ok(Self {
            state,
            services: IntGauge::new("pilot_services", "Total services known to pilot.")?,
            virtual_services: IntGauge::new("pilot_virt_services", "Total virtual services known to pilot.")?,
            rejected: IntGaugeVec::new(
                Opts::new(
                    "pilot_total_rejected_configs",
                    "Objects, or parts of them, that Pilot had to leave out.",
                ),
                &["type", "name"],
            )?,
            object_errors: IntGaugeVec::new(
                Opts::new("pilot_k8s_object_errors", "Errors converting k8s CRDs"),
                &["name"],
            )?,
            held: IntGaugeVec::new(
                Opts::new(
                    "pilot_held_objects",
                    "Objects that stay in force as they were, as what they say now would break traffic.",
                ),
                &["kind"],
            )?,
            clients: ClientMetrics::new()?,
            warnings: WARNINGS
                .iter()
                .map(|(kind, name, help)| Ok((*kind, IntGauge::new(*name, *help)?)))
                .collect::<Result<_, prometheus::Error>>()?,
        })
    }

    fn collectors(&self) -> impl Iterator<Item = &dyn Collector> {
        let totals: [&dyn Collector; 5] = [
            &self.services,
            &self.virtual_services,
            &self.rejected,
            &self.object_errors,
            &self.held,
        ];
        let warnings = self.warnings.values().map(|gauge| gauge as &dyn Collector);
        totals
            .into_iter()
            .chain(self.clients.collectors())
            .chain(warnings)
    }

    fn count_rejected(&self, object: &ConfigKey) {
        let labels = [object.kind.schema().kind, &object.resource_name()];
        self.rejected.with_label_values(&labels).inc();
    }

    /// Of a DestinationRule several subsets may be held.
    fn count_held(&self, held: &[Warning]) {
        // Both are there before anything is held.
        for kind in [Kind::VirtualService, Kind::DestinationRule] {
            let objects = held.iter().map(|held| &held.object);
            let objects: BTreeSet<&ConfigKey> = objects.filter(|object| object.kind == kind).collect();
            let gauge = self.held.with_label_values(&[kind.schema().kind]);
            gauge.set(count(objects.len()));
        }
    }

    fn refresh(&self) {
        if let Some(publication) = self.state.publication() {
            let snapshot = &publication.published.snapshot;
            self.services.set(count(snapshot.services.len()));
            self.virtual_services
                .set(count(snapshot.virtual_services.iter().count()));
            self.rejected.reset();
            self.object_errors.reset();
            for key in publication.rejected.keys() {
                self.count_rejected(key);
                // 1.1 never took back what it once said.
                let name = key.resource_name();
                self.object_errors.with_label_values(&[&name]).inc();
            }
            self.count_held(&publication.published.held);
        }
        self.clients.refresh(&self.state);
        let mut counts: BTreeMap<WarningKind, usize> = BTreeMap::new();
        for warning in self.state.discovery.warnings() {
            if warning.kind == WarningKind::GatewayServer {
                self.count_rejected(&warning.object);
            }
            *counts.entry(warning.kind).or_default() += 1;
        }
        for (kind, gauge) in &self.warnings {
            gauge.set(count(counts.get(kind).copied().unwrap_or_default()));
        }
    }
}

impl Collector for ConfigurationMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().flat_map(|collector| collector.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.collectors()
            .flat_map(|collector| collector.collect())
            .collect()
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
