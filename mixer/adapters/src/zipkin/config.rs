//! Parameters as what is sent where.

use mesh_api::adapter::zipkin::config::Params;
use mixer_adapter::ConfigErrors;

use super::format::Version;
use crate::dial::Address;

/// A handler's parameters.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) url: Address,
    pub(super) version: Version,
    pub(super) sampler: Sampler,
}

/// Which traces are sent: all spans of a trace or none, whoever reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampler {
    /// Traces whose number is below it are sent.
    bound: u64,
}

// === impl Config ===

impl Config {
    /// Reads parameters; all that is wrong with them is told.
    pub(super) fn new(params: &Params) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let url = if params.url.is_empty() {
            Err("it is required".to_owned())
        } else {
            Address::parse(&params.url)
        };
        let url = url.unwrap_or_else(|reason| {
            errors.push("url", reason);
            Address::default()
        });
        if !(0.0..=1.0).contains(&params.sample_probability) {
            errors.push("sampleProbability", "it is not within 0 and 1");
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            version: Version::of(url.path()),
            url,
            sampler: Sampler::new(params.sample_probability),
        })
    }
}

// === impl Sampler ===

impl Sampler {
    fn new(probability: f64) -> Self {
        // 1.0 is more than any number.
        let bound = probability * (1_u64 << 63) as f64;
        Self { bound: bound as u64 }
    }

    /// Whether the trace is sent. The lower half of an id is what is random, whether it is short or long.
    pub(super) fn takes(self, trace: u128) -> bool {
        let number = (trace as u64) >> 1;
        number < self.bound
    }
}
