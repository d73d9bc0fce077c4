//! Text to durations, addresses and points in time, as Go reads them.

use std::net::IpAddr;

use prost_types::{Duration, Timestamp};

const NANOS: i64 = 1_000_000_000;

/// The duration that a text is, such as `1.5s` or `-1m`, if it is one (`spec 02` §4.1).
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) if rest.starts_with(['+', '-']) => return None,
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = mesh_config::decode::duration(rest)?;
    // Go's durations are nanoseconds in 64 bits.
    let nanos = i64::try_from(value.as_nanos()).ok()?;
    Some(nanos_to_duration(if negative { -nanos } else { nanos }))
}

/// A duration of so many nanoseconds.
pub(crate) fn nanos_to_duration(nanos: i64) -> Duration {
    Duration {
        seconds: nanos / NANOS,
        nanos: i32::try_from(nanos % NANOS).unwrap_or_default(),
    }
}

/// The address that a text is, if it is one. One of IPv4 in the form of IPv6 is one of IPv4, as it is in requests.
#[must_use]
pub fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The point in time that a text is, in RFC 3339, if it is one.
#[must_use]
pub fn timestamp(text: &str) -> Option<Timestamp> {
    if !has_rfc_3339_shape(text.as_bytes()) {
        return None;
    }
    let nanos = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    let second = i128::from(NANOS);
    Some(Timestamp {
        seconds: i64::try_from(nanos.div_euclid(second)).ok()?,
        nanos: i32::try_from(nanos.rem_euclid(second)).ok()?,
    })
}

/// Whether a text is written as RFC 3339 demands. The parser takes more than that, such as blanks and names of zones.
fn has_rfc_3339_shape(text: &[u8]) -> bool {
    let like = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(letter, shape)| match shape {
                b'0' => letter.is_ascii_digit(),
                _ => letter == shape,
            })
    };
    let Some((time, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let fraction = match rest.strip_prefix(b".") {
        Some(digits) => 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        None => 0,
    };
    let zone = &rest[fraction..];
    // Go knows no leap seconds.
    like(time, b"0000-00-00T00:00:00")
        && &time[17..] != b"60"
        && fraction != 1
        && (zone == b"Z" || like(zone, b"+00:00") || like(zone, b"-00:00"))
}
