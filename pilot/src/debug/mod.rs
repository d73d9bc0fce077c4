//! The debug interface (P17): `istioctl` reads it, and so do people.

mod clients;
mod config;
mod dump;
mod endpoints;
mod origins;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::state::State;

/// An answer that is not a success.
type Refusal = (StatusCode, String);

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
        .with_state(state)
}
