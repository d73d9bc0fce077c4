//! Traffic policies as Envoy's cluster fields (§6.3 to §6.6).

use mesh_api::Any;
use mesh_api::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use mesh_api::envoy::config::cluster::v3::cluster::common_lb_config::{
    LocalityConfigSpecifier, LocalityWeightedLbConfig,
};
use mesh_api::envoy::config::cluster::v3::cluster::{CommonLbConfig, LbConfig, LbPolicy, RingHashLbConfig};
use mesh_api::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster, OutlierDetection as EnvoyOutlierDetection, UpstreamConnectionOptions,
};
use mesh_api::envoy::config::core::v3::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonHttpOptions,
    TcpKeepalive as EnvoyKeepalive,
};
use mesh_api::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use mesh_api::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
};
use mesh_api::envoy::r#type::v3::Percent;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3::connection_pool_settings::tcp_settings::TcpKeepalive;
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{LbPolicy as Policy, SimpleLb};
use mesh_api::istio::networking::v1alpha3::{ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection};
use mesh_config::Protocol;

use crate::envoy::{limit, positive, seconds};

/// The extension under which Envoy keeps the HTTP options of a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// What 1.1 allows a server to open: as good as no limit.
const MAX_CONCURRENT_STREAMS: u32 = 1 << 30;
/// Retries in flight to all endpoints together unless a rule says otherwise (`A-1`): Envoy's own 3 give up too early
/// while pods are replaced.
const MAX_RETRIES: u32 = 1024;
/// Virtual nodes on the ring unless a rule says otherwise.
const MINIMUM_RING_SIZE: u64 = 1024;
/// The most virtual nodes that Envoy accepts.
const MAXIMUM_RING_SIZE: u64 = 8 * 1024 * 1024;
/// Consecutive errors until ejection unless a rule says otherwise (`R-DR-23`).
const CONSECUTIVE_ERRORS: u32 = 5;
/// Envoy grows the ejection time up to this; its own default of 5 minutes would cut the growth short (`R-DR-25`).
const MAX_EJECTION_SECONDS: i64 = 24 * 3600;

/// Whether requests go where the caller wanted to go.
pub(super) fn is_passthrough(settings: Option<&LoadBalancerSettings>) -> bool {
    let simple = settings.and_then(|settings| settings.lb_policy.as_ref());
    matches!(simple, Some(Policy::Simple(simple)) if *simple == i32::from(SimpleLb::Passthrough))
}

/// How an endpoint is chosen (§6.3). A cluster that chooses by itself keeps doing so (`R-DR-14`).
pub(super) fn apply_load_balancer(cluster: &mut Cluster, settings: Option<&LoadBalancerSettings>) {
    if cluster.lb_policy == i32::from(LbPolicy::ClusterProvided) {
        return;
    }
    match settings.and_then(|settings| settings.lb_policy.as_ref()) {
        None => {}
        Some(Policy::Simple(simple)) => {
            let policy = match SimpleLb::try_from(*simple) {
                Ok(SimpleLb::LeastConn) => LbPolicy::LeastRequest,
                Ok(SimpleLb::Random) => LbPolicy::Random,
                Ok(SimpleLb::RoundRobin | SimpleLb::Passthrough) | Err(_) => LbPolicy::RoundRobin,
            };
            cluster.lb_policy = policy.into();
        }
        Some(Policy::ConsistentHash(hash)) => {
            let size = if hash.minimum_ring_size == 0 {
                MINIMUM_RING_SIZE
            } else {
                hash.minimum_ring_size
            };
            cluster.lb_policy = LbPolicy::RingHash.into();
            cluster.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: Some(size.min(MAXIMUM_RING_SIZE)),
                ..RingHashLbConfig::default()
            }));
        }
    }
}

/// Limits, keepalive and HTTP options (§6.4).
pub(super) fn apply_connection_pool(
    cluster: &mut Cluster,
    mesh: &MeshConfig,
    settings: Option<&ConnectionPoolSettings>,
    protocol: Protocol,
) {
    let tcp = settings.and_then(|settings| settings.tcp.as_ref());
    let http = settings.and_then(|settings| settings.http.as_ref());

    if let Some(timeout) = positive(tcp.and_then(|tcp| tcp.connect_timeout.as_ref())) {
        cluster.connect_timeout = Some(timeout);
    }
    let keepalive = tcp
        .and_then(|tcp| tcp.tcp_keepalive.as_ref())
        .or(mesh.tcp_keepalive.as_ref());
    cluster.upstream_connection_options = keepalive.map(|keepalive| UpstreamConnectionOptions {
        tcp_keepalive: Some(envoy_keepalive(keepalive)),
        ..UpstreamConnectionOptions::default()
    });

    let thresholds = Thresholds {
        max_connections: tcp.and_then(|tcp| limit(tcp.max_connections)),
        max_pending_requests: http.and_then(|http| limit(http.http1_max_pending_requests)),
        max_requests: http.and_then(|http| limit(http.http2_max_requests)),
        max_retries: http.and_then(|http| limit(http.max_retries)),
        ..Thresholds::default()
    };
    if thresholds != Thresholds::default() {
        cluster.circuit_breakers = Some(CircuitBreakers {
            thresholds: vec![thresholds],
            ..CircuitBreakers::default()
        });
    }

    let common = CommonHttpOptions {
        idle_timeout: positive(http.and_then(|http| http.idle_timeout.as_ref())),
        max_requests_per_connection: http.and_then(|http| limit(http.max_requests_per_connection)),
        ..CommonHttpOptions::default()
    };
    apply_http_options(cluster, common, protocol);
}

/// HTTP options of an upstream that speaks HTTP; plain HTTP/1.1 without any needs none.
fn apply_http_options(cluster: &mut Cluster, common: CommonHttpOptions, protocol: Protocol) {
    let common = (common != CommonHttpOptions::default()).then_some(common);
    if !protocol.is_http() || (common.is_none() && !protocol.is_http2()) {
        return;
    }
    let version = if protocol.is_http2() {
        ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions {
            max_concurrent_streams: Some(MAX_CONCURRENT_STREAMS),
            ..Http2ProtocolOptions::default()
        })
    } else {
        ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(version),
        })),
        ..HttpProtocolOptions::default()
    };
    cluster
        .typed_extension_protocol_options
        .insert(HTTP_OPTIONS.to_owned(), Any::pack(&options));
}

/// Gives an outbound cluster its limit of concurrent retries where no rule has set one (P11.1).
pub(super) fn apply_default_retries(cluster: &mut Cluster) {
    let breakers = cluster.circuit_breakers.get_or_insert_default();
    if breakers.thresholds.is_empty() {
        breakers.thresholds.push(Thresholds::default());
    }
    for thresholds in &mut breakers.thresholds {
        thresholds.max_retries.get_or_insert(MAX_RETRIES);
    }
}

/// When endpoints that fail are left out (§6.5).
pub(super) fn apply_outlier_detection(cluster: &mut Cluster, settings: Option<&OutlierDetection>) {
    let Some(settings) = settings else { return };
    let base = positive(settings.base_ejection_time.as_ref());
    cluster.outlier_detection = Some(EnvoyOutlierDetection {
        // 502, 503, 504 and failed connects count, other 5xx do not (`A-2`).
        consecutive_gateway_failure: Some(limit(settings.consecutive_errors).unwrap_or(CONSECUTIVE_ERRORS)),
        enforcing_consecutive_gateway_failure: Some(100),
        enforcing_consecutive_5xx: Some(0),
        interval: positive(settings.interval.as_ref()),
        base_ejection_time: base,
        max_ejection_percent: percent(settings.max_ejection_percent),
        max_ejection_time: Some(seconds(
            base.map_or(0, |base| base.seconds + 1).max(MAX_EJECTION_SECONDS),
        )),
        // Envoy takes the percentage literally and would never eject one of nine at 10 % (`R-DR-26`).
        always_eject_one_host: Some(true),
        ..EnvoyOutlierDetection::default()
    });
    if let Some(healthy) = percent(settings.min_health_percent) {
        // Merged, not replaced: locality settings live in the same message (`A-17`).
        let common: &mut CommonLbConfig = cluster.common_lb_config.get_or_insert_default();
        common.healthy_panic_threshold = Some(Percent {
            value: healthy.into(),
        });
    }
}

/// Makes the weights of localities count: where endpoints that fail are left out (`R-DR-27`), and where localities have
/// fixed shares.
pub(super) fn apply_locality_weights(cluster: &mut Cluster, distributes: bool) {
    let chooses = cluster.lb_policy != i32::from(LbPolicy::ClusterProvided);
    if chooses && (distributes || cluster.outlier_detection.is_some()) {
        // Merged, not replaced: the panic threshold lives in the same message (`A-17`).
        let common: &mut CommonLbConfig = cluster.common_lb_config.get_or_insert_default();
        common.locality_config_specifier = Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(
            LocalityWeightedLbConfig::default(),
        ));
    }
}

fn envoy_keepalive(keepalive: &TcpKeepalive) -> EnvoyKeepalive {
    let whole_seconds = |duration: Option<&prost_types::Duration>| {
        let duration = positive(duration)?;
        // Less than a second is rounded up: zero would mean the system's default.
        Some(u32::try_from(duration.seconds).unwrap_or(u32::MAX).max(1))
    };
    EnvoyKeepalive {
        keepalive_probes: (keepalive.probes > 0).then_some(keepalive.probes),
        keepalive_time: whole_seconds(keepalive.time.as_ref()),
        keepalive_interval: whole_seconds(keepalive.interval.as_ref()),
    }
}

fn percent(value: i32) -> Option<u32> {
    limit(value).map(|value| value.min(100))
}
