//! Answers what a proxy would do with a call, from the messages that it gets (feature `simulate`, test support).
//!
//! The rules are Envoy's: which listener, filter chain, virtual host and route take the call, and what the route says.
//! A test that asks so reads like the specification and survives any change of how the messages are made. What chance
//! decides is reported as a list of shares.

mod chain;
mod outcome;
mod request;

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::envoy::config::listener::v3::{FilterChain, Listener, filter};
use mesh_api::envoy::config::route::v3::RouteConfiguration;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_api::envoy::extensions::filters::network::tcp_proxy::v3::{TcpProxy, tcp_proxy};
use serde::Deserialize;

use self::chain::Connection;
pub use self::outcome::{Abort, Cors, Delay, HeaderChanges, Outcome, Retries, Share};
use self::request::Request;

/// What a proxy is configured with.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Route configurations, as far as the listeners do not hold them.
    pub routes: Vec<RouteConfiguration>,
    /// Clusters.
    pub clusters: Vec<Cluster>,
}

/// A call that arrives at a proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Where to: `http://host:port/path?query`, the same with `https`, `tls://host:port`, or `tcp://address:port`.
    pub to: String,
    /// The server name of a TLS handshake. Default: the host of `to`.
    #[serde(default)]
    pub sni: Option<String>,
    /// The address that the connection was opened to, as far as listeners look at it. Default: none of a service.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The port that the connection was opened to. Default: the port of `to`.
    #[serde(default)]
    pub port: Option<u16>,
    /// Request method. Default: GET.
    #[serde(default)]
    pub method: Option<String>,
    /// Request headers; `host` replaces what follows from `to`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Why a call or a configuration makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// The call is not of the form that is asked for.
    #[error(
        "call to {0:?} is not of the form http[s]://host:port/path, tls://host:port or tcp://address:port"
    )]
    Call(String),
    /// Envoy would not take a message.
    #[error("{object}: {reason}")]
    Config {
        /// The resource.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A listener asks for routes that there are none of: Envoy would hold requests back.
    #[error("listener {listener} waits for route configuration {routes}")]
    MissingRoutes {
        /// The listener.
        listener: String,
        /// The name of the route configuration.
        routes: String,
    },
}

/// What becomes of a call.
///
/// # Errors
///
/// See [`SimulateError`].
pub fn call(config: &ProxyConfig, call: &Call) -> Result<Outcome, SimulateError> {
    let (scheme, rest) = call
        .to
        .split_once("://")
        .ok_or_else(|| SimulateError::Call(call.to.clone()))?;
    let malformed = || SimulateError::Call(call.to.clone());
    match scheme {
        "http" | "https" => {
            let request = Request::new(call, scheme, rest).ok_or_else(malformed)?;
            let server_name = request.server_name(call);
            let connection = Connection {
                address: call.address,
                port: request.arrival_port,
                server_name: server_name.as_deref(),
            };
            let Some((listener, chain)) = chain::find(config, &connection) else {
                return Ok(Outcome::default());
            };
            let mut outcome = match manager(listener, chain)? {
                Some(manager) => http_call(config, listener, manager, &request)?,
                None => tcp_call(listener, chain)?,
            };
            outcome.note_missing_clusters(config);
            Ok(outcome)
        }
        "tcp" | "tls" => {
            let (host, port) = rest.rsplit_once(':').ok_or_else(malformed)?;
            let port = port.parse().map_err(|_| malformed())?;
            let server_name = (scheme == "tls").then(|| call.sni.as_deref().unwrap_or(host));
            let connection = Connection {
                address: call.address.or_else(|| host.parse().ok()),
                port: call.port.unwrap_or(port),
                server_name,
            };
            let Some((listener, chain)) = chain::find(config, &connection) else {
                return Ok(Outcome::default());
            };
            let mut outcome = tcp_call(listener, chain)?;
            outcome.note_missing_clusters(config);
            Ok(outcome)
        }
        _ => Err(malformed()),
    }
}

fn manager(listener: &Listener, chain: &FilterChain) -> Result<Option<HttpConnectionManager>, SimulateError> {
    unpack_filter(listener, chain, "envoy.filters.network.http_connection_manager")
}

fn unpack_filter<M: prost::Name + Default>(
    listener: &Listener,
    chain: &FilterChain,
    name: &str,
) -> Result<Option<M>, SimulateError> {
    let config = chain
        .filters
        .iter()
        .find(|filter| filter.name == name)
        .and_then(|filter| filter.config_type.as_ref());
    let Some(filter::ConfigType::TypedConfig(config)) = config else {
        return Ok(None);
    };
    config.unpack().map(Some).map_err(|error| SimulateError::Config {
        object: listener.name.clone(),
        reason: error.to_string(),
    })
}

fn http_call(
    config: &ProxyConfig,
    listener: &Listener,
    manager: HttpConnectionManager,
    request: &Request,
) -> Result<Outcome, SimulateError> {
    let routes = match manager.route_specifier {
        Some(RouteSpecifier::RouteConfig(routes)) => routes,
        Some(RouteSpecifier::Rds(rds)) => {
            let found = config
                .routes
                .iter()
                .find(|routes| routes.name == rds.route_config_name);
            found.cloned().ok_or_else(|| SimulateError::MissingRoutes {
                listener: listener.name.clone(),
                routes: rds.route_config_name,
            })?
        }
        _ => {
            return Err(SimulateError::Config {
                object: listener.name.clone(),
                reason: "no routes".to_owned(),
            });
        }
    };
    let mut outcome = request.route(&routes)?;
    outcome.listener.clone_from(&listener.name);
    Ok(outcome)
}

fn tcp_call(listener: &Listener, chain: &FilterChain) -> Result<Outcome, SimulateError> {
    let proxy: Option<TcpProxy> = unpack_filter(listener, chain, "envoy.filters.network.tcp_proxy")?;
    let mut outcome = Outcome {
        listener: listener.name.clone(),
        rule: outcome::rule(chain.metadata.as_ref()),
        ..Outcome::default()
    };
    match proxy.and_then(|proxy| proxy.cluster_specifier) {
        Some(tcp_proxy::ClusterSpecifier::Cluster(cluster)) => outcome.cluster = Some(cluster),
        Some(tcp_proxy::ClusterSpecifier::WeightedClusters(weighted)) => {
            outcome.clusters = weighted
                .clusters
                .into_iter()
                .map(|cluster| Share {
                    cluster: cluster.name,
                    weight: cluster.weight,
                    ..Share::default()
                })
                .collect();
        }
        None => {}
    }
    Ok(outcome)
}
