//! Every report of a proxy to the same telemetry pod (P11.3).

use std::net::SocketAddr;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use pilot_model::{Endpoint, EndpointAddress, Locality, Service};

/// The one endpoint of a cluster that leads to Mixer's telemetry, when its proxies are to stay with one pod of it: the
/// address of the service, behind which the platform keeps clients apart (`sessionAffinity: ClientIP`).
pub(super) fn endpoint(mesh: &MeshConfig, cluster: &str, service: &Service, port: u16) -> Option<Endpoint> {
    if !mesh.sidecar_to_telemetry_session_affinity {
        return None;
    }
    let server = mesh
        .mixer_report_server
        .split(':')
        .next()
        .filter(|host| !host.is_empty())?;
    let address = service.address.ip().filter(|_| cluster.contains(server))?;
    Some(Endpoint {
        address: EndpointAddress::Ip(SocketAddr::new(address, port)),
        service_port: service.port(port)?.name.clone(),
        labels: Default::default(),
        uid: Default::default(),
        service_account: Default::default(),
        network: Default::default(),
        locality: Locality::default(),
        weight: 1,
    })
}
