//! How long it takes to read the attributes of spec 07 §2.1: 39 of a Check, 49 of a record of a Report.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::{Bencher, black_box, counter::ItemsCount};
use mixer_attribute::baseline::record;
use mixer_attribute::encode::{self, Attributes, Sent};
use mixer_attribute::{
    AttributeId, Bag, CheckRequest, Decoder, ReportRequest, Semantics, Value, ValueType, Vocabulary,
    dictionary,
};
use prost::Message;

const WORDS: u32 = dictionary::LEN as u32;

/// Sets of one report.
const BATCH: usize = 100;

fn main() {
    divan::main();
}

/// The request of a Check, and its bag.
#[divan::bench]
fn check(bencher: Bencher<'_, '_>) {
    let record = record(7, false);
    let decoder = decoder(&record);
    let bytes = encode::check_request(&record, &BTreeMap::new(), "1".to_owned(), WORDS).encode_to_vec();
    bencher.bench_local(|| {
        let request = CheckRequest::read(black_box(&bytes)).expect("it is one");
        black_box(decoder.bag(request.attributes).expect("it is one"));
    });
}

/// A report of 100 records with words of their own, and all values of each.
#[divan::bench]
fn report_with_own_words(bencher: Bencher<'_, '_>) {
    let mut report = report();
    for (number, set) in report.attributes.iter_mut().enumerate() {
        let one = encode::report_request(&[record(number, true)], Semantics::Independent, WORDS);
        let one = one.expect("nothing is lost");
        set.clone_from(&one.attributes[0]);
        set.words = one.default_words;
    }
    report.default_words.clear();
    read(bencher, &report.encode_to_vec());
}

/// A report of 100 records that share their words, as sidecars send it, and all values of each.
#[divan::bench]
fn report_with_default_words(bencher: Bencher<'_, '_>) {
    read(bencher, &report().encode_to_vec());
}

fn report() -> mesh_api::istio::mixer::v1::ReportRequest {
    let records: Vec<_> = (0..BATCH).map(|number| record(number, true)).collect();
    encode::report_request(&records, Semantics::Independent, WORDS).expect("nothing is lost")
}

fn read(bencher: Bencher<'_, '_>, bytes: &[u8]) {
    let decoder = decoder(&record(0, true));
    let vocabulary = decoder.vocabulary();
    let ids: Vec<AttributeId> = record(0, true)
        .keys()
        .map(|name| vocabulary.id(name).expect("it is there"))
        .collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let request = ReportRequest::read(black_box(bytes)).expect("it is one");
        let mut reader = decoder.reader(&request.default_words);
        let mut bag = Bag::new(vocabulary);
        for set in &request.attributes {
            reader.read(&mut bag, *set).expect("it is one");
            for id in &ids {
                match bag.get(*id) {
                    Some(Value::StringMap(map)) => drop(black_box(map.get("app"))),
                    value => drop(black_box(value)),
                }
            }
        }
    });
}

fn decoder(record: &Attributes<'_>) -> Decoder {
    let mut vocabulary = Vocabulary::default();
    for (name, sent) in record {
        let value_type = match sent {
            Sent::Bytes(_) | Sent::Value(Value::IpAddress(_)) => ValueType::IpAddress,
            Sent::Value(Value::String(_)) => ValueType::String,
            Sent::Value(Value::Int64(_)) => ValueType::Int64,
            Sent::Value(Value::Double(_)) => ValueType::Double,
            Sent::Value(Value::Bool(_)) => ValueType::Bool,
            Sent::Value(Value::Timestamp(_)) => ValueType::Timestamp,
            Sent::Value(Value::Duration(_)) => ValueType::Duration,
            Sent::Value(Value::StringMap(_)) => ValueType::StringMap,
        };
        vocabulary.add(name, value_type).expect("each is there once");
    }
    // What a configuration has besides.
    for number in 0..60 {
        let name = format!("other.attribute{number}");
        vocabulary
            .add(&name, ValueType::String)
            .expect("each is there once");
    }
    Decoder::new(Arc::new(vocabulary))
}
