//! The fixed weather of a few cities.

use serde::{Deserialize, Serialize};

/// What the sky does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    Sunny,
    Cloudy,
    Rain,
    Storm,
    Snow,
}

/// The weather of one city.
#[derive(Debug)]
pub(super) struct City {
    pub(super) name: &'static str,
    pub(super) condition: Condition,
    pub(super) temperature: i8,
    pub(super) humidity: u8,
    pub(super) wind: &'static str,
    /// Condition, high and low of the next three days.
    pub(super) days: [(Condition, i8, i8); 3],
}

/// The cities of the selection; the first is shown when none is asked for.
pub(super) const CITIES: [City; 6] = [
    City {
        name: "Hangzhou",
        condition: Condition::Rain,
        temperature: 22,
        humidity: 84,
        wind: "east 3",
        days: [
            (Condition::Rain, 24, 18),
            (Condition::Cloudy, 26, 19),
            (Condition::Sunny, 29, 20),
        ],
    },
    City {
        name: "Beijing",
        condition: Condition::Sunny,
        temperature: 27,
        humidity: 31,
        wind: "north-west 4",
        days: [
            (Condition::Sunny, 29, 16),
            (Condition::Sunny, 30, 17),
            (Condition::Cloudy, 25, 15),
        ],
    },
    City {
        name: "Shenzhen",
        condition: Condition::Storm,
        temperature: 30,
        humidity: 88,
        wind: "south 6",
        days: [
            (Condition::Storm, 31, 26),
            (Condition::Rain, 30, 25),
            (Condition::Cloudy, 32, 26),
        ],
    },
    City {
        name: "Harbin",
        condition: Condition::Snow,
        temperature: -12,
        humidity: 62,
        wind: "north 3",
        days: [
            (Condition::Snow, -9, -19),
            (Condition::Cloudy, -8, -17),
            (Condition::Sunny, -6, -18),
        ],
    },
    City {
        name: "London",
        condition: Condition::Cloudy,
        temperature: 14,
        humidity: 76,
        wind: "west 4",
        days: [
            (Condition::Rain, 15, 9),
            (Condition::Rain, 13, 8),
            (Condition::Cloudy, 16, 9),
        ],
    },
    City {
        name: "Lisbon",
        condition: Condition::Sunny,
        temperature: 24,
        humidity: 48,
        wind: "north 2",
        days: [
            (Condition::Sunny, 26, 17),
            (Condition::Sunny, 27, 18),
            (Condition::Cloudy, 23, 16),
        ],
    },
];

/// The city of this name, in any case.
pub(super) fn city(name: &str) -> Option<&'static City> {
    CITIES
        .iter()
        .find(|city| city.name.eq_ignore_ascii_case(name.trim()))
}

// === impl Condition ===

impl Condition {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sunny => "sunny",
            Self::Cloudy => "cloudy",
            Self::Rain => "rain",
            Self::Storm => "storm",
            Self::Snow => "snow",
        }
    }
}
