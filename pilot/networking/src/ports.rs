//! Ports that belong to the proxy itself (spec 05 §0.1).

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use pilot_model::Proxy;

use crate::name;

/// Where captured outbound connections arrive unless the mesh says otherwise.
const OUTBOUND: u16 = 15001;
/// Where applications reach the proxy when nothing is captured (`interceptionMode: NONE`).
pub(crate) const HTTP_PROXY: u16 = 15002;
/// Envoy's administration interface unless the mesh says otherwise.
const ADMIN: u16 = 15000;
/// Envoy's metrics.
const METRICS: u16 = 15090;
/// Where the agent says how the proxy is.
const STATUS: u16 = 15020;

/// Where captured outbound connections arrive.
pub(crate) fn outbound(mesh: &MeshConfig) -> u16 {
    valid(mesh.proxy_listen_port).unwrap_or(OUTBOUND)
}

/// A port outside the proxy's own on which applications find an HTTP proxy.
pub(crate) fn http_proxy(mesh: &MeshConfig) -> Option<u16> {
    valid(mesh.proxy_http_port)
}

/// The ports that nobody may reach through the proxy, in ascending order.
///
/// Its capture listeners would forward to themselves for ever, and the administration interface trusts everybody on
/// the loopback address.
pub(crate) fn closed(mesh: &MeshConfig) -> Vec<u16> {
    let mut ports = vec![admin(mesh), outbound(mesh), HTTP_PROXY, name::INBOUND_PORT];
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Whether the proxy itself listens on this port on all addresses, so that no other listener may.
pub(crate) fn is_bound(mesh: &MeshConfig, port: u16) -> bool {
    port == outbound(mesh) || port == name::INBOUND_PORT || port == METRICS
}

/// Whether a router, or its agent, listens on this port already.
pub(crate) fn is_bound_on_router(mesh: &MeshConfig, port: u16) -> bool {
    port == admin(mesh) || port == METRICS || port == STATUS
}

fn admin(mesh: &MeshConfig) -> u16 {
    let config = mesh.default_config.as_ref();
    config
        .and_then(|config| valid(config.proxy_admin_port))
        .unwrap_or(ADMIN)
}

/// Whether a port cannot be opened for others, since the proxy or its agent has it on some address.
pub(crate) fn is_taken(mesh: &MeshConfig, port: u16) -> bool {
    port == STATUS || is_bound(mesh, port) || closed(mesh).contains(&port)
}

/// Whether only root may open a port.
pub(crate) fn is_privileged(port: u16) -> bool {
    port <= 1024
}

/// Whether a proxy is root, and may open all ports (`R-SC-6`).
pub(crate) fn is_root(proxy: &Proxy) -> bool {
    proxy.metadata.get("SIDECAR_UID").is_some_and(|uid| &**uid == "0")
}

fn valid(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}
