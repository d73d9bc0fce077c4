//! A log entry as a message of the forward protocol: `[tag, time, record]` in MessagePack.

use std::time::SystemTime;

use mixer_adapter::text;
use mixer_attribute::{Value, nanos};
use mixer_template::LogEntry;
use prost_types::Timestamp;
use rmp::encode;

/// A variable of this name is the tag.
const TAG: &str = "tag";

/// The type of times with nanoseconds.
const EVENT_TIME: i8 = 0;

/// Encodes an entry.
///
/// The tag is the variable `tag` if there is one, and the record then has the name of the instance as `name`; else the
/// tag is that name. The record has the variables and the severity. An entry without a time gets that of now.
pub(super) fn encode(entry: &LogEntry<'_>, integer_duration: bool) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(256));
    let mut own_tag = None;
    let mut fields: Vec<(&str, &Value<'_>)> = Vec::with_capacity(entry.variables.len() + 2);
    for (name, value) in &entry.variables {
        if *name == TAG {
            own_tag = Some(value);
        } else {
            fields.push((name, value));
        }
    }
    let name = Value::from(entry.name);
    let severity = Value::String(entry.severity.clone());
    // These win over variables of their name.
    let mut given = Vec::with_capacity(2);
    if own_tag.is_some() {
        given.push(("name", &name));
    }
    if !entry.severity.is_empty() {
        given.push(("severity", &severity));
    }
    fields.retain(|(name, _)| given.iter().all(|(given, _)| given != name));
    fields.extend(given);
    out.array(3);
    match own_tag {
        Some(tag) => out.text(&text::stringify(Some(tag))),
        None => out.text(entry.name),
    }
    let now = || Timestamp::from(SystemTime::now());
    out.time(&entry.timestamp.unwrap_or_else(now));
    out.map(fields.len());
    for (name, value) in fields {
        out.text(name);
        out.value(value, integer_duration);
    }
    out.0
}

/// Writes MessagePack. Writing into memory cannot fail.
struct Out(Vec<u8>);

// === impl Out ===

impl Out {
    fn array(&mut self, length: u32) {
        let _ = encode::write_array_len(&mut self.0, length);
    }

    fn map(&mut self, length: usize) {
        let _ = encode::write_map_len(&mut self.0, u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn text(&mut self, text: &str) {
        let _ = encode::write_str(&mut self.0, text);
    }

    /// Seconds and nanoseconds; the protocol has no times before 1970 and none after 2106.
    fn time(&mut self, time: &Timestamp) {
        let seconds = u32::try_from(time.seconds.max(0)).unwrap_or(u32::MAX);
        let nanos = u32::try_from(time.nanos.clamp(0, 999_999_999)).unwrap_or_default();
        let _ = encode::write_ext_meta(&mut self.0, 8, EVENT_TIME);
        self.0.extend_from_slice(&seconds.to_be_bytes());
        self.0.extend_from_slice(&nanos.to_be_bytes());
    }

    fn value(&mut self, value: &Value<'_>, integer_duration: bool) {
        match value {
            Value::Int64(number) => {
                let _ = encode::write_sint(&mut self.0, *number);
            }
            Value::Double(number) => {
                let _ = encode::write_f64(&mut self.0, *number);
            }
            Value::Bool(truth) => {
                let _ = encode::write_bool(&mut self.0, *truth);
            }
            Value::Duration(duration) if integer_duration => {
                let _ = encode::write_sint(&mut self.0, nanos(duration) / 1_000_000);
            }
            value => self.text(&text::stringify(Some(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use mixer_attribute::StringMap;
    use prost_types::Duration;

    use super::*;

    /// `spec 02` §7.2, byte by byte.
    #[test]
    fn m28_an_entry_is_tag_time_and_record() {
        let entry = LogEntry {
            name: "log.logentry.ns",
            variables: vec![("code", Value::Int64(200)), ("ok", Value::Bool(true))],
            timestamp: Some(Timestamp { seconds: 1, nanos: 2 }),
            severity: "info".into(),
            ..LogEntry::default()
        };
        let mut expected = vec![0x93, 0xaf];
        expected.extend(b"log.logentry.ns");
        expected.extend([0xd7, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x83, 0xa4]);
        expected.extend(b"code");
        expected.extend([0xcc, 200, 0xa2]);
        expected.extend(b"ok");
        expected.extend([0xc3, 0xa8]);
        expected.extend(b"severity");
        expected.push(0xa4);
        expected.extend(b"info");
        assert_eq!(encode(&entry, false), expected);
    }

    #[test]
    fn a_variable_may_be_the_tag_and_durations_may_be_numbers() {
        let duration = Value::Duration(Duration {
            seconds: 1,
            nanos: 500_000_000,
        });
        let entry = LogEntry {
            name: "log.logentry.ns",
            variables: vec![
                ("tag", "mesh.access".into()),
                ("name", "lost".into()),
                ("latency", duration),
                (
                    "map",
                    Value::StringMap(StringMap::borrowed([("b", "2"), ("a", "1")])),
                ),
            ],
            ..LogEntry::default()
        };
        let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        let numbers = encode(&entry, true);
        assert!(numbers.starts_with(b"\x93\xabmesh.access\xd7\x00"), "{numbers:?}");
        assert!(has(&numbers, b"\xa7latency\xcd\x05\xdc"), "{numbers:?}");
        assert!(has(&numbers, b"\xa3map\xa7a=1&b=2"), "{numbers:?}");
        assert!(numbers.ends_with(b"\xa4name\xaflog.logentry.ns"), "{numbers:?}");
        assert!(!has(&numbers, b"lost"), "{numbers:?}");
        assert!(has(&encode(&entry, false), b"\xa7latency\xa41.5s"));
    }
}
