//! How a VirtualService names its gateways.

use crate::Str;

/// The name under which a VirtualService applies to sidecars.
pub const MESH_GATEWAY: &str = "mesh";

/// `name`, `./name`, `namespace/name` and the older `name.namespace.svc…` all become `namespace/name`; [`MESH_GATEWAY`]
/// stays (`R-VS-2`). `namespace` is that of the object that mentions the gateway.
pub fn resolve_gateway(name: &str, namespace: &str) -> Str {
    if name == MESH_GATEWAY {
        return MESH_GATEWAY.into();
    }
    match name.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}").into(),
        Some(_) => name.into(),
        None => {
            let mut parts = name.splitn(3, '.');
            match (parts.next(), parts.next()) {
                (Some(name), Some(other)) => format!("{other}/{name}").into(),
                _ => format!("{namespace}/{name}").into(),
            }
        }
    }
}
