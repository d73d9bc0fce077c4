//! Which quotas there are, and where they are counted.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::adapter::redisquota::config::Params;
use mesh_api::adapter::redisquota::config::params::{Quota, QuotaAlgorithm};
use mesh_runtime::args::HostPort;
use mixer_adapter::{ConfigErrors, Inferred};

use super::script::{Algorithm, LARGEST};
use crate::quota::{Limits, Override, Quotas, check_names};

/// Where nobody says otherwise.
const SERVER: &str = "localhost:6379";
const POOL_SIZE: i64 = 10;

/// More connections than these are a mistake.
const MAX_POOL_SIZE: i64 = 1000;

/// What a handler is made of.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) quotas: Quotas<Limit>,
    pub(super) server: HostPort,
    pub(super) pool_size: usize,
}

/// How much there is, and how it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) max_amount: i64,
    pub(super) valid_duration: Duration,
    pub(super) algorithm: Algorithm,
}

pub(super) fn defaults() -> Params {
    Params {
        redis_server_url: SERVER.to_owned(),
        connection_pool_size: POOL_SIZE,
        ..Params::default()
    }
}

/// Settings of the handler with this full name; `None` when something is wrong.
pub(super) fn read(
    params: &Params,
    inferred: &Inferred,
    handler: &str,
    errors: &mut ConfigErrors,
) -> Option<Settings> {
    if params.quotas.is_empty() {
        errors.push("quotas", "at least one must be given");
    }
    check_names(
        params.quotas.iter().map(|quota| quota.name.as_str()),
        inferred,
        errors,
    );
    if !(0..=MAX_POOL_SIZE).contains(&params.connection_pool_size) {
        errors.push(
            "connectionPoolSize",
            format!("must be between 0 and {MAX_POOL_SIZE}"),
        );
    }
    let pool_size = match params.connection_pool_size {
        0 => POOL_SIZE,
        size => size,
    };
    let server = match params.redis_server_url.parse::<HostPort>() {
        Ok(server) if server.host.is_some() => Some(server),
        Ok(_) => {
            errors.push("redisServerUrl", "the host is missing");
            None
        }
        Err(error) => {
            errors.push("redisServerUrl", error.to_string());
            None
        }
    };
    let mut quotas = BTreeMap::new();
    for (number, quota) in params.quotas.iter().enumerate() {
        quotas.insert(
            quota.name.clone(),
            limits(quota, &format!("quotas[{number}]"), errors),
        );
    }
    Some(Settings {
        quotas: Quotas::new(handler, quotas),
        server: server?,
        pool_size: usize::try_from(pool_size).ok()?,
    })
}

fn limits(quota: &Quota, path: &str, errors: &mut ConfigErrors) -> Limits<Limit> {
    amount(quota.max_amount, 0, path, errors);
    let valid_duration = positive(&format!("{path}.validDuration"), quota.valid_duration, errors);
    let algorithm = match quota.rate_limit_algorithm() {
        QuotaAlgorithm::FixedWindow => Algorithm::FixedWindow,
        QuotaAlgorithm::RollingWindow => {
            let field = format!("{path}.bucketDuration");
            let bucket = positive(&field, quota.bucket_duration, errors);
            if bucket >= valid_duration && !valid_duration.is_zero() {
                errors.push(field, "must be smaller than validDuration");
            }
            Algorithm::RollingWindow { bucket }
        }
    };
    let limit = |max_amount| Limit {
        max_amount,
        valid_duration,
        algorithm,
    };
    let mut overrides = Vec::new();
    for (number, other) in quota.overrides.iter().enumerate() {
        let path = format!("{path}.overrides[{number}]");
        if other.dimensions.is_empty() {
            errors.push(format!("{path}.dimensions"), "at least one must be given");
        }
        amount(other.max_amount, 1, &path, errors);
        overrides.push(Override {
            dimensions: other.dimensions.clone(),
            limit: limit(other.max_amount),
        });
    }
    Limits {
        default: limit(quota.max_amount),
        overrides,
    }
}

fn amount(max_amount: i64, least: i64, path: &str, errors: &mut ConfigErrors) {
    if !(least..=LARGEST).contains(&max_amount) {
        let reason = format!("must be between {least} and {LARGEST}, which is what Redis counts exactly");
        errors.push(format!("{path}.maxAmount"), reason);
    }
}

/// A duration of at least a microsecond, which is how exactly Redis tells the time.
fn positive(field: &str, given: Option<prost_types::Duration>, errors: &mut ConfigErrors) -> Duration {
    let before = errors.0.len();
    let duration = errors.duration(field, given.as_ref());
    if errors.0.len() == before && duration < Duration::from_micros(1) {
        errors.push(field, "must be greater than 0");
    }
    duration
}
