//! Endpoints and workloads.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use mesh_api::json;
use pilot_model::{Endpoint, EndpointAddress};
use pilot_networking::XdsType;
use serde_json::{Value, json};

use super::Refusal;
use crate::state::State;

/// `/debug/endpointz`: endpoints by service; `?brief=1` names addresses only.
pub(super) async fn endpointz(
    Extract(state): Extract<State>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let brief = query.get("brief").is_some_and(|brief| !brief.is_empty());
    let publication = state.publication();
    let hosts = publication
        .iter()
        .flat_map(|publication| publication.published.endpoints.iter());
    Json(
        hosts
            .map(|(host, endpoints)| {
                let endpoints: Vec<Value> = if brief {
                    endpoints
                        .iter()
                        .map(|endpoint| json!(address(endpoint)))
                        .collect()
                } else {
                    endpoints.iter().map(describe).collect()
                };
                json!({ "svc": host.as_str(), "ep": endpoints })
            })
            .collect(),
    )
}

/// `/debug/endpointShardz`: endpoints by service and by the registry that knows them.
pub(super) async fn endpoint_shardz(Extract(state): Extract<State>) -> Json<Value> {
    let publication = state.publication();
    let hosts = publication
        .iter()
        .flat_map(|publication| publication.published.endpoints.iter());
    let shards: BTreeMap<String, BTreeMap<String, Vec<Value>>> = hosts
        .map(|(host, endpoints)| {
            let shards = endpoints.shards().iter();
            let shards = shards.map(|(name, shard)| (name.to_string(), shard.iter().map(describe).collect()));
            (host.to_string(), shards.collect())
        })
        .collect();
    Json(json!(shards))
}

/// `/debug/edsz`: the load assignments that proxies were sent, each once.
pub(super) async fn edsz(Extract(state): Extract<State>) -> Result<Json<Value>, Refusal> {
    let mut assignments = BTreeMap::new();
    for client in state.discovery.clients() {
        for resource in client
            .types
            .get(&XdsType::Endpoint)
            .into_iter()
            .flat_map(|status| status.resources())
        {
            if !assignments.contains_key(&resource.name) {
                let name = XdsType::Endpoint
                    .type_url()
                    .rsplit('/')
                    .next()
                    .unwrap_or_default();
                let value = json::encoded_to_value(name, &resource.body)
                    .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
                assignments.insert(resource.name.clone(), value);
            }
        }
    }
    if assignments.is_empty() {
        return Err((StatusCode::NOT_FOUND, "no proxy was sent endpoints\n".to_owned()));
    }
    Ok(Json(assignments.into_values().collect()))
}

/// `/debug/divergencez`: the proxies whose acknowledged endpoints are not those that the registries know.
pub(super) async fn divergencez(Extract(state): Extract<State>) -> Json<Value> {
    let describe = |divergence: &pilot_xds::Divergence| {
        let clusters: Vec<&str> = divergence.clusters.iter().map(AsRef::as_ref).collect();
        json!({ "proxy": &*divergence.proxy, "connection": divergence.connection, "clusters": clusters })
    };
    Json(state.discovery.audit().iter().map(describe).collect())
}

/// `/debug/workloadz`: workloads by address.
pub(super) async fn workloadz(Extract(state): Extract<State>) -> Json<Value> {
    let publication = state.publication();
    let workloads = publication
        .iter()
        .flat_map(|publication| publication.published.workloads.iter());
    let workloads: BTreeMap<String, Value> = workloads
        .map(|(ip, workload)| {
            let instances: Vec<String> = workload
                .instances
                .iter()
                .map(|instance| {
                    format!(
                        "{}:{}->{}",
                        instance.host, instance.service_port.number, instance.target_port
                    )
                })
                .collect();
            let labels: BTreeMap<&str, &str> = workload.labels.iter().collect();
            let described = json!({
                "name": &*workload.name,
                "namespace": &*workload.namespace,
                "labels": labels,
                "serviceAccount": &*workload.service_account,
                "instances": instances,
            });
            (ip.to_string(), described)
        })
        .collect();
    Json(json!(workloads))
}

fn describe(endpoint: &Endpoint) -> Value {
    let labels: BTreeMap<&str, &str> = endpoint.labels.iter().collect();
    let locality = &endpoint.locality;
    json!({
        "address": address(endpoint),
        "servicePort": &*endpoint.service_port,
        "labels": labels,
        "uid": &*endpoint.uid,
        "serviceAccount": &*endpoint.service_account,
        "network": &*endpoint.network,
        "locality": format!("{}/{}/{}", locality.region, locality.zone, locality.sub_zone),
        "weight": endpoint.weight,
    })
}

fn address(endpoint: &Endpoint) -> String {
    match &endpoint.address {
        EndpointAddress::Ip(address) => address.to_string(),
        EndpointAddress::Dns(name, port) => format!("{name}:{port}"),
        EndpointAddress::Unix(path) => format!("unix://{path}"),
    }
}
