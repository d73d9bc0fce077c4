//! Text of the configuration compared with values of requests.

use mixer_attribute::{Value, nanos};
use mixer_expr::convert;

/// Whether text of the configuration means this value: the text is read as the type of the value. A value that is
/// missing equals `""`; text that is no value of the type equals nothing.
#[must_use]
pub fn string_equals(text: &str, value: Option<&Value<'_>>) -> bool {
    match value {
        None => text.is_empty(),
        Some(Value::String(value)) => *value == *text,
        Some(Value::Int64(value)) => text.parse() == Ok(*value),
        #[expect(clippy::float_cmp, reason = "the text must name this number, not one nearby")]
        Some(Value::Double(value)) => text.parse::<f64>().is_ok_and(|text| text == *value),
        Some(Value::Bool(value)) => bool_of(text) == Some(*value),
        Some(Value::Timestamp(value)) => convert::timestamp(text).as_ref() == Some(value),
        Some(Value::Duration(value)) => {
            convert::duration(text).is_some_and(|text| nanos(&text) == nanos(value))
        }
        Some(Value::IpAddress(value)) => convert::ip(text) == Some(value.to_canonical()),
        Some(Value::StringMap(value)) => {
            let mut entries = Vec::new();
            value.for_each(|key, value| entries.push(format!("{key}={value}")));
            let mut given: Vec<&str> = text.split('&').filter(|entry| !entry.is_empty()).collect();
            given.sort_unstable();
            entries.sort_unstable();
            given == entries
        }
    }
}

/// As Go reads it.
fn bool_of(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mixer_attribute::StringMap;
    use prost_types::{Duration, Timestamp};

    use super::*;

    #[test]
    fn text_is_read_as_the_type_of_the_value() {
        let duration = |seconds, nanos| Value::Duration(Duration { seconds, nanos });
        let time = Value::Timestamp(Timestamp {
            seconds: 1_552_989_600,
            nanos: 250_000_000,
        });
        let map = Value::StringMap(StringMap::borrowed([("a", "1"), ("b", "2")]));
        for (text, value, expected) in [
            ("a", Value::from("a"), true),
            ("a", Value::from("A"), false),
            ("7", Value::Int64(7), true),
            ("-7", Value::Int64(-7), true),
            ("7.0", Value::Int64(7), false),
            ("0.5", Value::Double(0.5), true),
            ("5e-1", Value::Double(0.5), true),
            ("half", Value::Double(0.5), false),
            ("NaN", Value::Double(f64::NAN), false),
            ("true", Value::Bool(true), true),
            ("1", Value::Bool(true), true),
            ("F", Value::Bool(false), true),
            ("yes", Value::Bool(true), false),
            ("1500ms", duration(1, 500_000_000), true),
            ("-1.5s", duration(-1, -500_000_000), true),
            ("1.5", duration(1, 500_000_000), false),
            ("2019-03-19T10:00:00.250000Z", time.clone(), true),
            ("2019-03-19T12:00:00.25+02:00", time.clone(), true),
            ("2019-03-19", time, false),
            (
                "10.0.0.1",
                Value::IpAddress("::ffff:10.0.0.1".parse().unwrap()),
                true,
            ),
            ("0:0::1", Value::IpAddress("::1".parse().unwrap()), true),
            (
                "10.0.0.1/32",
                Value::IpAddress("10.0.0.1".parse().unwrap()),
                false,
            ),
            ("b=2&a=1", map.clone(), true),
            ("a=1", map, false),
            ("", Value::StringMap(StringMap::default()), true),
        ] {
            assert_eq!(
                string_equals(text, Some(&value)),
                expected,
                "{text} and {value:?}"
            );
        }
        assert!(string_equals("", None));
        assert!(!string_equals("a", None));
    }

    #[test]
    fn values_out_of_range_equal_nothing() {
        let time = Value::Timestamp(Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        });
        let duration = Value::Duration(Duration {
            seconds: i64::MIN,
            nanos: i32::MIN,
        });
        for value in [time, duration] {
            assert!(!string_equals("", Some(&value)));
            assert!(!string_equals("1s", Some(&value)));
        }
    }
}
