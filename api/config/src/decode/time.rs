//! Durations and points in time.

use jiff::Timestamp;
use serde_json::Value;

use super::scalar::string;
use super::wire::shortened;

/// Largest duration of protobuf: ten thousand years.
const MAX_SECONDS: u64 = 315_576_000_000;

/// Units of a duration in nanoseconds; longer names first where one begins with another.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// Reads a duration as seconds and nanoseconds: `1.5s` of proto JSON, and the `1h30m`, `500ms` that Istio accepts
/// everywhere (`R-N-10`).
pub(super) fn duration(value: &Value) -> Result<(i64, i32), String> {
    let text = string(value).map_err(|_| no_duration(&value.to_string()))?;
    parse_duration(text).ok_or_else(|| no_duration(text))
}

/// Reads a duration that is not negative, such as `1.5s` or `1h30m`. `None` when it is no such.
pub fn duration_of(text: &str) -> Option<std::time::Duration> {
    let (seconds, nanos) = parse_duration(text)?;
    Some(std::time::Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(nanos).ok()?,
    ))
}

fn no_duration(text: &str) -> String {
    format!(
        "{} is not a duration such as 10s, 500ms or 1h30m",
        shortened(text)
    )
}

fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some((0, 0));
    }
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (unit, scale) = UNITS.iter().find(|(unit, _)| {
            after.strip_prefix(unit).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            })
        })?;
        nanos = nanos.checked_add(scaled(number, *scale)?)?;
        rest = &after[unit.len()..];
    }
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if seconds > u128::from(MAX_SECONDS) {
        return None;
    }
    let (seconds, nanos) = (i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?);
    Some(if negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    })
}

/// A decimal number times a unit, in nanoseconds; digits below one nanosecond are dropped.
fn scaled(number: &str, scale: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let scale = u128::from(scale);
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        unit /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * unit)?;
    }
    Some(nanos)
}

/// Reads a point in time (RFC 3339) as seconds and nanoseconds since 1970.
pub(super) fn timestamp(value: &Value) -> Result<(i64, i32), String> {
    let text = string(value)?;
    let time: Timestamp = text
        .parse()
        .map_err(|_| format!("{:?} is not a time such as 2019-03-19T10:00:00Z", shortened(text)))?;
    // Before 1970 jiff counts both parts down, protobuf wants nanoseconds that count up.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    Ok(if nanos < 0 {
        (seconds - 1, nanos + 1_000_000_000)
    } else {
        (seconds, nanos)
    })
}

/// Writes a point in time as RFC 3339. `None` outside the years -9999 to 9999.
pub(super) fn format_timestamp(seconds: i64, nanos: i32) -> Option<String> {
    Timestamp::new(seconds, nanos).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn r_n_10_durations_have_units() {
        for (text, expected) in [
            ("1s", Some((1, 0))),
            ("1.5s", Some((1, 500_000_000))),
            ("0.000000001s", Some((0, 1))),
            ("500ms", Some((0, 500_000_000))),
            ("1h30m", Some((5400, 0))),
            ("1m0.5s", Some((60, 500_000_000))),
            ("-1.5s", Some((-1, -500_000_000))),
            ("+2us", Some((0, 2000))),
            ("2µs", Some((0, 2000))),
            ("0", Some((0, 0))),
            ("0s", Some((0, 0))),
            (".5s", Some((0, 500_000_000))),
            ("315576000000s", Some((315_576_000_000, 0))),
            ("315576000001s", None),
            ("99999999999999999999999999999999999999999h", None),
            ("", None),
            ("-", None),
            ("s", None),
            (".s", None),
            ("1", None),
            ("1.2.3s", None),
            ("1d", None),
            ("1 s", None),
            ("1s 2s", None),
            ("１s", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
        assert_eq!(
            duration(&json!(10)),
            Err("10 is not a duration such as 10s, 500ms or 1h30m".to_owned())
        );
    }

    #[test]
    fn times_are_rfc_3339() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", (1, 0)),
            ("2019-03-19T12:00:00.25+02:00", (1_552_989_600, 250_000_000)),
            ("1969-12-31T23:59:59.75Z", (-1, 750_000_000)),
        ] {
            assert_eq!(timestamp(&json!(text)), Ok(expected), "{text}");
        }
        assert_eq!(
            format_timestamp(1_552_989_600, 0).as_deref(),
            Some("2019-03-19T10:00:00Z")
        );
        assert_eq!(
            format_timestamp(-1, 750_000_000).as_deref(),
            Some("1969-12-31T23:59:59.75Z")
        );
        assert_eq!(format_timestamp(i64::MAX, 0), None);
        for text in ["", "now", "2019-03-19", "2019-13-19T10:00:00Z"] {
            assert!(timestamp(&json!(text)).is_err(), "{text}");
        }
    }
}
