//! Services of Kubernetes whose ports say nothing about what is spoken on them.

use mesh_api::k8s::io::api::core::v1::{ServicePort, ServiceSpec};
use mesh_config::{Config, ConfigKey, Kind, Protocol};

use crate::Known;
use crate::facts::Fact;
use crate::warnings::Warnings;

/// Only where pods get a sidecar: elsewhere the names of ports are the owner's.
pub(crate) fn check(known: &Known, config: &Config, spec: &ServiceSpec, out: &mut Warnings) {
    let namespace = ConfigKey::new(Kind::Namespace, "", config.meta.key.namespace.clone());
    if !matches!(known.get(&namespace), Some(Fact::Namespace(true))) {
        return;
    }
    for (index, port) in spec.ports.iter().enumerate() {
        if announces(port) {
            continue;
        }
        let field = format!("ports[{index}].name");
        let number = port.port.unwrap_or_default();
        let help =
            "taken for TCP, without routes and metrics of requests; http, http2, grpc, tcp, … say what it is";
        match port.name() {
            "" => out.say(field, format!("port {number} has no name: {help}")),
            name => out.say(field, format!("{name:?} names no protocol: {help}")),
        }
    }
}

fn announces(port: &ServicePort) -> bool {
    let first = |name: &str| {
        let name = name.to_ascii_lowercase();
        let name = name.split('-').next().unwrap_or_default();
        name.parse::<Protocol>().is_ok()
    };
    // What is not TCP is not captured.
    !matches!(port.protocol(), "" | "TCP") || first(port.name()) || !port.app_protocol().is_empty()
}
