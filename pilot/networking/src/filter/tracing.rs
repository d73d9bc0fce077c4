//! Spans of requests (P12.5, `TEL-12`, `TEL-13`).

use mesh_api::Any;
use mesh_api::envoy::config::trace::v3::ZipkinConfig;
use mesh_api::envoy::config::trace::v3::tracing::Http as Provider;
use mesh_api::envoy::config::trace::v3::tracing::http::ConfigType;
use mesh_api::envoy::config::trace::v3::zipkin_config::CollectorEndpointVersion;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use mesh_api::envoy::r#type::v3::Percent;

use crate::TraceSampling;

/// The cluster of the collector, which the agent puts into the bootstrap.
const COLLECTOR: &str = "zipkin";
/// Where a collector takes spans of version 2, as JSON.
const SPANS: &str = "/api/v2/spans";

/// Reports requests to the Zipkin collector of the proxy.
///
/// Whether a request that comes without a decision is reported is drawn by `sampling`; a client that forces its trace with
/// `x-client-trace-id` is always followed.
pub(super) fn to_zipkin(sampling: TraceSampling) -> Tracing {
    let zipkin = ZipkinConfig {
        collector_cluster: COLLECTOR.to_owned(),
        collector_endpoint: SPANS.to_owned(),
        collector_endpoint_version: CollectorEndpointVersion::HttpJson.into(),
        trace_id_128bit: true,
        // The two proxies of a call have a span each, of which the second is the child of the first.
        shared_span_context: Some(false),
        ..ZipkinConfig::default()
    };
    Tracing {
        client_sampling: Some(Percent { value: 100.0 }),
        random_sampling: Some(Percent {
            value: sampling.percent(),
        }),
        overall_sampling: Some(Percent { value: 100.0 }),
        provider: Some(Provider {
            name: "envoy.tracers.zipkin".to_owned(),
            config_type: Some(ConfigType::TypedConfig(Any::pack(&zipkin))),
        }),
        ..Tracing::default()
    }
}
