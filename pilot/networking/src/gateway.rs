//! How the servers of Gateways share the ports of a router (P14, §7.4).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use mesh_api::istio::networking::v1alpha3::Server;
use mesh_config::{Labels, Protocol};
use pilot_model::{Gateway, ScopedView, Versioned, Warning, WarningKind};

/// The plain HTTP ports of a router, by server port number.
#[derive(Debug, Default)]
pub(crate) struct Merged<'a> {
    pub(crate) ports: BTreeMap<u16, HttpPort<'a>>,
    /// Servers that were left out.
    pub(crate) warnings: Vec<Warning>,
}

/// One port and the servers that share it, oldest Gateway first.
#[derive(Debug)]
pub(crate) struct HttpPort<'a> {
    /// Where it is served.
    pub(crate) bind: IpAddr,
    pub(crate) servers: Vec<GatewayServer<'a>>,
}

/// A server and the Gateway that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayServer<'a> {
    pub(crate) gateway: &'a Versioned<Gateway>,
    pub(crate) server: &'a Server,
}

/// Merges the servers of all Gateways that select a router with these labels.
///
/// The first server on a port decides what it is; later ones join it when they are plain HTTP too.
pub(crate) fn merge<'a>(view: &'a ScopedView, labels: &'a Labels) -> Merged<'a> {
    merge_all(view.gateways(labels))
}

/// Merges the servers of Gateways, oldest first.
pub(crate) fn merge_all<'a>(gateways: impl IntoIterator<Item = &'a Versioned<Gateway>>) -> Merged<'a> {
    let mut merged = Merged::default();
    for gateway in gateways {
        for server in &gateway.spec.servers {
            if let Err((kind, reason)) = merged.add(GatewayServer { gateway, server }) {
                let port = server.port.as_ref().map_or("", |port| port.name.as_str());
                merged.warnings.push(Warning {
                    object: gateway.key.clone(),
                    kind,
                    reason: format!("server {port:?} is left out: {reason}"),
                });
            }
        }
    }
    merged
}

// === impl Merged ===

impl<'a> Merged<'a> {
    fn add(&mut self, server: GatewayServer<'a>) -> Result<(), (WarningKind, String)> {
        let unsupported = |reason| (WarningKind::Unsupported, reason);
        let port = server
            .server
            .port
            .as_ref()
            .ok_or_else(|| unsupported("it has no port".to_owned()))?;
        let number = u16::try_from(port.number).ok().filter(|number| *number != 0);
        let number =
            number.ok_or_else(|| unsupported(format!("port {} is not a port number", port.number)))?;
        let protocol: Protocol = port
            .protocol
            .parse()
            .map_err(|error| unsupported(format!("{error}")))?;
        if !protocol.is_http() {
            return Err(unsupported(format!("protocol {protocol} is not supported yet")));
        }
        let bind = match server.server.bind.as_str() {
            "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            bind => bind
                .parse()
                .map_err(|_| unsupported(format!("bind {bind:?} is not an ip address")))?,
        };
        let http = self.ports.entry(number).or_insert_with(|| HttpPort {
            bind,
            servers: Vec::new(),
        });
        if http.bind != bind {
            let reason = format!("port {number} is served on {} already", http.bind);
            return Err((WarningKind::GatewayServer, reason));
        }
        http.servers.push(server);
        Ok(())
    }
}
