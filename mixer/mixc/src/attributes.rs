//! Attributes as they are written on the command line.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_runtime::args::GoDuration;
use mixer_attribute::encode::{Attributes, Sent};
use mixer_attribute::{QuotaParams, StringMap, Value};

/// What is written cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAttribute {
    #[error("attribute value {0} does not include an = sign")]
    NoValue(String),
    #[error("attribute value {0} does not contain a valid name")]
    NoName(String),
    #[error("attribute {name}: {value:?} is not {wanted}")]
    Value {
        name: String,
        value: String,
        wanted: &'static str,
    },
    #[error("Quota definition {0} does not include an = sign")]
    NoAmount(String),
    #[error("Quota definition {0} does not contain a valid name")]
    NoQuota(String),
    #[error("Unable to parse quota value {0}: it is not a whole number")]
    Amount(String),
}

/// Reads a value, or says what it should be.
pub(crate) type Parse = fn(&str) -> Result<Sent<'static>, &'static str>;

/// Reads `name1=value1,name2=value2,...`.
pub(crate) fn list(
    list: &str,
    parse: Parse,
    attributes: &mut Attributes<'static>,
) -> Result<(), InvalidAttribute> {
    for pair in list.split(',').filter(|_| !list.is_empty()) {
        let (name, value) = match pair.split_once('=') {
            None => return Err(InvalidAttribute::NoValue(pair.to_owned())),
            Some(("", _)) => return Err(InvalidAttribute::NoName(pair.to_owned())),
            Some(pair) => pair,
        };
        let sent = parse(value).map_err(|wanted| InvalidAttribute::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            wanted,
        })?;
        attributes.insert(name.to_owned(), sent);
    }
    Ok(())
}

/// Reads `name1=amount1,name2=amount2,...`. Less than that is welcome, too.
pub(crate) fn quotas(list: &str) -> Result<BTreeMap<String, QuotaParams>, InvalidAttribute> {
    let mut quotas = BTreeMap::new();
    for pair in list.split(',').filter(|_| !list.is_empty()) {
        let (name, amount) = match pair.split_once('=') {
            None => return Err(InvalidAttribute::NoAmount(pair.to_owned())),
            Some(("", _)) => return Err(InvalidAttribute::NoQuota(pair.to_owned())),
            Some(pair) => pair,
        };
        let params = QuotaParams {
            amount: amount
                .parse()
                .map_err(|_| InvalidAttribute::Amount(amount.to_owned()))?,
            best_effort: true,
        };
        quotas.insert(name.to_owned(), params);
    }
    Ok(quotas)
}

pub(crate) fn string(text: &str) -> Result<Sent<'static>, &'static str> {
    Ok(Sent::Value(Value::String(text.to_owned().into())))
}

pub(crate) fn int64(text: &str) -> Result<Sent<'static>, &'static str> {
    let value = text.parse().map_err(|_| "a whole number")?;
    Ok(Sent::Value(Value::Int64(value)))
}

pub(crate) fn double(text: &str) -> Result<Sent<'static>, &'static str> {
    let value = text.parse().map_err(|_| "a number")?;
    Ok(Sent::Value(Value::Double(value)))
}

pub(crate) fn bool(text: &str) -> Result<Sent<'static>, &'static str> {
    let value = match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => return Err("true or false"),
    };
    Ok(Sent::Value(Value::Bool(value)))
}

pub(crate) fn timestamp(text: &str) -> Result<Sent<'static>, &'static str> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "a point in time such as 2017-07-04T00:01:10Z")?;
    let nanos = time.subsec_nanosecond();
    // Before 1970 jiff counts both parts down, protobuf wants nanoseconds that count up.
    let back = i64::from(nanos < 0);
    Ok(Sent::Value(Value::Timestamp(prost_types::Timestamp {
        seconds: time.as_second() - back,
        nanos: nanos.rem_euclid(1_000_000_000),
    })))
}

pub(crate) fn duration(text: &str) -> Result<Sent<'static>, &'static str> {
    let wanted = "a span of time such as 1m30s";
    let (negative, length) = match text.strip_prefix('-') {
        Some(length) => (true, length),
        None => (false, text),
    };
    let duration: GoDuration = length.parse().map_err(|_| wanted)?;
    let length: Duration = duration.finite().ok_or(wanted)?;
    let seconds = i64::try_from(length.as_secs()).map_err(|_| wanted)?;
    let nanos = i32::try_from(length.subsec_nanos()).map_err(|_| wanted)?;
    let sign = if negative { -1 } else { 1 };
    Ok(Sent::Value(Value::Duration(prost_types::Duration {
        seconds: i64::from(sign) * seconds,
        nanos: sign * nanos,
    })))
}

pub(crate) fn bytes(text: &str) -> Result<Sent<'static>, &'static str> {
    let digits = |byte: &str| byte.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes = text.split(':').map(|byte| match u8::from_str_radix(byte, 16) {
        Ok(value) if digits(byte) => Ok(value),
        _ => Err("bytes in hexadecimal such as c0:0:0:2"),
    });
    Ok(Sent::Bytes(bytes.collect::<Result<_, _>>()?))
}

pub(crate) fn string_map(text: &str) -> Result<Sent<'static>, &'static str> {
    let pairs: Option<Vec<_>> = text.split(';').map(|pair| pair.split_once(':')).collect();
    let pairs = pairs.ok_or("a map such as key1:value1;key2:value2")?;
    Ok(Sent::Value(Value::StringMap(
        StringMap::borrowed(pairs).into_owned(),
    )))
}

/// Of the first type that it can be.
pub(crate) fn any(text: &str) -> Result<Sent<'static>, &'static str> {
    let kinds: [Parse; 7] = [int64, double, bool, timestamp, duration, bytes, string_map];
    match kinds.iter().find_map(|parse| parse(text).ok()) {
        Some(sent) => Ok(sent),
        None => string(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sent: Value<'static>) -> Result<Sent<'static>, &'static str> {
        Ok(Sent::Value(sent))
    }

    #[test]
    fn values_are_of_the_first_type_that_they_can_be() {
        assert_eq!(any("80"), of(Value::Int64(80)));
        assert_eq!(any("-0.5"), of(Value::Double(-0.5)));
        assert_eq!(any("true"), of(Value::Bool(true)));
        let time = prost_types::Timestamp {
            seconds: -1,
            nanos: 500_000_000,
        };
        assert_eq!(any("1969-12-31T23:59:59.5Z"), of(Value::Timestamp(time)));
        let span = prost_types::Duration {
            seconds: -90,
            nanos: -500_000_000,
        };
        assert_eq!(any("-1m30.5s"), of(Value::Duration(span)));
        assert_eq!(any("c0:0:0:2"), Ok(Sent::Bytes(vec![0xc0, 0, 0, 2])));
        let map = StringMap::borrowed([("clnt", "a:b"), ("x", "")]).into_owned();
        assert_eq!(any("clnt:a:b;x:"), of(Value::StringMap(map)));
        assert_eq!(any("reviews"), of("reviews".into()));
        assert_eq!(any(""), of("".into()));
    }

    #[test]
    fn lists_are_refused_by_name() {
        let parse =
            |text, parse| list(text, parse, &mut Attributes::new()).map_err(|error| error.to_string());
        assert_eq!(parse("", int64), Ok(()));
        assert_eq!(parse("a=1,b=2", int64), Ok(()));
        for (text, error) in [
            ("a", "attribute value a does not include an = sign"),
            ("=1", "attribute value =1 does not contain a valid name"),
            ("a=1,b=x", "attribute b: \"x\" is not a whole number"),
        ] {
            assert_eq!(parse(text, int64), Err(error.to_owned()));
        }
        assert!(bytes("1:+2").is_err() && bytes("100").is_err() && bytes("").is_err());
        assert_eq!(quotas("q=5").unwrap()["q"].amount, 5);
        assert!(quotas("q").is_err() && quotas("=1").is_err() && quotas("q=x").is_err());
    }
}
