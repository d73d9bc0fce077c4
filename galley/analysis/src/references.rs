//! How objects name one another.

use std::collections::BTreeSet;

use mesh_config::Str;

use crate::MESH;

/// Whether `exportTo` leaves an object to its own namespace. Nothing means the default of the mesh, which is not known
/// here: taken for everybody, so that nobody is warned without a reason.
pub(crate) fn is_private(export_to: &[String]) -> bool {
    matches!(export_to, [only] if only == ".")
}

/// The gateways of a VirtualService as `namespace/name`, or the sidecars of the mesh; those alone where it says nothing.
pub(crate) fn gateways(names: &[String], namespace: &str) -> BTreeSet<Str> {
    if names.is_empty() {
        return BTreeSet::from([MESH.into()]);
    }
    names.iter().map(|name| gateway(name, namespace)).collect()
}

/// `name`, `./name`, `namespace/name` and the older `name.namespace.svc…` all become `namespace/name` (`R-VS-2`).
pub(crate) fn gateway(name: &str, namespace: &str) -> Str {
    if name == MESH {
        return MESH.into();
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
