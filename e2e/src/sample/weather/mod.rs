//! The weather application of the book: a page, an ad, a forecast and a recommendation (spec 05 §9.0).
//!
//! ```text
//! frontend ──> advertisement          GET /ad
//!          └─> forecast               GET /weather?city=…
//!                └─(v2)─> recommendation   GET /activity?condition=…&temperature=…
//! ```
//! Nothing here is real weather: the data is fixed.

mod advertisement;
mod data;
mod forecast;
mod frontend;
mod page;
mod recommendation;
#[cfg(test)]
mod tests;

pub(super) use advertisement::AdvertisementArgs;
pub(super) use forecast::ForecastArgs;
pub(super) use frontend::FrontendArgs;
pub(super) use recommendation::RecommendationArgs;

use serde::{Deserialize, Serialize};

use self::data::Condition;

/// What `forecast` answers.
#[derive(Debug, Serialize, Deserialize)]
struct Forecast {
    city: String,
    condition: Condition,
    /// Degrees Celsius.
    temperature: i8,
    /// Percent.
    humidity: u8,
    wind: String,
    days: Vec<Day>,
    version: String,
    pod: String,
    /// Only from version v2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recommendation: Option<Recommendation>,
}

/// One of the next days.
#[derive(Debug, Serialize, Deserialize)]
struct Day {
    day: String,
    condition: Condition,
    high: i8,
    low: i8,
}

/// What `recommendation` answers.
#[derive(Debug, Serialize, Deserialize)]
struct Recommendation {
    clothing: String,
    activity: String,
    version: String,
    pod: String,
}
