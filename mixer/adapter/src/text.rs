//! Values as text, the same way for all adapters (`spec 02` §7, general).

mod equals;

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration as Span;

use jiff::Timestamp as Instant;
use jiff::tz::Offset;
use mesh_runtime::args::GoDuration;
use mixer_attribute::{Value, nanos};
use prost_types::{Duration, Timestamp};

pub use equals::string_equals;

/// The longest duration that Go knows and that is not its infinity, in nanoseconds.
const LONGEST: u64 = i64::MAX as u64 - 1;

/// A value as text; nothing is the empty text. Strings are not copied.
#[must_use]
pub fn stringify<'v>(value: Option<&'v Value<'_>>) -> Cow<'v, str> {
    match value {
        None => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(value) => Cow::Owned(Written(value).to_string()),
    }
}

/// Writes a value as [`stringify`] makes it.
///
/// # Errors
///
/// That of `out`.
pub fn write(out: &mut impl Write, value: &Value<'_>) -> fmt::Result {
    match value {
        Value::String(text) => out.write_str(text),
        Value::Int64(number) => write!(out, "{number}"),
        Value::Double(number) => write_double(out, *number),
        Value::Bool(truth) => write!(out, "{truth}"),
        Value::Timestamp(time) => write_timestamp(out, time),
        Value::Duration(duration) => write_duration(out, duration),
        // IPv4 in IPv6 is shown as IPv4, as Go does.
        Value::IpAddress(address) => write!(out, "{}", address.to_canonical()),
        Value::StringMap(map) => {
            let (mut result, mut separator) = (Ok(()), "");
            map.for_each(|key, value| {
                if result.is_ok() {
                    result = write!(out, "{separator}{key}={value}");
                }
                separator = "&";
            });
            result
        }
    }
}

/// Writes a number with as few digits as name it, and without an exponent.
///
/// # Errors
///
/// That of `out`.
pub fn write_double(out: &mut impl Write, number: f64) -> fmt::Result {
    if number.is_infinite() {
        out.write_str(if number > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(out, "{number}")
    }
}

/// Writes `2019-03-19T10:00:00.000000Z`. What no calendar has becomes the first or the last moment of ours.
///
/// # Errors
///
/// That of `out`.
pub fn write_timestamp(out: &mut impl Write, time: &Timestamp) -> fmt::Result {
    let end = if time.seconds < 0 {
        Instant::MIN
    } else {
        Instant::MAX
    };
    let time = Instant::new(time.seconds, time.nanos.clamp(0, 999_999_999)).unwrap_or(end);
    let time = Offset::UTC.to_datetime(time);
    write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.subsec_nanosecond() / 1000
    )
}

/// Writes `1.5s` or `1h0m0s`, as Go does.
///
/// # Errors
///
/// That of `out`.
pub fn write_duration(out: &mut impl Write, duration: &Duration) -> fmt::Result {
    let nanos = nanos(duration);
    let sign = if nanos < 0 { "-" } else { "" };
    let span = Span::from_nanos(nanos.unsigned_abs().min(LONGEST));
    write!(out, "{sign}{}", GoDuration::from(span))
}

/// Makes `Display` of [`write`].
struct Written<'a, 'v>(&'a Value<'v>);

// === impl Written ===

impl fmt::Display for Written<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0)
    }
}

#[cfg(test)]
mod tests {
    use mixer_attribute::StringMap;

    use super::*;

    fn text(value: &Value<'_>) -> String {
        stringify(Some(value)).into_owned()
    }

    fn duration(seconds: i64, nanos: i32) -> Value<'static> {
        Value::Duration(Duration { seconds, nanos })
    }

    fn time(seconds: i64, nanos: i32) -> Value<'static> {
        Value::Timestamp(Timestamp { seconds, nanos })
    }

    /// `spec 02` §7.
    #[test]
    fn every_type_has_its_text() {
        for (value, expected) in [
            (Value::from("as is"), "as is"),
            (Value::Int64(-5), "-5"),
            (Value::Double(1.0), "1"),
            (Value::Double(0.1), "0.1"),
            (Value::Double(1e21), "1000000000000000000000"),
            (Value::Double(1.5e-7), "0.00000015"),
            (Value::Double(f64::INFINITY), "+Inf"),
            (Value::Double(f64::NEG_INFINITY), "-Inf"),
            (Value::Double(f64::NAN), "NaN"),
            (Value::Bool(true), "true"),
            (duration(1, 500_000_000), "1.5s"),
            (duration(0, 0), "0s"),
            (duration(0, 2_000_000), "2ms"),
            (duration(3600, 0), "1h0m0s"),
            (duration(-1, -500_000_000), "-1.5s"),
            (duration(i64::MAX, i32::MAX), "2562047h47m16.854775806s"),
            (duration(i64::MIN, i32::MIN), "-2562047h47m16.854775806s"),
            (time(1_552_989_600, 1_999), "2019-03-19T10:00:00.000001Z"),
            (time(-1, 750_000_000), "1969-12-31T23:59:59.750000Z"),
            (time(i64::MAX, i32::MAX), "9999-12-30T22:00:00.999999Z"),
            (time(0, -1), "1970-01-01T00:00:00.000000Z"),
            (Value::IpAddress("10.0.0.1".parse().unwrap()), "10.0.0.1"),
            (Value::IpAddress("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1"),
            (Value::IpAddress("2001:db8::1".parse().unwrap()), "2001:db8::1"),
            (
                Value::StringMap(StringMap::borrowed([("b", "2"), ("a", "1")])),
                "a=1&b=2",
            ),
            (Value::StringMap(StringMap::default()), ""),
        ] {
            assert_eq!(text(&value), expected, "{value:?}");
        }
        assert_eq!(stringify(None), "");
    }

    #[test]
    fn strings_are_not_copied() {
        let value = Value::from("text");
        assert!(matches!(stringify(Some(&value)), Cow::Borrowed("text")));
    }
}
