//! What a proxy speaks to services, and what these expect.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Query, State as Extract};
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_config::ConfigKey;
use pilot_model::PeerMode;
use pilot_networking::{ClientTls, client_tls};
use serde_json::{Value, json};

use super::{Refusal, client_of};
use crate::state::State;

/// `/debug/authenticationz?proxyID=`: an entry for each port of each service that the proxy sees, as `istioctl authn
/// tls-check` reads them. 400 without an id, 404 when no such proxy is connected.
pub(super) async fn authenticationz(
    Extract(state): Extract<State>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Refusal> {
    let client = client_of(&state, &query)?;
    let context = state.discovery.context(&client);
    let ports = context.iter().flat_map(|context| client_tls(&context.view));
    Ok(Json(ports.map(|port| describe(&port)).collect()))
}

fn describe(port: &ClientTls) -> Value {
    let client = match port.mode {
        None | Some(TlSmode::Disable) => "HTTP",
        Some(TlSmode::Simple) => "TLS",
        Some(TlSmode::Mutual) => "custom mTLS",
        Some(TlSmode::IstioMutual) => "mTLS",
    };
    // What is outside the mesh says nothing about itself.
    let (server, is_conflict) = match port.server {
        _ if port.mesh_external => ("-", false),
        PeerMode::PlainText => ("HTTP", client != "HTTP"),
        PeerMode::Permissive => ("HTTP/mTLS", client != "HTTP" && client != "mTLS"),
        PeerMode::Strict => ("mTLS", client != "mTLS"),
    };
    let object = |object: &Option<ConfigKey>| object.as_ref().map_or_else(|| "-".to_owned(), name);
    json!({
        "host": port.host.as_str(),
        "port": port.port,
        "authentication_policy_name": object(&port.policy),
        "destination_rule_name": object(&port.rule),
        "server_protocol": server,
        "client_protocol": client,
        "TLS_conflict_status": if is_conflict { "CONFLICT" } else { "OK" },
    })
}

/// The order of 1.1: name before namespace.
fn name(object: &ConfigKey) -> String {
    format!("{}/{}", object.name, object.namespace)
}
