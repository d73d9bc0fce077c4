//! What Pilot was told, and what it could not follow.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Extract;
use mesh_config::decode;
use pilot_registry::consul::{ConsulHandle, REGISTRY as CONSUL};
use serde_json::{Value, json};

use crate::sources::SourceHandle;
use crate::state::State;

/// `/debug/configz`: all objects in force.
pub(super) async fn configz(Extract(state): Extract<State>) -> Json<Value> {
    let publication = state.publication();
    let objects = publication
        .iter()
        .flat_map(|publication| publication.objects.values());
    Json(objects.map(|object| decode::to_json(object)).collect())
}

/// `/debug/registryz`: all services.
pub(super) async fn registryz(Extract(state): Extract<State>) -> Json<Value> {
    let publication = state.publication();
    let consul = state.consul.as_ref().map(ConsulHandle::status);
    let services = publication
        .iter()
        .flat_map(|publication| publication.published.snapshot.services.iter());
    Json(
        services
            .map(|service| {
                let ports: Vec<Value> = service
                    .ports
                    .iter()
                    .map(|port| json!({"name": &*port.name, "port": port.number, "protocol": port.protocol.as_str()}))
                    .collect();
                // What an agent that is away said last stays in force.
                let stale = consul
                    .as_ref()
                    .filter(|consul| &*service.id.registry == CONSUL && !consul.connected);
                json!({
                    "stale": stale.map(|consul| consul.error.as_deref().unwrap_or_default()),
                    "hostname": service.id.host.as_str(),
                    "namespace": &*service.id.namespace,
                    "registry": &*service.id.registry,
                    "address": service.address.ip().map(|ip| ip.to_string()),
                    "ports": ports,
                    "resolution": format!("{:?}", service.resolution),
                    "meshExternal": service.mesh_external,
                    "exportTo": format!("{:?}", service.export_to),
                })
            })
            .collect(),
    )
}

/// `/debug/push_status`: what was wrong with the configuration that proxies use, and objects that were left out.
pub(super) async fn push_status(Extract(state): Extract<State>) -> Json<Value> {
    let warnings: Vec<Value> = state
        .discovery
        .warnings()
        .iter()
        .map(|warning| {
            json!({ "object": warning.object.to_string(), "kind": warning.kind, "reason": warning.reason })
        })
        .collect();
    let publication = state.publication();
    let rejected: Vec<Value> = publication
        .iter()
        .flat_map(|publication| publication.rejected.iter())
        .map(|(key, reason)| json!({ "object": key.to_string(), "reason": reason }))
        .collect();
    let mut isolated: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for client in state.discovery.clients() {
        for (object, finding) in &client.isolated {
            isolated.entry(object.to_string()).or_default().push(json!({
                "proxy": &*client.proxy.node_id,
                "type": finding.xds_type.as_str(),
                "reason": finding.reason,
            }));
        }
    }
    Json(json!({
        "isolated": isolated,
        "generation": publication.map(|publication| publication.published.generation),
        "warnings": warnings,
        "rejected": rejected,
        "cached": state.discovery.generator().cache_sizes(),
    }))
}

/// `/debug/sourcez`: the sources of configuration and services, and the last requests sent to them.
pub(super) async fn sourcez(Extract(state): Extract<State>) -> Json<Value> {
    let sources = state.sources.iter().map(SourceHandle::status);
    let kube = state.kube.iter().flat_map(|kube| {
        let remotes = kube.remotes().into_iter().map(|status| json!(status));
        std::iter::once(json!(kube.own())).chain(remotes)
    });
    let consul = state.consul.iter().map(|consul| json!(consul.status()));
    Json(sources.chain(kube).chain(consul).collect())
}
