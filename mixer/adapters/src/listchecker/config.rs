//! What is on the list, and where more of it is.

use std::time::Duration;

use mesh_api::adapter::list::config::Params;
use mixer_adapter::ConfigErrors;

use super::entries::{Entries, EntryType};
use crate::dial::Address;

/// Providers are not asked more often.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// What a handler is made of.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) provider: Option<Provider>,
    pub(super) overrides: Entries,
    pub(super) caching_interval: Duration,
}

/// Where the list is.
#[derive(Clone, Debug)]
pub(super) struct Provider {
    pub(super) url: Address,
    pub(super) entry_type: EntryType,
    pub(super) refresh_interval: Duration,
    /// How long a list counts that cannot be fetched again.
    pub(super) ttl: Duration,
}

pub(super) fn defaults() -> Params {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    Params {
        refresh_interval: seconds(60),
        ttl: seconds(300),
        caching_interval: seconds(300),
        caching_use_count: 10_000,
        ..Params::default()
    }
}

pub(super) fn read(params: &Params, errors: &mut ConfigErrors) -> Settings {
    let entry_type = params.entry_type();
    let mut overrides = Vec::new();
    for (number, entry) in params.overrides.iter().enumerate() {
        match Entries::new(entry_type, [entry.as_str()]) {
            Ok(_) => overrides.push(entry.as_str()),
            Err(reason) => errors.push(format!("overrides[{number}]"), reason),
        }
    }
    let overrides = Entries::new(entry_type, overrides).unwrap_or_else(|reason| {
        errors.push("overrides", reason);
        Entries::default()
    });
    let refresh_interval = errors.duration("refreshInterval", params.refresh_interval.as_ref());
    let ttl = errors.duration("ttl", params.ttl.as_ref());
    let provider = (!params.provider_url.is_empty()).then(|| {
        if refresh_interval < SHORTEST_REFRESH {
            errors.push("refreshInterval", "must be at least 1s");
        }
        if ttl < refresh_interval {
            errors.push("ttl", "must not be shorter than refreshInterval");
        }
        let url = Address::parse(&params.provider_url).unwrap_or_else(|reason| {
            errors.push("providerUrl", reason);
            Address::default()
        });
        Provider {
            url,
            entry_type,
            refresh_interval,
            ttl,
        }
    });
    Settings {
        provider,
        overrides,
        caching_interval: errors.duration("cachingInterval", params.caching_interval.as_ref()),
    }
}
