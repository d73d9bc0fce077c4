//! Parameters as what is sent where, and when.

use std::time::Duration;

use mesh_api::adapter::fluentd::config::Params;
use mesh_runtime::args::HostPort;
use mixer_adapter::ConfigErrors;

/// Entries that may wait unless it is said.
const WAITING: i64 = 1024;

/// Bytes that are sent together unless it is said.
const BATCH: i64 = 8 * 1024 * 1024;

/// How long entries wait for others, and how long sending may take, unless it is said.
const MINUTE: Duration = Duration::from_secs(60);

/// A handler's parameters.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) address: HostPort,
    /// Whether durations are whole milliseconds.
    pub(super) integer_duration: bool,
    pub(super) waiting: usize,
    pub(super) batch: usize,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// Parameters that nobody gave.
pub(super) fn defaults() -> Params {
    let minute = prost_types::Duration::try_from(MINUTE).ok();
    Params {
        address: "localhost:24224".to_owned(),
        integer_duration: false,
        instance_buffer_size: WAITING,
        max_batch_size_bytes: BATCH,
        push_interval_duration: minute,
        push_timeout_duration: minute,
    }
}

// === impl Config ===

impl Config {
    /// Reads parameters; all that is wrong with them is told. 0 is the default, as in 1.1.
    pub(super) fn new(params: &Params) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let address = params.address.parse::<HostPort>().unwrap_or_else(|error| {
            errors.push("address", error.to_string());
            HostPort::any(1)
        });
        if errors.is_empty() && (address.host.is_none() || address.port == 0) {
            errors.push("address", "it needs a host and a port");
        }
        let mut size = |field: &str, size: i64, default: i64| {
            let size = if size == 0 { default } else { size };
            usize::try_from(size).unwrap_or_else(|_| {
                errors.push(field, "it is negative");
                0
            })
        };
        let waiting = size("instanceBufferSize", params.instance_buffer_size, WAITING);
        let batch = size("maxBatchSizeBytes", params.max_batch_size_bytes, BATCH);
        let mut time = |field: &str, time: Option<&prost_types::Duration>| match errors.duration(field, time)
        {
            Duration::ZERO => MINUTE,
            time => time,
        };
        let interval = time("pushIntervalDuration", params.push_interval_duration.as_ref());
        let timeout = time("pushTimeoutDuration", params.push_timeout_duration.as_ref());
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            address,
            integer_duration: params.integer_duration,
            waiting,
            batch,
            interval,
            timeout,
        })
    }
}
