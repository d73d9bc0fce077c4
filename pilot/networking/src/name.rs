//! The names of generated resources (P3.2). They show up in statistics, logs and tools, and never change.

use std::fmt;
use std::net::IpAddr;

use mesh_config::{ConfigKey, Host, Str};

/// A cluster without endpoints: what it gets is dropped.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";
/// A cluster that forwards to the address the caller asked for.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";
/// A cluster that forwards captured inbound connections to ports that no service has.
pub const INBOUND_PASSTHROUGH_CLUSTER: &str = "InboundPassthroughCluster";
/// The listener that receives captured outbound connections.
pub const VIRTUAL_OUTBOUND_LISTENER: &str = "virtualOutbound";
/// The listener that receives captured inbound connections.
pub const VIRTUAL_INBOUND_LISTENER: &str = "virtualInbound";
/// The route configuration for all ports, used by applications that speak to an HTTP proxy.
pub(crate) const HTTP_PROXY_ROUTES: &str = "http_proxy";

/// What stands for the host in names of management ports.
pub(crate) const MANAGEMENT_HOST: &str = "mgmtCluster";

/// Where sidecars receive captured inbound connections (DESIGN §8); Envoy's ports are in spec 05 §0.1.
pub const INBOUND_PORT: u16 = 15006;

/// The parts of a cluster name `outbound|<port>|<subset>|<host>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundCluster {
    /// Service port.
    pub port: u16,
    /// Subset, empty for the whole service.
    pub subset: Str,
    /// Host of the service.
    pub host: Host,
}

// === impl OutboundCluster ===

impl OutboundCluster {
    /// Reads a cluster name; `None` when it is not an outbound one.
    pub fn parse(name: &str) -> Option<Self> {
        let (port, subset, host) = parse_outbound(name)?;
        Some(Self {
            port,
            subset: subset.into(),
            host: host.into(),
        })
    }
}

impl fmt::Display for OutboundCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset, self.host)
    }
}

/// The cluster of a service port, `outbound|<port>|<subset>|<host>`; an empty subset keeps both bars.
pub(crate) fn outbound_cluster(port: u16, subset: &str, host: &Host) -> Str {
    format!("outbound|{port}|{subset}|{host}").into()
}

/// The same in the form of a server name, `outbound_.<port>_.<subset>_.<host>`: what callers ask for under the
/// certificates of the mesh, and the clusters of routers that hand connections on by it.
pub(crate) fn server_name(port: u16, subset: &str, host: &Host) -> Str {
    format!("outbound_.{port}_.{subset}_.{host}").into()
}

/// Port, subset and host of an outbound cluster name, in either form.
pub(crate) fn parse_outbound(name: &str) -> Option<(u16, &str, &str)> {
    let (separator, rest) = match name.strip_prefix("outbound|") {
        Some(rest) => ("|", rest),
        None => ("_.", name.strip_prefix("outbound_.")?),
    };
    let mut parts = rest.splitn(3, separator);
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// The cluster of a local service port: `inbound|<service port>|<port name>|<host>`.
pub fn inbound_cluster(service_port: u16, port_name: &str, host: &Host) -> String {
    format!("inbound|{service_port}|{port_name}|{host}")
}

/// The cluster of a port that only probes ask: `inbound|<port>|mgmt-<port>|mgmtCluster`.
pub fn management_cluster(port: u16) -> String {
    inbound_cluster(port, &format!("mgmt-{port}"), &Host::from(MANAGEMENT_HOST))
}

/// The listener `<address>_<port>`.
pub fn listener(address: IpAddr, port: u16) -> String {
    format!("{address}_{port}")
}

/// A listener on a Unix socket, and its route configuration: `unix://<path>`.
pub fn socket(path: &str) -> String {
    format!("unix://{path}")
}

/// The virtual host `<host>:<port>`.
pub fn virtual_host(host: &Host, port: u16) -> String {
    format!("{host}:{port}")
}

/// The route configuration of a plain HTTP gateway port.
pub fn gateway_http_route(port: u16) -> String {
    format!("http.{port}")
}

/// The route configuration of plain HTTP on a Unix socket of a gateway, given by its path.
pub(crate) fn gateway_http_socket_route(path: &str) -> String {
    format!("http.{}", socket(path))
}

/// The cluster of the default endpoint of a gateway server.
pub(crate) fn default_endpoint_cluster(port: u32, port_name: &str, gateway: &ConfigKey) -> String {
    format!(
        "default|{port}|{port_name}|{}.{}",
        gateway.name, gateway.namespace
    )
}

/// The route configuration of a gateway server that ends TLS. The form of 1.1.1, which names the Gateway too: port names
/// are unique within a Gateway only.
pub fn gateway_https_route(port: u16, port_name: &str, gateway: &ConfigKey) -> String {
    format!("https.{port}.{port_name}.{}.{}", gateway.name, gateway.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_2_outbound_cluster_names_keep_both_bars_and_parse_back() {
        let cluster = OutboundCluster {
            port: 9080,
            subset: "".into(),
            host: "reviews.default.svc.cluster.local".into(),
        };
        assert_eq!(
            cluster.to_string(),
            "outbound|9080||reviews.default.svc.cluster.local"
        );
        assert_eq!(
            OutboundCluster::parse(&cluster.to_string()),
            Some(cluster.clone())
        );
        let server_name = server_name(cluster.port, "v1", &cluster.host);
        assert_eq!(
            &*server_name,
            "outbound_.9080_.v1_.reviews.default.svc.cluster.local"
        );
        let subset = OutboundCluster {
            subset: "v1".into(),
            ..cluster
        };
        assert_eq!(OutboundCluster::parse(&server_name), Some(subset));
        for other in [
            "",
            "inbound|80|http|x",
            "outbound|x||y",
            "outbound|80|",
            "BlackHoleCluster",
        ] {
            assert_eq!(OutboundCluster::parse(other), None, "{other:?}");
        }
    }
}
