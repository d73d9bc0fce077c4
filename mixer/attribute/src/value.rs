//! Types and values of attributes (`spec 02` §3.2).

use std::fmt;
use std::net::IpAddr;

use mesh_api::istio::policy::v1beta1::ValueType as Wire;
use prost_types::{Duration, Timestamp};

use crate::text::{StringMap, Text};

/// Seconds since 1970 of the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Seconds of the longest span of time, about 10,000 years.
const SPAN: i64 = 315_576_000_000;

const SECOND: i32 = 1_000_000_000;

/// The type that a manifest gives an attribute, and that an expression has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueType {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Int64,
    /// A number of 64 bits.
    Double,
    /// True or false.
    Bool,
    /// A point in time.
    Timestamp,
    /// An address, IPv4 or IPv6.
    IpAddress,
    /// Text that is an address of e-mail.
    EmailAddress,
    /// Text that is a URI.
    Uri,
    /// Text that is a name of DNS.
    DnsName,
    /// A span of time.
    Duration,
    /// Text by text.
    StringMap,
}

/// A value. [`ValueType::EmailAddress`], [`ValueType::Uri`] and [`ValueType::DnsName`] are strings, too.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text of whatever kind.
    String(Text<'a>),
    /// A whole number.
    Int64(i64),
    /// A number.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// A point in time.
    Timestamp(Timestamp),
    /// A span of time.
    Duration(Duration),
    /// An address.
    IpAddress(IpAddr),
    /// Text by text.
    StringMap(StringMap<'a>),
}

/// How long a span of time is that somebody sent, at most 10,000 years; `None` if it is negative. Of any numbers, for which
/// the conversion of `prost-types` would compute what no number can hold.
#[must_use]
pub fn span(sent: &Duration) -> Option<std::time::Duration> {
    let nanos = i128::from(sent.seconds) * i128::from(SECOND) + i128::from(sent.nanos);
    let nanos = nanos.min(i128::from(SPAN) * i128::from(SECOND));
    let seconds = u64::try_from(nanos.div_euclid(i128::from(SECOND))).ok()?;
    let nanos = u32::try_from(nanos.rem_euclid(i128::from(SECOND))).ok()?;
    Some(std::time::Duration::new(seconds, nanos))
}

/// A duration in nanoseconds; the longest there is where it does not fit.
#[must_use]
pub fn nanos(duration: &Duration) -> i64 {
    let nanos = i128::from(duration.seconds) * i128::from(SECOND) + i128::from(duration.nanos);
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

// === impl ValueType ===

impl ValueType {
    /// What `value` of the enumeration in manifests stands for; `None` for the unspecified type and for numbers that
    /// it does not have.
    #[must_use]
    pub fn from_wire(value: i32) -> Option<Self> {
        Some(match Wire::try_from(value).ok()? {
            Wire::Unspecified => return None,
            Wire::String => Self::String,
            Wire::Int64 => Self::Int64,
            Wire::Double => Self::Double,
            Wire::Bool => Self::Bool,
            Wire::Timestamp => Self::Timestamp,
            Wire::IpAddress => Self::IpAddress,
            Wire::EmailAddress => Self::EmailAddress,
            Wire::Uri => Self::Uri,
            Wire::DnsName => Self::DnsName,
            Wire::Duration => Self::Duration,
            Wire::StringMap => Self::StringMap,
        })
    }

    /// Its value in the enumeration of manifests.
    #[must_use]
    pub fn to_wire(self) -> Wire {
        match self {
            Self::String => Wire::String,
            Self::Int64 => Wire::Int64,
            Self::Double => Wire::Double,
            Self::Bool => Wire::Bool,
            Self::Timestamp => Wire::Timestamp,
            Self::IpAddress => Wire::IpAddress,
            Self::EmailAddress => Wire::EmailAddress,
            Self::Uri => Wire::Uri,
            Self::DnsName => Wire::DnsName,
            Self::Duration => Wire::Duration,
            Self::StringMap => Wire::StringMap,
        }
    }

    /// Whether a value is of this type.
    #[must_use]
    pub fn holds(self, value: &Value<'_>) -> bool {
        match value {
            Value::String(_) => matches!(
                self,
                Self::String | Self::EmailAddress | Self::Uri | Self::DnsName
            ),
            Value::Int64(_) => self == Self::Int64,
            Value::Double(_) => self == Self::Double,
            Value::Bool(_) => self == Self::Bool,
            Value::Timestamp(_) => self == Self::Timestamp,
            Value::Duration(_) => self == Self::Duration,
            Value::IpAddress(_) => self == Self::IpAddress,
            Value::StringMap(_) => self == Self::StringMap,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_wire().as_str_name())
    }
}

// === impl Value ===

impl Value<'_> {
    /// A point in time that somebody sent; `None` outside of the years 1 to 9999, and where nanoseconds are none.
    #[must_use]
    pub fn timestamp(seconds: i64, nanos: i32) -> Option<Self> {
        let is_one = SECONDS.contains(&seconds) && (0..SECOND).contains(&nanos);
        is_one.then_some(Self::Timestamp(Timestamp { seconds, nanos }))
    }

    /// A span of time that somebody sent; `None` if it is longer than 10,000 years, and where nanoseconds are none or have
    /// another sign.
    #[must_use]
    pub fn duration(seconds: i64, nanos: i32) -> Option<Self> {
        let agree = nanos == 0 || seconds == 0 || (seconds < 0) == (nanos < 0);
        let is_one = agree && (-SPAN..=SPAN).contains(&seconds) && (1 - SECOND..SECOND).contains(&nanos);
        is_one.then_some(Self::Duration(Duration { seconds, nanos }))
    }

    /// An address that somebody sent as 4 or 16 bytes. One of IPv4 in the form of IPv6 is one of IPv4, so that all of them
    /// compare.
    #[must_use]
    pub fn address(bytes: &[u8]) -> Option<Self> {
        if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
            return Some(Self::IpAddress(bytes.into()));
        }
        let bytes = <[u8; 16]>::try_from(bytes).ok()?;
        Some(Self::IpAddress(IpAddr::from(bytes).to_canonical()))
    }

    /// The same value without the loan.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::String(text) => Value::String(text.into_owned()),
            Self::Int64(value) => Value::Int64(value),
            Self::Double(value) => Value::Double(value),
            Self::Bool(value) => Value::Bool(value),
            Self::Timestamp(value) => Value::Timestamp(value),
            Self::Duration(value) => Value::Duration(value),
            Self::IpAddress(value) => Value::IpAddress(value),
            Self::StringMap(map) => Value::StringMap(map.into_owned()),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found at random: numbers that have no opposite.
    #[test]
    fn spans_of_any_numbers_are_long_or_none() {
        let of = |seconds, nanos| span(&Duration { seconds, nanos });
        for (seconds, nanos) in [
            (i64::MIN, 0),
            (0, i32::MIN),
            (i64::MIN, i32::MIN),
            (0, -1),
            (1, -1_000_000_001),
        ] {
            assert_eq!(of(seconds, nanos), None, "{seconds} {nanos}");
        }
        assert_eq!(of(1, -1), Some(std::time::Duration::new(0, 999_999_999)));
        assert_eq!(of(0, i32::MAX), Some(std::time::Duration::new(2, 147_483_647)));
        let longest = std::time::Duration::from_secs(315_576_000_000);
        assert_eq!(of(i64::MAX, i32::MAX), Some(longest));
    }
}
