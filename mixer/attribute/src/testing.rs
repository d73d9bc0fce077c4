//! Values as nobody expects them, for tests that look for what does harm.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use prost_types::{Duration, Timestamp};

use crate::text::StringMap;
use crate::value::{Value, ValueType};

const TEXTS: &[&str] = &[
    "",
    "a",
    "app",
    "v1",
    "reviews",
    "GET",
    "/status/200?a=b#c",
    "user=jason; x",
    "kubernetes://a-1.default",
    "cluster.local/ns/default/sa/reviews",
    "http://a.example:80/b",
    "HTTP://xn--bcher-kva.example",
    "bücher.example.",
    "a@b.example",
    "\"a b\"@xn--",
    "10.1.2.3",
    "::ffff:10.1.2.3",
    "2006-01-02T15:04:05Z",
    "10s",
    "-1",
    "1e999",
    "(a+)+$",
    "[[:alpha:]",
    "*",
    "%zz",
    "\0",
    "\r\nx: y",
    "\u{202e}ß\u{fffd}😀",
];

const NUMBERS: &[i64] = &[
    0,
    1,
    -1,
    80,
    200,
    503,
    1 << 40,
    i64::MAX,
    i64::MIN,
    315_576_000_000,
    -315_576_000_000,
];

/// How often texts are repeated, now and then.
const TIMES: &[usize] = &[2, 60, 300, 5_000];

/// A value of a type, mostly one at some border. `below` chooses: a number below its argument.
pub fn value(value_type: ValueType, below: &mut dyn FnMut(usize) -> usize) -> Value<'static> {
    match value_type {
        ValueType::Int64 => Value::Int64(number(below)),
        ValueType::Double => Value::Double(match below(8) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => -0.0,
            4 => f64::MIN_POSITIVE,
            _ => number(below) as f64 / 8.0,
        }),
        ValueType::Bool => Value::Bool(below(2) == 0),
        ValueType::Timestamp => Value::Timestamp(Timestamp {
            seconds: number(below).clamp(-62_135_596_800, 253_402_300_799),
            nanos: *one_of(&[0, 1, 999_999_999], below),
        }),
        ValueType::Duration => {
            let seconds = number(below).clamp(-315_576_000_000, 315_576_000_000);
            let nanos = *one_of(&[0, 1, 999_999_999], below);
            Value::Duration(Duration {
                seconds,
                nanos: if seconds < 0 { -nanos } else { nanos },
            })
        }
        ValueType::IpAddress => Value::IpAddress(*one_of(
            &[
                IpAddr::from([10, 1, 2, 3]),
                IpAddr::from([0; 4]),
                IpAddr::from([0; 16]),
                IpAddr::from([0xfe80, 0, 0, 0, 1, 2, 3, 4]),
            ],
            below,
        )),
        ValueType::StringMap => {
            let entries = (0..below(6)).map(|_| (text(below).into(), text(below).into()));
            let entries: BTreeMap<Arc<str>, Arc<str>> = entries.collect();
            Value::StringMap(StringMap::from(Arc::new(entries)))
        }
        ValueType::String | ValueType::EmailAddress | ValueType::Uri | ValueType::DnsName => {
            Value::String(text(below).into())
        }
    }
}

/// Any text, mostly one that something could be made of.
pub fn text(below: &mut dyn FnMut(usize) -> usize) -> String {
    match below(12) {
        0 => one_of(TEXTS, below).repeat(*one_of(TIMES, below)),
        1 => [*one_of(TEXTS, below), *one_of(TEXTS, below)].concat(),
        2 => {
            let letters = (0..below(30)).filter_map(|_| char::from_u32(u32::try_from(below(0x2_0000)).ok()?));
            letters.collect()
        }
        _ => (*one_of(TEXTS, below)).to_owned(),
    }
}

fn number(below: &mut dyn FnMut(usize) -> usize) -> i64 {
    one_of(NUMBERS, below).wrapping_add(*one_of(&[0, 0, 1, -1], below))
}

fn one_of<'l, T>(list: &'l [T], below: &mut dyn FnMut(usize) -> usize) -> &'l T {
    &list[below(list.len())]
}
