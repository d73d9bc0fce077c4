//! The connected proxies and how far they have followed.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State as Extract};
use pilot_networking::XdsType;
use pilot_xds::{ClientStatus, TypeStatus};
use serde_json::{Value, json};

use crate::state::State;

/// `/debug/syncz`: what each proxy was sent and what it acknowledged, in the shape of 1.1.
pub(super) async fn syncz(Extract(state): Extract<State>) -> Json<Value> {
    Json(state.discovery.clients().iter().map(sync_status).collect())
}

/// `/debug/adsz`: the connected proxies; with `?push=1` everything is sent to all of them again.
pub(super) async fn adsz(
    Extract(state): Extract<State>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    if query.get("push").is_some_and(|push| push == "1") {
        state.discovery.resend_all();
    }
    let clients = state.discovery.clients();
    let connected: Vec<Value> = clients
        .iter()
        .map(|client| {
            let types: HashMap<&str, Value> = client
                .types
                .iter()
                .map(|(xds_type, status)| {
                    (
                        xds_type.as_str(),
                        json!({"status": status, "summary": status.summary()}),
                    )
                })
                .collect();
            json!({
                "connectionId": client.connection,
                "address": client.peer,
                "node": &*client.proxy.node_id,
                "types": types,
            })
        })
        .collect();
    Json(json!({ "totalClients": connected.len(), "clients": connected }))
}

/// `/debug/cdsz`: the clusters that each proxy was sent.
pub(super) async fn cdsz(Extract(state): Extract<State>) -> Json<Value> {
    let clusters = |client: &ClientStatus| -> Vec<String> {
        let status = client.types.get(&XdsType::Cluster);
        status
            .iter()
            .flat_map(|status| status.resources())
            .map(|cluster| cluster.name.to_string())
            .collect()
    };
    Json(
        state
            .discovery
            .clients()
            .iter()
            .map(|client| json!({ "node": &*client.proxy.node_id, "clusters": clusters(client) }))
            .collect(),
    )
}

fn sync_status(client: &ClientStatus) -> Value {
    let none = TypeStatus::default();
    let of = |xds_type| client.types.get(&xds_type).unwrap_or(&none);
    let (clusters, endpoints) = (of(XdsType::Cluster), of(XdsType::Endpoint));
    let (listeners, routes) = (of(XdsType::Listener), of(XdsType::Route));
    let errors: HashMap<&str, &str> = client
        .types
        .iter()
        .filter(|(_, status)| !status.error.is_empty())
        .map(|(xds_type, status)| (xds_type.as_str(), status.error.as_str()))
        .collect();
    json!({
        "proxy": &*client.proxy.id,
        "proxy_version": version(client),
        "cluster_sent": clusters.nonce_sent,
        "cluster_acked": clusters.nonce_acked,
        "listener_sent": listeners.nonce_sent,
        "listener_acked": listeners.nonce_acked,
        "route_sent": routes.nonce_sent,
        "route_acked": routes.nonce_acked,
        "endpoint_sent": endpoints.nonce_sent,
        "endpoint_acked": endpoints.nonce_acked,
        "endpoint_percent": endpoint_percent(clusters, endpoints),
        "errors": errors,
    })
}

/// The Istio version that the proxy declares, or else the version of its Envoy.
fn version(client: &ClientStatus) -> String {
    match client.proxy.metadata.get("ISTIO_PROXY_VERSION") {
        Some(version) => version.to_string(),
        None => format!("{}.{}", client.proxy.version.major, client.proxy.version.minor),
    }
}

/// How many of the clusters that want endpoints have got them.
fn endpoint_percent(clusters: &TypeStatus, endpoints: &TypeStatus) -> usize {
    let wanted = clusters
        .resources()
        .filter(|cluster| cluster.awaits_endpoints)
        .count();
    let got = endpoints.resources().count();
    (got * 100)
        .checked_div(wanted)
        .map_or(0, |percent| percent.min(100))
}
