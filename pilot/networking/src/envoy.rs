//! Small pieces of Envoy messages that several resource types need.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::Any;
use mesh_api::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, Pipe, SocketAddress, address,
    config_source, socket_address,
};
use prost_types::{Duration, ListValue, Struct, Value, value};

/// Where Envoy gets EDS and RDS resources: on the stream that it has already.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            AggregatedConfigSource {},
        )),
        ..ConfigSource::default()
    }
}

/// An address and a port; `host` may be a name where Envoy resolves names.
pub(crate) fn socket_address(host: impl Into<String>, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host.into(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

/// A Unix socket.
pub(crate) fn unix_socket(path: &str) -> Address {
    Address {
        address: Some(address::Address::Pipe(Pipe {
            path: path.to_owned(),
            ..Pipe::default()
        })),
    }
}

/// The loopback address of the family of `ip`: where a proxy reaches its own workload.
pub(crate) fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

/// Metadata under `istio` (P3.2).
pub(crate) fn istio_metadata<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Metadata {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
    let fields = fields.collect();
    Metadata {
        filter_metadata: BTreeMap::from([("istio".to_owned(), Struct { fields })]),
        typed_filter_metadata: BTreeMap::<String, Any>::new(),
    }
}

/// A text in metadata.
pub(crate) fn text(text: impl Into<String>) -> Value {
    Value {
        kind: Some(value::Kind::StringValue(text.into())),
    }
}

/// A list in metadata.
pub(crate) fn list(values: Vec<Value>) -> Value {
    Value {
        kind: Some(value::Kind::ListValue(ListValue { values })),
    }
}

/// A duration that Envoy accepts where it wants more than none; anything else counts as not given.
///
/// Validation refuses such values long before, but a rejected resource would keep all others from the proxy (`R-N-13`).
pub(crate) fn positive(duration: Option<&Duration>) -> Option<Duration> {
    /// A century. Envoy counts in signed 64-bit nanoseconds and rejects what does not fit.
    const LONGEST: i64 = 100 * 365 * 24 * 3600;

    let duration = *duration?;
    let valid = duration.seconds >= 0 && (0..1_000_000_000).contains(&duration.nanos);
    (valid && (duration.seconds > 0 || duration.nanos > 0)).then(|| Duration {
        seconds: duration.seconds.min(LONGEST),
        nanos: duration.nanos,
    })
}

/// A duration in seconds.
pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// A number where 0 and less mean that it is not set.
pub(crate) fn limit(value: i32) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| *value > 0)
}
