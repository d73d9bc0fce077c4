//! Why a resource exists, and what an object produced.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::Json;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use mesh_config::ConfigKey;
use pilot_model::Snapshot;
use pilot_networking::{Origin, XdsType};
use pilot_xds::{ClientStatus, Encoded};
use serde_json::{Value, json};

use super::Refusal;
use crate::state::State;

/// `/debug/originz`: with `resource=` the objects because of which proxies have a resource of this name, with `object=`
/// (such as `VirtualService/weather/forecast`) the resources that proxies have because of an object.
///
/// `type=` (`cds`, `eds`, `lds`, `rds`) and `proxyID=` narrow the answer.
pub(super) async fn originz(
    Extract(state): Extract<State>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Refusal> {
    let asked = |name: &str| query.get(name).filter(|value| !value.is_empty());
    let Some(published) = state.discovery.published() else {
        return Err((StatusCode::NOT_FOUND, "nothing is published yet\n".to_owned()));
    };
    let snapshot = &published.snapshot;
    let clients = match asked("proxyID") {
        None => state.discovery.clients(),
        Some(proxy) => state.discovery.client(proxy).into_iter().collect(),
    };
    let is_asked_for =
        |xds_type: &XdsType| asked("type").is_none_or(|name| name.as_str() == xds_type.as_str());
    let answer = match (asked("resource"), asked("object")) {
        (Some(resource), _) => why(snapshot, &clients, resource, is_asked_for),
        (None, Some(object)) => products(snapshot, &clients, &object.replacen('/', " ", 1), is_asked_for),
        (None, None) => {
            let help =
                "give the name of a resource as resource or an object as object=<kind>/<namespace>/<name>\n";
            return Err((StatusCode::BAD_REQUEST, help.to_owned()));
        }
    };
    Ok(Json(answer))
}

/// The objects behind the resources of a name. Proxies with the same answer are listed together.
fn why(
    snapshot: &Snapshot,
    clients: &[ClientStatus],
    name: &str,
    is_asked_for: impl Fn(&XdsType) -> bool,
) -> Value {
    let mut answers: BTreeMap<(&str, BTreeSet<String>), Vec<&str>> = BTreeMap::new();
    for client in clients {
        for (xds_type, status) in client.types.iter().filter(|(xds_type, _)| is_asked_for(xds_type)) {
            for resource in status.resources() {
                let found = if &*resource.name == name {
                    Some(objects(snapshot, *xds_type, &resource.name, resource.origins()))
                } else {
                    let part = resource.parts.iter().find(|part| &*part.name == name);
                    part.map(|part| objects(snapshot, *xds_type, &part.name, part.origins.iter()))
                };
                if let Some(objects) = found {
                    let objects = objects.iter().map(ToString::to_string).collect();
                    let proxies = answers.entry((xds_type.as_str(), objects)).or_default();
                    proxies.push(&client.proxy.node_id);
                }
            }
        }
    }
    let describe =
        |((xds_type, objects), proxies)| json!({ "type": xds_type, "objects": objects, "proxies": proxies });
    answers.into_iter().map(describe).collect()
}

/// The resources that proxies have because of an object.
fn products(
    snapshot: &Snapshot,
    clients: &[ClientStatus],
    object: &str,
    is_asked_for: impl Fn(&XdsType) -> bool,
) -> Value {
    let is_behind = |xds_type: XdsType, resource: &Encoded, origins: &[Origin]| {
        let objects = objects(snapshot, xds_type, &resource.name, origins.iter());
        objects.iter().any(|known| known.to_string() == object)
    };
    let of = |client: &ClientStatus| -> Option<Value> {
        let mut products: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (xds_type, status) in client.types.iter().filter(|(xds_type, _)| is_asked_for(xds_type)) {
            let names = products.entry(xds_type.as_str()).or_default();
            for resource in status.resources() {
                if is_behind(*xds_type, resource, &resource.origins) {
                    names.push(resource.name.to_string());
                }
                let parts = resource.parts.iter();
                let parts = parts.filter(|part| is_behind(*xds_type, part, &part.origins));
                names.extend(parts.map(|part| format!("{}/{}", resource.name, part.name)));
            }
        }
        products.retain(|_, names| !names.is_empty());
        let left_out = client
            .isolated
            .iter()
            .find(|(known, _)| known.to_string() == object);
        let left_out = left_out.map(|(_, finding)| finding.reason.clone());
        (!products.is_empty() || left_out.is_some()).then(
            || json!({ "proxy": &*client.proxy.node_id, "resources": products, "leftOutBecause": left_out }),
        )
    };
    clients.iter().filter_map(of).collect()
}

/// The objects behind origins. A listener that services of a port share has all of them behind it.
fn objects<'a>(
    snapshot: &Snapshot,
    xds_type: XdsType,
    name: &str,
    origins: impl Iterator<Item = &'a Origin>,
) -> BTreeSet<ConfigKey> {
    let mut objects = BTreeSet::new();
    for origin in origins {
        match origin {
            Origin::Object(object) => {
                objects.insert(object.clone());
            }
            Origin::Host(host) => {
                let services = snapshot.services.by_host(host.as_str());
                objects.extend(services.map(|service| service.object()));
            }
        }
    }
    let port = name.rsplit('_').next().and_then(|port| port.parse().ok());
    if let (true, XdsType::Listener, Some(port)) = (objects.is_empty(), xds_type, port) {
        objects.extend(
            snapshot
                .services
                .on_http_port(port)
                .map(|service| service.object()),
        );
    }
    objects
}
