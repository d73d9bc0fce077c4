//! `forecast`: the weather of a city; from version v2 on with a recommendation.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::data::{CITIES, City, city};
use super::{Day, Forecast, Recommendation};
use crate::sample::client::{BaseUrl, Client};
use crate::sample::forward::forwarded;
use crate::sample::html::shorten;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct ForecastArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 3002)]
    pub(in crate::sample) port: u16,
    /// Where recommendation is
    #[arg(
        long,
        env = "RECOMMENDATION_URL",
        value_name = "URL",
        default_value = "http://recommendation:3005"
    )]
    pub(super) recommendation_url: BaseUrl,
}

struct Service {
    identity: Identity,
    client: Client,
    /// Absent in version v1, which calls nobody.
    recommendation: Option<BaseUrl>,
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    city: String,
}

/// Longer than any delay or timeout of the exercises, so that the mesh decides and not this program.
const TIMEOUT: Duration = Duration::from_secs(30);
const NEXT_DAYS: [&str; 3] = ["Tomorrow", "In two days", "In three days"];

// === impl ForecastArgs ===

impl ForecastArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        let recommendation = (identity.version != "v1").then_some(self.recommendation_url);
        let state = Service {
            identity: identity.clone(),
            client: Client::new(),
            recommendation,
        };
        let routes = Router::new()
            .route("/weather", get(weather))
            .with_state(Arc::new(state));
        server::finish(routes, identity)
    }
}

/// Answers with the status of `recommendation` if that fails: what happens there must be visible here, or
/// retries and timeouts could not be shown (EX-1117, EX-1119).
async fn weather(
    State(state): State<Arc<Service>>,
    Query(Wanted { city: name }): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let city = city(&name).unwrap_or(&CITIES[0]);
    match state.recommendation(city, &headers).await {
        Ok(recommendation) => Json(state.forecast(city, recommendation)).into_response(),
        Err((status, error)) => {
            let Identity { version, pod, .. } = &state.identity;
            (
                status,
                Json(json!({ "error": error, "version": version, "pod": pod })),
            )
                .into_response()
        }
    }
}

// === impl Service ===

impl Service {
    fn forecast(&self, city: &City, recommendation: Option<Recommendation>) -> Forecast {
        let day = |(day, (condition, high, low)): (&&str, (_, i8, i8))| Day {
            day: (*day).to_owned(),
            condition,
            high,
            low,
        };
        Forecast {
            city: city.name.to_owned(),
            condition: city.condition,
            temperature: city.temperature,
            humidity: city.humidity,
            wind: city.wind.to_owned(),
            days: NEXT_DAYS.iter().zip(city.days).map(day).collect(),
            version: self.identity.version.clone(),
            pod: self.identity.pod.clone(),
            recommendation,
        }
    }

    async fn recommendation(
        &self,
        city: &City,
        headers: &HeaderMap,
    ) -> Result<Option<Recommendation>, (StatusCode, String)> {
        let Some(url) = &self.recommendation else {
            return Ok(None);
        };
        let path = format!(
            "/activity?condition={}&temperature={}",
            city.condition.name(),
            city.temperature
        );
        let reply = self
            .client
            .get(url, &path, forwarded(headers), TIMEOUT)
            .await
            .map_err(|error| (error.status(), format!("recommendation: {error}")))?;
        if !reply.status.is_success() {
            let error = format!(
                "recommendation answered {}: {}",
                reply.status,
                shorten(&reply.text(), 500)
            );
            // A redirect or the like is an answer nobody asked for.
            let status = if reply.status.as_u16() >= 400 {
                reply.status
            } else {
                StatusCode::BAD_GATEWAY
            };
            return Err((status, error));
        }
        serde_json::from_slice(&reply.body).map(Some).map_err(|error| {
            (
                StatusCode::BAD_GATEWAY,
                format!("recommendation answered nonsense: {error}"),
            )
        })
    }
}
