//! Metrics of the configuration itself, by their names of 1.1 (P17). Those of the push engine are its own.

use std::collections::BTreeMap;

use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use pilot_model::WarningKind;
use pilot_registry::Publication;
use pilot_xds::Discovery;
use prometheus::{IntGauge, IntGaugeVec};

/// What is counted at each publication.
#[derive(Debug)]
pub(crate) struct PilotMetrics {
    services: IntGauge,
    virtual_services: IntGauge,
    rejected: IntGaugeVec,
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
        WarningKind::Unsupported,
        "pilot_unsupported_fields",
        "Objects with a valid part that this version leaves out.",
    ),
];

// === impl PilotMetrics ===

impl PilotMetrics {
    pub(crate) fn register(metrics: &Metrics, version: &str) -> Result<Self, MetricsError> {
        metrics
            .int_gauge_vec("pilot_info", "Pilot version and build information.", &["version"])?
            .with_label_values(&[version])
            .set(1);
        Ok(Self {
            services: metrics.int_gauge("pilot_services", "Total services known to pilot.")?,
            virtual_services: metrics
                .int_gauge("pilot_virt_services", "Total virtual services known to pilot.")?,
            rejected: metrics.int_gauge_vec(
                "pilot_total_rejected_configs",
                "Objects that Pilot had to leave out because they could not be read.",
                &["type"],
            )?,
            warnings: WARNINGS
                .iter()
                .map(|(kind, name, help)| Ok((*kind, metrics.int_gauge(name, help)?)))
                .collect::<Result<_, MetricsError>>()?,
        })
    }

    /// Counts what a publication holds. The findings are those of everything that proxies use.
    pub(crate) fn observe(&self, publication: &Publication, discovery: &Discovery) {
        let snapshot = &publication.published.snapshot;
        self.services.set(count(snapshot.services.len()));
        self.virtual_services
            .set(count(snapshot.virtual_services.iter().count()));
        self.rejected.reset();
        for key in publication.rejected.keys() {
            self.rejected.with_label_values(&[key.kind.schema().kind]).inc();
        }
        self.observe_warnings(discovery);
    }

    /// Counts the findings alone: proxies that connect later bring new ones.
    pub(crate) fn observe_warnings(&self, discovery: &Discovery) {
        self.warnings.values().for_each(|gauge| gauge.set(0));
        for warning in discovery.warnings() {
            if let Some(gauge) = self.warnings.get(&warning.kind) {
                gauge.inc();
            }
        }
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
