//! `recommendation`: what to wear and what to do in this weather.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use clap::Args;
use serde::Deserialize;

use super::Recommendation;
use super::data::Condition;
use crate::sample::identity::Identity;
use crate::sample::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct RecommendationArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 3005)]
    pub(in crate::sample) port: u16,
}

#[derive(Deserialize)]
struct Weather {
    #[serde(default = "sunny")]
    condition: Condition,
    #[serde(default = "mild")]
    temperature: i8,
}

fn sunny() -> Condition {
    Condition::Sunny
}

fn mild() -> i8 {
    20
}

// === impl RecommendationArgs ===

impl RecommendationArgs {
    pub(in crate::sample) fn router(self, identity: &Identity) -> Router {
        let routes = Router::new()
            .route("/activity", get(activity))
            .with_state(Arc::new(identity.clone()));
        server::finish(routes, identity)
    }
}

async fn activity(
    State(identity): State<Arc<Identity>>,
    Query(Weather {
        condition,
        temperature,
    }): Query<Weather>,
) -> Json<Recommendation> {
    let clothing = match temperature {
        ..5 => "Winter coat, hat and gloves",
        5..15 => "A warm jacket",
        15..25 => "A light jacket or a sweater",
        25.. => "Light clothes",
    };
    let clothing = match condition {
        Condition::Rain => format!("{clothing}, and an umbrella"),
        Condition::Storm => format!("{clothing}, and a raincoat"),
        Condition::Sunny if temperature >= 20 => format!("{clothing}, and sunglasses"),
        Condition::Sunny | Condition::Cloudy | Condition::Snow => clothing.to_owned(),
    };
    let activity = match condition {
        Condition::Sunny => "A long walk or a bicycle tour",
        Condition::Cloudy => "Running: neither sun nor rain is in the way",
        Condition::Rain => "A museum, or a swim where it is wet anyway",
        Condition::Storm => "Stay inside; the gym is open",
        Condition::Snow => "Skiing, or a snowman",
    };
    Json(Recommendation {
        clothing,
        activity: activity.to_owned(),
        version: identity.version.clone(),
        pod: identity.pod.clone(),
    })
}
