//! Which quotas there are.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::adapter::memquota::config::Params;
use mesh_api::adapter::memquota::config::params::Quota;
use mixer_adapter::{ConfigErrors, Inferred};

use super::counters::Limit;
use crate::quota::{Limits, Override, Quotas, check_names};

/// What a handler is made of.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) quotas: Quotas<Limit>,
    pub(super) min_deduplication: Duration,
}

pub(super) fn defaults() -> Params {
    Params {
        min_deduplication_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..Params::default()
    }
}

/// Settings of the handler with this full name.
pub(super) fn read(
    params: &Params,
    inferred: &Inferred,
    handler: &str,
    errors: &mut ConfigErrors,
) -> Settings {
    check_names(
        params.quotas.iter().map(|quota| quota.name.as_str()),
        inferred,
        errors,
    );
    let given = params.min_deduplication_duration.as_ref();
    let min_deduplication = errors.duration("minDeduplicationDuration", given);
    if given == Some(&prost_types::Duration::default()) {
        errors.push("minDeduplicationDuration", "must be greater than 0");
    }
    let mut quotas = BTreeMap::new();
    for (number, quota) in params.quotas.iter().enumerate() {
        quotas.insert(
            quota.name.clone(),
            limits(quota, &format!("quotas[{number}]"), errors),
        );
    }
    Settings {
        quotas: Quotas::new(handler, quotas),
        min_deduplication,
    }
}

fn limits(quota: &Quota, path: &str, errors: &mut ConfigErrors) -> Limits<Limit> {
    let default = limit(quota.max_amount, quota.valid_duration.as_ref(), path, errors);
    let overrides = quota.overrides.iter().enumerate().map(|(number, other)| {
        let path = format!("{path}.overrides[{number}]");
        Override {
            dimensions: other.dimensions.clone(),
            limit: limit(other.max_amount, other.valid_duration.as_ref(), &path, errors),
        }
    });
    Limits {
        default,
        overrides: overrides.collect(),
    }
}

fn limit(
    max_amount: i64,
    valid_duration: Option<&prost_types::Duration>,
    path: &str,
    errors: &mut ConfigErrors,
) -> Limit {
    if max_amount < 0 {
        errors.push(format!("{path}.maxAmount"), "must not be negative");
    }
    Limit {
        max_amount,
        valid_duration: errors.duration(&format!("{path}.validDuration"), valid_duration),
    }
}
