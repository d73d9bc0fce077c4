//! The whole configuration of one proxy: Envoy's own `/config_dump` as canonical proto JSON.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use mesh_api::json::JsonError;
use mesh_api::{Any, json};
use pilot_networking::XdsType;
use pilot_xds::ClientStatus;
use serde_json::{Value, json};

use super::{Refusal, client_of};
use crate::state::State;

/// `/debug/config_dump?proxyID=`: 400 without an id, 404 when no such proxy is connected.
pub(super) async fn config_dump(
    Extract(state): Extract<State>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Refusal> {
    let client = client_of(&state, &query)?;
    let configs = XdsType::ALL
        .into_iter()
        .map(|xds_type| section(&client, xds_type))
        .collect::<Result<Vec<Value>, JsonError>>()
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(json!({ "configs": configs })))
}

fn section(client: &ClientStatus, xds_type: XdsType) -> Result<Value, JsonError> {
    let status = client.types.get(&xds_type);
    let version = status
        .map(|status| status.version_sent.clone())
        .unwrap_or_default();
    let mut entries = Vec::new();
    for resource in status.into_iter().flat_map(|status| status.resources()) {
        let any = Any {
            type_url: xds_type.type_url().to_owned(),
            value: resource.body.clone(),
        };
        let value = json::any_to_value(&any)?;
        entries.push(match xds_type {
            XdsType::Cluster => json!({ "versionInfo": version, "cluster": value }),
            XdsType::Endpoint => json!({ "versionInfo": version, "endpointConfig": value }),
            XdsType::Listener => {
                json!({ "name": &*resource.name, "activeState": { "versionInfo": version, "listener": value } })
            }
            XdsType::Route => json!({ "versionInfo": version, "routeConfig": value }),
        });
    }
    let (dump, field) = match xds_type {
        XdsType::Cluster => ("ClustersConfigDump", "dynamicActiveClusters"),
        XdsType::Endpoint => ("EndpointsConfigDump", "dynamicEndpointConfigs"),
        XdsType::Listener => ("ListenersConfigDump", "dynamicListeners"),
        XdsType::Route => ("RoutesConfigDump", "dynamicRouteConfigs"),
    };
    Ok(json!({
        "@type": format!("type.googleapis.com/envoy.admin.v3.{dump}"),
        "versionInfo": version,
        field: entries,
    }))
}
