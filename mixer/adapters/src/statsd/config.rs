//! Parameters as metrics and where they go.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::adapter::statsd::config::Params;
use mesh_api::adapter::statsd::config::params::metric_info::Type as TypeParam;
use mesh_api::metric::Type as MetricType;
use mesh_runtime::args::HostPort;
use mixer_adapter::{ConfigErrors, Inferred};
use prost::Message as _;

use super::name::{NameTemplate, write_name};

/// How long values wait unless it is said.
const FLUSH: Duration = Duration::from_millis(300);

/// Size of a packet unless it is said: one that every network carries whole.
const PACKET: usize = 512;

/// Largest packet of UDP.
const LARGEST: usize = 65_507;

/// Shortest period: a task that never sleeps helps nobody.
const SHORTEST: Duration = Duration::from_millis(1);

/// A handler's parameters.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) address: HostPort,
    /// With its dot.
    pub(super) prefix: String,
    pub(super) flush: Duration,
    pub(super) packet: usize,
    pub(super) rate: f32,
    /// By full name of the instance.
    pub(super) metrics: BTreeMap<String, MetricInfo>,
}

/// A metric.
#[derive(Clone, Debug)]
pub(super) struct MetricInfo {
    pub(super) kind: Kind,
    pub(super) name: NameTemplate,
}

/// What statsd does with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Distribution,
}

/// Parameters that nobody gave.
pub(super) fn defaults() -> Params {
    Params {
        address: "localhost:8125".to_owned(),
        flush_duration: prost_types::Duration::try_from(FLUSH).ok(),
        flush_bytes: 512,
        sampling_rate: 1.0,
        ..Params::default()
    }
}

// === impl Config ===

impl Config {
    /// Reads parameters; all that is wrong with them is told.
    pub(super) fn new(params: &Params) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let address = params.address.parse::<HostPort>().map_err(|error| {
            errors.push("address", error.to_string());
        });
        if address
            .as_ref()
            .is_ok_and(|address| address.host.is_none() || address.port == 0)
        {
            errors.push("address", "it needs a host and a port");
        }
        // 0 is the default, as with the client of 1.1.
        let flush = match errors.duration("flushDuration", params.flush_duration.as_ref()) {
            Duration::ZERO => FLUSH,
            flush => flush.max(SHORTEST),
        };
        if params.sampling_rate.is_nan() || params.sampling_rate < 0.0 {
            errors.push("samplingRate", "it is not 0 or more");
        }
        let mut metrics = BTreeMap::new();
        for (instance, info) in &params.metrics {
            let kind = match info.r#type() {
                TypeParam::Unknown => {
                    let field = format!("metrics[{instance}].type");
                    errors.push(field, "it must be one of COUNTER, GAUGE, DISTRIBUTION");
                    continue;
                }
                TypeParam::Counter => Kind::Counter,
                TypeParam::Gauge => Kind::Gauge,
                TypeParam::Distribution => Kind::Distribution,
            };
            let template = match info.name_template.as_str() {
                "" => instance,
                template => template,
            };
            match NameTemplate::parse(template) {
                Ok(name) => drop(metrics.insert(instance.clone(), MetricInfo { kind, name })),
                Err(reason) => errors.push(format!("metrics[{instance}].nameTemplate"), reason),
            }
        }
        let packet = usize::try_from(params.flush_bytes).unwrap_or_default();
        let mut prefix = String::new();
        write_name(&mut prefix, &params.prefix);
        if !prefix.is_empty() {
            prefix.push('.');
        }
        match address {
            Ok(address) if errors.is_empty() => Ok(Self {
                address,
                prefix,
                flush,
                packet: if packet == 0 { PACKET } else { packet.min(LARGEST) },
                rate: params.sampling_rate,
                metrics,
            }),
            _ => Err(errors),
        }
    }

    /// Leaves out metrics whose name needs dimensions that their instance does not have.
    pub(super) fn fit(&mut self, inferred: &Inferred) {
        self.metrics.retain(|instance, info| {
            let Some((_, message)) = inferred.get(instance) else {
                return true;
            };
            let Ok(known) = MetricType::decode(message.value.clone()) else {
                return true;
            };
            let missing = info
                .name
                .dimensions()
                .find(|name| !known.dimensions.contains_key(*name));
            if let Some(dimension) = missing {
                tracing::warn!(
                    instance,
                    dimension,
                    "the instance has no such dimension, its metric is not sent"
                );
            }
            missing.is_none()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `spec 02` §7.3.
    #[test]
    fn m30_what_is_0_is_the_default() {
        let zero = Params {
            flush_duration: Some(prost_types::Duration::default()),
            flush_bytes: 0,
            ..defaults()
        };
        for params in [defaults(), zero] {
            let config = Config::new(&params).unwrap();
            assert_eq!((config.flush, config.packet), (Duration::from_millis(300), 512));
        }
    }
}
