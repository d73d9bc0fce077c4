//! The debug interface (P17): `istioctl` reads it, and so do people.

mod authentication;
mod clients;
mod config;
mod dump;
mod endpoints;
mod origins;
mod registration;

use std::collections::HashMap;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use pilot_xds::ClientStatus;

pub(crate) use self::registration::RegistrationMetrics;
use crate::state::State;

/// An answer that is not a success.
type Refusal = (StatusCode, String);

/// The connected proxy that `proxyID` names.
fn client_of(state: &State, query: &HashMap<String, String>) -> Result<ClientStatus, Refusal> {
    let proxy = query.get("proxyID").filter(|proxy| !proxy.is_empty());
    let proxy = proxy.ok_or_else(|| (StatusCode::BAD_REQUEST, "give the proxy as proxyID\n".to_owned()))?;
    state.discovery.client(proxy).ok_or_else(|| {
        let reason = format!("proxy {proxy:?} is not connected to this Pilot\n");
        (StatusCode::NOT_FOUND, reason)
    })
}

/// The routes under `/debug`.
pub(crate) fn router(state: State) -> Router {
    Router::new()
        .route("/debug/syncz", get(clients::syncz))
        .route("/debug/adsz", get(clients::adsz))
        .route("/debug/cdsz", get(clients::cdsz))
        .route("/debug/edsz", get(endpoints::edsz))
        .route("/debug/config_dump", get(dump::config_dump))
        .route("/debug/configz", get(config::configz))
        .route("/debug/registryz", get(config::registryz))
        .route("/debug/push_status", get(config::push_status))
        .route("/debug/sourcez", get(config::sourcez))
        .route("/debug/originz", get(origins::originz))
        .route("/debug/divergencez", get(endpoints::divergencez))
        .route("/debug/endpointz", get(endpoints::endpointz))
        .route("/debug/endpointShardz", get(endpoints::endpoint_shardz))
        .route("/debug/workloadz", get(endpoints::workloadz))
        .route("/debug/authenticationz", get(authentication::authenticationz))
        .route("/v1/registration", get(registration::registration))
        .with_state(state)
}
