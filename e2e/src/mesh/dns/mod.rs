//! Names inside the mesh: what the cluster's DNS answers in Kubernetes.

mod server;
mod wire;
mod zone;

pub(crate) use self::server::serve;
pub(crate) use self::zone::{DOMAIN, Zone};
