//! Values of single flags, checked.

use std::path::PathBuf;
use std::time::Duration;

use mesh_runtime::args::{GoDuration, HostPort};

use super::{ConfigError, Tracer};

/// Zipkin wins over Datadog and LightStep, as their order in a mesh configuration is.
pub(super) fn tracer(
    zipkin: Option<HostPort>,
    datadog: Option<HostPort>,
    lightstep: Option<HostPort>,
    access_token: String,
    tls: Option<PathBuf>,
) -> Option<Tracer> {
    let lightstep = lightstep.map(|address| Tracer::LightStep {
        address,
        access_token,
        tls,
    });
    zipkin
        .map(Tracer::Zipkin)
        .or(lightstep)
        .or(datadog.map(Tracer::Datadog))
}

/// Both in whole seconds, as Envoy takes them; the old process must outlive its drain.
pub(super) fn restart_times(drain: GoDuration, parent: GoDuration) -> Result<(u64, u64), ConfigError> {
    let drain_seconds = whole_seconds("--drainDuration", drain)?;
    let parent_seconds = whole_seconds("--parentShutdownDuration", parent)?;
    if parent_seconds <= drain_seconds {
        return Err(invalid(
            "--parentShutdownDuration",
            format!("{parent} is not longer than --drainDuration {drain}"),
        ));
    }
    Ok((drain_seconds, parent_seconds))
}

fn whole_seconds(origin: &'static str, duration: GoDuration) -> Result<u64, ConfigError> {
    match duration.finite() {
        Some(finite) if finite.as_secs() > 0 && finite.subsec_nanos() == 0 => Ok(finite.as_secs()),
        _ => Err(invalid(
            origin,
            format!("{duration} is not a number of whole seconds"),
        )),
    }
}

pub(super) fn positive(origin: &'static str, duration: GoDuration) -> Result<Duration, ConfigError> {
    match duration.finite() {
        Some(finite) if finite >= Duration::from_millis(1) => Ok(finite),
        _ => Err(invalid(origin, format!("{duration} is not a time from 1ms on"))),
    }
}

pub(super) fn log_level(level: String) -> Result<String, ConfigError> {
    match level.as_str() {
        "trace" | "debug" | "info" | "warning" | "warn" | "error" | "critical" | "off" => Ok(level),
        "" => Ok("warning".to_owned()),
        _ => Err(invalid(
            "--proxyLogLevel",
            format!("{level:?} is not a level of Envoy"),
        )),
    }
}

pub(super) fn ports(origin: &'static str, lists: &[String]) -> Result<Vec<u16>, ConfigError> {
    let mut ports = Vec::new();
    for item in lists
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        match item.parse() {
            Ok(0) | Err(_) => return Err(invalid(origin, format!("{item:?} is not a port"))),
            Ok(port) if ports.contains(&port) => {}
            Ok(port) => ports.push(port),
        }
    }
    Ok(ports)
}

pub(super) fn optional_address(origin: &'static str, text: &str) -> Result<Option<HostPort>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text
        .parse()
        .map_err(|error| invalid(origin, format!("{error}")))?;
    with_host(origin, address).map(Some)
}

pub(super) fn with_host(origin: &'static str, address: HostPort) -> Result<HostPort, ConfigError> {
    match (&address.host, address.port) {
        (Some(_), 1..) => Ok(address),
        _ => Err(invalid(origin, format!("\"{address}\" is not a host and a port"))),
    }
}

pub(super) fn invalid(origin: &'static str, reason: String) -> ConfigError {
    ConfigError { origin, reason }
}
