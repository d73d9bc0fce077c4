//! Network filters: what happens on a connection.

mod access_log;
mod http;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use mesh_api::Any;
use mesh_api::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use mesh_api::envoy::config::listener::v3::{Filter, filter};
use mesh_api::envoy::extensions::filters::common::set_filter_state::v3::{
    FilterStateValue, filter_state_value,
};
use mesh_api::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;
use mesh_api::envoy::extensions::filters::network::sni_cluster::v3::SniCluster;
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::WeightedCluster;
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;

pub(crate) use self::http::{Http, Role, Routes, http};
use crate::l4::Route;
use crate::name;

/// The filters that forward a connection to a cluster.
pub(crate) fn tcp(mesh: &MeshConfig, cluster: &str) -> Vec<Filter> {
    vec![tcp_proxy(mesh, cluster, cluster)]
}

/// The filters that forward a connection as a rule says.
pub(crate) fn route(mesh: &MeshConfig, route: &Route) -> Vec<Filter> {
    if let [only] = &*route.clusters {
        return tcp(mesh, &only.name);
    }
    let clusters = route.clusters.iter().map(|cluster| ClusterWeight {
        name: cluster.name.to_string(),
        weight: cluster.weight,
        ..ClusterWeight::default()
    });
    let proxy = TcpProxy {
        stat_prefix: route
            .rule
            .as_ref()
            .map_or_else(String::new, |rule| rule.resource_name()),
        access_log: access_log::access_log(mesh),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: clusters.collect(),
        })),
        ..TcpProxy::default()
    };
    vec![network("envoy.filters.network.tcp_proxy", &proxy)]
}

/// The filters that forward a connection to the cluster that its server name says (`AUTO_PASSTHROUGH`, P14).
///
/// The cluster of the proxy stands there until the server name is known.
pub(crate) fn by_server_name(mesh: &MeshConfig) -> Vec<Filter> {
    vec![
        network("envoy.filters.network.sni_cluster", &SniCluster {}),
        tcp_proxy(mesh, name::BLACK_HOLE_CLUSTER, name::BLACK_HOLE_CLUSTER),
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
        tcp_proxy(mesh, stat_prefix, name::INBOUND_PASSTHROUGH_CLUSTER),
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

fn tcp_proxy(mesh: &MeshConfig, stat_prefix: &str, cluster: &str) -> Filter {
    let proxy = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        access_log: access_log::access_log(mesh),
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
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
