//! Which listeners a router gets (P14, §7.4).

use std::collections::BTreeMap;

use mesh_config::Labels;
use pilot_model::{ScopedView, Warning, WarningKind, Workload};

use super::{ListenerKey, Spec};
use crate::{Plan, gateway, name};

/// The listeners of a router: one for each port of the Gateways that select it; none without a Gateway (`R-G-0`).
///
/// `labels` are those of its workload; `workload` also tells which target port stands behind a service port (§7.4).
pub fn gateway(view: &ScopedView, labels: &Labels, workload: &Workload) -> Plan<ListenerKey> {
    let merged = gateway::merge(view, labels);
    let mut warnings = merged.warnings;
    // Two service ports may lead to the same port of the workload.
    let mut bound = BTreeMap::new();
    let mut keys = Vec::with_capacity(merged.ports.len());
    for (server_port, http) in merged.ports {
        let port = target_port(workload, server_port);
        if let Some(other) = bound.insert(port, server_port) {
            bound.insert(port, other);
            warnings.extend(http.servers.iter().map(|server| Warning {
                object: server.gateway.key.clone(),
                kind: WarningKind::GatewayServer,
                reason: format!(
                    "port {server_port} is left out: it leads to {port}, which serves port {other} already"
                ),
            }));
            continue;
        }
        keys.push(ListenerKey {
            name: name::listener(http.bind, port).into(),
            mesh: view.mesh().clone(),
            address: http.bind,
            port,
            spec: Spec::GatewayHttp {
                routes: name::gateway_http_route(server_port).into(),
            },
        });
    }
    keys.sort_by(|a, b| a.name.cmp(&b.name));
    Plan { keys, warnings }
}

/// The port of the workload behind a port of its service, else the same number (`A-13`).
fn target_port(workload: &Workload, port: u16) -> u16 {
    let targets = workload
        .instances
        .iter()
        .filter(|instance| instance.service_port.number == port);
    targets.map(|instance| instance.target_port).min().unwrap_or(port)
}
