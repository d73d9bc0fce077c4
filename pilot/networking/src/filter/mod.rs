//! Network filters: what happens on a connection.

mod access_log;
mod http;
mod log_format;
mod reports;
mod settings;
#[cfg(test)]
mod tests;
mod tracing;

use std::net::IpAddr;

use mesh_api::Any;
use mesh_api::envoy::config::accesslog::v3::AccessLog;
use mesh_api::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use mesh_api::envoy::config::listener::v3::{Filter, filter};
use mesh_api::envoy::extensions::filters::common::set_filter_state::v3::{
    FilterStateValue, filter_state_value,
};
use mesh_api::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;
use mesh_api::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
use mesh_api::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier::{
    Cluster, WeightedClusters,
};
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use mesh_config::Protocol;

pub use self::access_log::replaces_access_log_format;
pub(crate) use self::http::{Http, Role, Routes, http};
pub(crate) use self::settings::HttpSettings;
use crate::l4::{Route, WeightedCluster};
use crate::name;

/// The filters that forward a connection to a cluster.
pub(crate) fn tcp(mesh: &MeshConfig, cluster: &str) -> Vec<Filter> {
    let access_log = access_log::access_log(mesh);
    vec![tcp_proxy(access_log, cluster, Cluster(cluster.to_owned()))]
}

/// The filters for connections to destinations that no service has: they pass or are dropped, as the mesh says.
///
/// Nobody can be answered on a connection of bytes, so the log says what is missing (pain 33).
pub(crate) fn unknown_destination(mesh: &MeshConfig) -> Vec<Filter> {
    let policy = mesh.outbound_traffic_policy.as_ref();
    if policy.is_none_or(|policy| policy.mode != i32::from(Mode::RegistryOnly)) {
        return tcp(mesh, name::PASSTHROUGH_CLUSTER);
    }
    vec![tcp_proxy(
        access_log::of_blocked(mesh),
        name::BLACK_HOLE_CLUSTER,
        Cluster(name::BLACK_HOLE_CLUSTER.to_owned()),
    )]
}

/// The filters that forward a connection as a rule says. Mixer is told of it.
pub(crate) fn route(mesh: &MeshConfig, route: &Route, protocol: Protocol, role: Role) -> Vec<Filter> {
    let (stat_prefix, clusters) = match (&route.clusters[..], &route.rule) {
        ([only], _) => (only.name.to_string(), Cluster(only.name.to_string())),
        (clusters, rule) => {
            let rule = rule.as_ref();
            let stat_prefix = rule.map(|rule| format!("{}.{}", rule.name, rule.namespace));
            (stat_prefix.unwrap_or_default(), weighted(clusters))
        }
    };
    let mut filters = Vec::with_capacity(2);
    // Envoy has no codec for MySQL in its own builds, and none for Redis that leaves connections as they are (P12.3).
    if protocol == Protocol::Mongo {
        let codec = MongoProxy {
            stat_prefix: stat_prefix.clone(),
            ..MongoProxy::default()
        };
        filters.push(network("envoy.filters.network.mongo_proxy", &codec));
    }
    let mut access_log = access_log::access_log(mesh);
    access_log.extend(reports::of_connections(mesh, role));
    filters.push(tcp_proxy(access_log, &stat_prefix, clusters));
    filters
}

fn weighted(clusters: &[WeightedCluster]) -> tcp_proxy::ClusterSpecifier {
    let clusters = clusters
        .iter()
        .map(|cluster| tcp_proxy::weighted_cluster::ClusterWeight {
            name: cluster.name.to_string(),
            weight: cluster.weight,
            ..Default::default()
        });
    WeightedClusters(tcp_proxy::WeightedCluster {
        clusters: clusters.collect(),
    })
}

/// The filters that forward a connection to the cluster that its server name says (`AUTO_PASSTHROUGH`, P14).
///
/// The cluster of the proxy stands there until the server name is known.
pub(crate) fn by_server_name(mesh: &MeshConfig) -> Vec<Filter> {
    vec![
        network("envoy.filters.network.sni_cluster", &SniCluster {}),
        tcp_proxy(
            access_log::access_log(mesh),
            name::BLACK_HOLE_CLUSTER,
            Cluster(name::BLACK_HOLE_CLUSTER.to_owned()),
        ),
    ]
}

/// The filters that forward a captured connection to the same port of the loopback address.
///
/// The address that was asked for would not do: `istio-iptables` sends what the proxy opens to its own pod back into the
/// proxy, for ever (IPT-30); only the loopback address is exempt.
pub(crate) fn local_passthrough(mesh: &MeshConfig, stat_prefix: &str, loopback: IpAddr) -> Vec<Filter> {
    let address = match loopback {
        IpAddr::V4(ip) => format!("{ip}:%DOWNSTREAM_LOCAL_PORT%"),
        IpAddr::V6(ip) => format!("[{ip}]:%DOWNSTREAM_LOCAL_PORT%"),
    };
    let destination = FilterStateValue {
        key: Some(filter_state_value::Key::ObjectKey(
            "envoy.network.transport_socket.original_dst_address".to_owned(),
        )),
        value: Some(filter_state_value::Value::FormatString(text_format(address))),
        ..FilterStateValue::default()
    };
    let rewrite = SetFilterState {
        on_new_connection: vec![destination],
        ..SetFilterState::default()
    };
    vec![
        network("envoy.filters.network.set_filter_state", &rewrite),
        tcp_proxy(
            access_log::access_log(mesh),
            stat_prefix,
            Cluster(name::INBOUND_PASSTHROUGH_CLUSTER.to_owned()),
        ),
    ]
}

/// A format string as Envoy's formatters take it.
fn text_format(format: String) -> SubstitutionFormatString {
    let source = DataSource {
        specifier: Some(data_source::Specifier::InlineString(format)),
        ..DataSource::default()
    };
    SubstitutionFormatString {
        format: Some(substitution_format_string::Format::TextFormatSource(source)),
        ..SubstitutionFormatString::default()
    }
}

fn tcp_proxy(access_log: Vec<AccessLog>, stat_prefix: &str, clusters: tcp_proxy::ClusterSpecifier) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        access_log,
        cluster_specifier: Some(clusters),
        ..TcpProxy::default()
    };
    network("envoy.filters.network.tcp_proxy", &proxy)
}

fn network<M: prost::Name>(name: &str, config: &M) -> Filter {
    Filter {
        name: name.to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(Any::pack(config))),
    }
}
