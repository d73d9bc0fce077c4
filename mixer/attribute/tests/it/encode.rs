//! What we send is what is read.

use std::collections::BTreeMap;
use std::time::Duration as Time;

use mesh_api::istio::mixer::v1::referenced_attributes::{AttributeMatch, Condition};
use mesh_api::istio::mixer::v1::{CheckResponse, ReferencedAttributes};
use mixer_attribute::encode::{self, Attributes, Sent, WordList};
use mixer_attribute::{
    Bag, CheckRequest, QuotaParams, References, ReportRequest, Semantics, StringMap, Track, Value, ValueType,
    Words, dictionary,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use prost_types::{Duration, Timestamp};

use crate::world::{ATTRIBUTES, decoder, get};

/// §2.2: a word is one of the global dictionary if the other side knows it.
#[test]
fn words_are_those_that_the_other_side_knows() {
    let mut words = WordList::new(111);
    assert_eq!(words.index("source.ip"), 0);
    assert_eq!(words.index("text/plain; charset=utf-8"), 110);
    assert_eq!(words.index("'0'"), -1, "word 111");
    assert_eq!(words.index("mine"), -2);
    assert_eq!(words.index("'0'"), -1);
    assert_eq!(words.into_words(), ["'0'", "mine"]);
    assert_eq!(WordList::new(1000).index("outbound"), 220);
    assert_eq!(WordList::new(0).index("source.ip"), -1);
}

/// §2.8: what was read, in words that the client knows.
#[test]
fn what_was_read_is_told_in_the_words_of_the_client() {
    let decoder = decoder();
    let vocabulary = decoder.vocabulary();
    let id = |name| vocabulary.id(name).unwrap();
    let mut references = References::default();
    references.attribute(id("destination.service.host"), true);
    references.attribute(id("source.ip"), false);
    references.key(id("request.headers"), "user-agent", true);
    references.key(id("request.headers"), "x", false);
    // It is word 0, which would mean no key.
    references.key(id("request.headers"), "source.ip", false);
    let told = |name, condition: Condition, map_key| AttributeMatch {
        name,
        condition: condition.into(),
        map_key,
        ..Default::default()
    };
    assert_eq!(
        encode::referenced_attributes(&references, vocabulary, 221),
        ReferencedAttributes {
            words: vec!["source.ip".to_owned(), "x".to_owned()],
            attribute_matches: vec![
                told(0, Condition::Absence, 0),
                told(193, Condition::Exact, 0),
                told(15, Condition::Absence, -1),
                told(15, Condition::Exact, 86),
                told(15, Condition::Absence, -2),
            ],
        }
    );
    let old = encode::referenced_attributes(&references, vocabulary, 111);
    assert_eq!(old.attribute_matches[1], told(-1, Condition::Exact, 0));
    let none = encode::referenced_attributes(&references, vocabulary, 0);
    let words: Words<'_> = none.words.iter().map(String::as_str).collect();
    for told in &none.attribute_matches {
        assert!(told.name < 0);
        assert!(words.get(told.name).is_ok());
    }
}

/// §2.8: what generators add is absent for the caller, whether it was read before this was known or afterwards.
#[test]
fn what_was_added_counts_as_absent() {
    let decoder = decoder();
    let id = |name| decoder.vocabulary().id(name).unwrap();
    let (path, host, headers) = (
        id("request.path"),
        id("destination.service.host"),
        id("request.headers"),
    );
    let mut references = References::default();
    references.attribute(path, true);
    references.key(headers, "x", true);
    for added in [path, host, headers] {
        references.added(added);
    }
    references.attribute(host, true);
    references.key(headers, "y", false);
    assert_eq!(
        references.attributes().collect::<Vec<_>>(),
        [(headers, false), (host, false), (path, false)]
    );
    assert_eq!(references.keys().count(), 0);
}

/// §2.8: a map that was read as a whole is a map without a key, which is all of it; each map has an answer of its own.
#[test]
fn a_map_that_was_read_as_a_whole_is_told_without_a_key() {
    let decoder = decoder();
    let id = decoder.vocabulary().id("request.headers").unwrap();
    let mut references = References::default();
    references.attribute(id, true);
    let told = encode::referenced_attributes(&references, decoder.vocabulary(), 221);
    assert_eq!(
        told.attribute_matches,
        [AttributeMatch {
            name: 15,
            condition: Condition::Exact.into(),
            ..Default::default()
        }]
    );
}

/// §2.1 (MUST-OURS): 1.1's proxy takes a missing duration for "for ever", and a missing precondition for an error.
#[test]
fn fields_that_are_always_set_are_on_the_wire() {
    let nothing = ReferencedAttributes::default;
    let response = CheckResponse {
        precondition: Some(encode::precondition_result(
            0,
            String::new(),
            Time::ZERO,
            0,
            nothing(),
            None,
        )),
        quotas: [("q".to_owned(), encode::quota_result(0, Time::ZERO, nothing()))].into(),
    };
    let precondition = [0x12, 6, 0x0a, 0, 0x12, 0, 0x2a, 0];
    let quota = [0x1a, 9, 0x0a, 1, b'q', 0x12, 4, 0x0a, 0, 0x2a, 0];
    assert_eq!(response.encode_to_vec(), [&precondition[..], &quota[..]].concat());

    let longest = encode::quota_result(0, Time::MAX, nothing()).valid_duration;
    assert_eq!(longest.map(|duration| duration.seconds), Some(315_576_000_000));
}

#[test]
fn deltas_tell_what_changed() {
    let set = |path: &str, port: Option<i64>| -> Attributes<'static> {
        let path = (
            "request.path".to_owned(),
            Sent::Value(Value::from(path).into_owned()),
        );
        let port = port.map(|port| ("destination.port".to_owned(), Sent::Value(Value::Int64(port))));
        [Some(path), port].into_iter().flatten().collect()
    };
    let sets = [
        set("/", None),
        set("/", Some(1)),
        set("/", Some(1)),
        set("/a", Some(1)),
    ];
    let report = encode::report_request(&sets, Semantics::Delta, 221).unwrap();
    let sizes: Vec<_> = report
        .attributes
        .iter()
        .map(|set| (set.strings.len(), set.int64s.len()))
        .collect();
    assert_eq!(sizes, [(1, 0), (0, 1), (0, 0), (1, 0)]);
    assert_eq!(report.default_words, ["/", "/a"]);
    let lost = encode::report_request(&[set("/", Some(1)), set("/", None)], Semantics::Delta, 221);
    assert_eq!(
        lost.unwrap_err().to_string(),
        "attribute destination.port was in the set before, and cannot be taken out"
    );
}

/// Words of both dictionaries.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![select(&dictionary::WORDS[..]).prop_map(str::to_owned), ".{0,12}"]
}

fn value(value_type: ValueType) -> BoxedStrategy<Value<'static>> {
    match value_type {
        ValueType::Int64 => any::<i64>().prop_map(Value::Int64).boxed(),
        ValueType::Double => any::<f64>()
            .prop_filter("equal to itself", |value| !value.is_nan())
            .prop_map(Value::Double)
            .boxed(),
        ValueType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ValueType::Timestamp => (-62_135_596_800..253_402_300_800_i64, 0..1_000_000_000)
            .prop_map(|(seconds, nanos)| Value::Timestamp(Timestamp { seconds, nanos }))
            .boxed(),
        ValueType::Duration => (0..=315_576_000_000_i64, 0..1_000_000_000, any::<bool>())
            .prop_map(|(seconds, nanos, negative)| {
                let sign = if negative { -1 } else { 1 };
                Value::Duration(Duration {
                    seconds: i64::from(sign) * seconds,
                    nanos: sign * nanos,
                })
            })
            .boxed(),
        ValueType::IpAddress => any::<std::net::IpAddr>()
            .prop_map(|address| Value::IpAddress(address.to_canonical()))
            .boxed(),
        ValueType::StringMap => btree_map(text(), text(), 0..50)
            .prop_map(|map| {
                let map = map.iter().map(|(key, value)| (&**key, &**value));
                Value::StringMap(StringMap::borrowed(map).into_owned())
            })
            .boxed(),
        ValueType::String | ValueType::EmailAddress | ValueType::Uri | ValueType::DnsName => {
            text().prop_map(|text| Value::String(text.into())).boxed()
        }
    }
}

pub(crate) fn attributes() -> impl Strategy<Value = Attributes<'static>> {
    let each: Vec<_> = ATTRIBUTES
        .iter()
        .map(|(name, value_type)| {
            prop::option::of(value(*value_type))
                .prop_map(|value| Some(((*name).to_owned(), Sent::Value(value?))))
        })
        .collect();
    each.prop_map(|all| all.into_iter().flatten().collect())
}

fn read(decoder: &mixer_attribute::Decoder, bag: &Bag<'_>) -> Attributes<'static> {
    ATTRIBUTES
        .iter()
        .filter_map(|(name, _)| Some(((*name).to_owned(), Sent::Value(get(decoder, bag, name)?))))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn checks_are_read_as_they_were_sent(sent in attributes(), count in 0..=221_u32, amount in any::<i64>()) {
        let quotas = BTreeMap::from([("q".to_owned(), QuotaParams { amount, best_effort: true })]);
        let bytes = encode::check_request(&sent, &quotas, "id".to_owned(), count).encode_to_vec();
        let request = CheckRequest::read(&bytes).unwrap();
        prop_assert_eq!(request.global_word_count, count);
        prop_assert_eq!(request.quotas["q"], quotas["q"]);
        let decoder = decoder();
        let bag = decoder.bag(request.attributes).unwrap();
        prop_assert_eq!(read(&decoder, &bag), sent);
    }

    #[test]
    fn reports_are_read_as_they_were_sent(sent in vec(attributes(), 0..4), count in 0..=221_u32) {
        let bytes = encode::report_request(&sent, Semantics::Independent, count).unwrap().encode_to_vec();
        let request = ReportRequest::read(&bytes).unwrap();
        let decoder = decoder();
        let mut reader = decoder.reader(&request.default_words);
        let mut bag = Bag::new(decoder.vocabulary());
        for (set, sent) in request.attributes.iter().zip(&sent) {
            reader.read(&mut bag, *set).unwrap();
            prop_assert_eq!(&read(&decoder, &bag), sent);
        }
        // What is sent as deltas is the same.
        let mut grown: Vec<Attributes<'static>> = Vec::new();
        for set in &sent {
            let mut all = grown.last().cloned().unwrap_or_default();
            all.extend(set.clone());
            grown.push(all);
        }
        let bytes = encode::report_request(&grown, Semantics::Delta, count).unwrap().encode_to_vec();
        let request = ReportRequest::read(&bytes).unwrap();
        let mut reader = decoder.reader(&request.default_words);
        let mut bag = Bag::new(decoder.vocabulary());
        for (set, sent) in request.attributes.iter().zip(&grown) {
            reader.apply(&mut bag, *set).unwrap();
            prop_assert_eq!(&read(&decoder, &bag), sent);
        }
    }
}
