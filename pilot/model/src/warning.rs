//! What Pilot tells operators about configuration that it could not follow to the letter.

use mesh_config::ConfigKey;
use serde::Serialize;

/// One finding about one object. The mesh keeps working with the fallback that the reason names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The guilty object.
    pub object: ConfigKey,
    /// Which rule it broke; also the metric label.
    pub kind: WarningKind,
    /// What is wrong and what was done instead.
    pub reason: String,
}

/// The rules that configuration can break without being invalid. Each names a push metric (P17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// A route names a host that no registry knows.
    UnknownHost,
    /// A route names a subset that no DestinationRule declares.
    UnknownSubset,
    /// A route names a port that the service does not have.
    UnknownPort,
    /// A VirtualService is bound to a Gateway that does not exist.
    UnknownGateway,
    /// Two virtual hosts claim the same domain (`pilot_vservice_dup_domain`).
    DuplicateDomain,
    /// Two DestinationRules declare the same subset (`pilot_destrule_subsets`).
    DuplicateSubset,
    /// Two services make the same cluster (`pilot_duplicate_envoy_clusters`).
    DuplicateCluster,
    /// A TCP service claims a listener that HTTP has (`pilot_conflict_outbound_listener_tcp_over_current_http`).
    TcpOverHttp,
    /// An HTTP service claims a listener that TCP has (`pilot_conflict_outbound_listener_http_over_current_tcp`).
    HttpOverTcp,
    /// A TCP service claims a listener that TCP has (`pilot_conflict_outbound_listener_tcp_over_current_tcp`).
    TcpOverTcp,
    /// Two instances of a workload claim the same inbound listener (`pilot_conflict_inbound_listener`).
    InboundListener,
    /// Two Sidecars are about a whole namespace.
    DuplicateSidecar,
    /// A server of a Gateway cannot be merged with those on the same port (`pilot_total_rejected_configs`).
    GatewayServer,
    /// Some proxy rejects what is made from the object, which is left out for it (`pilot_isolated_configs`).
    RejectedByProxy,
    /// The object was changed, and stays in force as it was until nothing breaks (`pilot_held_objects`).
    Held,
    /// The object is valid, but a part of it is not supported and was left out.
    Unsupported,
}
