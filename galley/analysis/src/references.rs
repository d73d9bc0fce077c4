//! How objects name one another.

use std::collections::BTreeSet;

use mesh_config::{MESH_GATEWAY, Str, resolve_gateway};

/// Whether `exportTo` leaves an object to its own namespace. Nothing means the default of the mesh, which is not known
/// here: taken for everybody, so that nobody is warned without a reason.
pub(crate) fn is_private(export_to: &[String]) -> bool {
    matches!(export_to, [only] if only == ".")
}

/// The gateways of a VirtualService as `namespace/name`, or the sidecars of the mesh; those alone where it says nothing.
pub(crate) fn gateways(names: &[String], namespace: &str) -> BTreeSet<Str> {
    if names.is_empty() {
        return BTreeSet::from([MESH_GATEWAY.into()]);
    }
    names
        .iter()
        .map(|name| resolve_gateway(name, namespace))
        .collect()
}
