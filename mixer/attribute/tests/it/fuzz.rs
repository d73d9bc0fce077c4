//! Whatever becomes of a request on its way, nothing panics; and what is read of it can be sent, and is read as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_testing::fuzz;
use mesh_testing::objects::Choices;
use mixer_attribute::encode::{self, Attributes, Sent};
use mixer_attribute::{
    Bag, CheckCache, CheckRequest, Compressed, Decoder, QuotaParams, References, ReportRequest, Semantics,
    Track, Validity, Value, dictionary, testing,
};
use prost::Message;

use crate::world::{ATTRIBUTES, decoder, get};

/// Requests that are good, and what is made of them by changing fields and bytes.
#[test]
fn fuzz_attributes() {
    let decoder = decoder();
    fuzz::rounds("attributes", |choices| {
        let mut cache = CheckCache::new(2);
        let count = u32::try_from(choices.below(300)).unwrap_or_default();
        let sets: Vec<_> = (0..=choices.below(3)).map(|_| attributes(choices)).collect();
        let quota = QuotaParams {
            amount: *choices.one_of(&[0, 1, -1, i64::MIN, i64::MAX]),
            best_effort: choices.chance(50),
        };
        let quotas = BTreeMap::from([("q".to_owned(), quota)]);
        let check = encode::check_request(&sets[0], &quotas, "id".to_owned(), count);
        let check = changed(check.encode_to_vec(), choices);
        if let Ok(request) = CheckRequest::read(&check) {
            let _ = dictionary::check_word_count(request.global_word_count);
            one(&decoder, request.attributes, &mut cache);
        }
        let report = encode::report_request(&sets, Semantics::Independent, count).expect("whole sets");
        let report = changed(report.encode_to_vec(), choices);
        if let Ok(request) = ReportRequest::read(&report) {
            let mut reader = decoder.reader(&request.default_words);
            let mut bag = Bag::new(decoder.vocabulary());
            for set in &request.attributes {
                // They may be refused; what was said before stays then, or nothing.
                let _ = reader.apply(&mut bag, *set);
                let _ = reader.read(&mut bag, *set);
                one(&decoder, *set, &mut cache);
            }
        }
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

fn attributes(choices: &mut Choices<'_>) -> Attributes<'static> {
    let mut made = Attributes::new();
    for (name, value_type) in ATTRIBUTES {
        if choices.chance(40) {
            let value = testing::value(value_type, &mut |limit| choices.below(limit));
            made.insert(name.to_owned(), Sent::Value(value));
        }
    }
    made
}

fn changed(bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    (0..choices.below(4)).fold(bytes, |bytes, _| match choices.below(4) {
        0 => fuzz::damaged(bytes, choices),
        _ => fuzz::message_changed(&bytes, choices),
    })
}

/// Reads a set, sends what was in it, and asks the cache.
fn one(decoder: &Decoder, set: Compressed<'_>, cache: &mut CheckCache<u8>) {
    let Ok(bag) = decoder.bag(set) else {
        return;
    };
    let mut found = Attributes::new();
    let mut references = References::default();
    for (name, _) in ATTRIBUTES {
        let value = get(decoder, &bag, name);
        let id = decoder.vocabulary().id(name).expect("it is in the vocabulary");
        match &value {
            Some(Value::StringMap(map)) => references.key(id, "cookie", map.get("cookie").is_some()),
            value => references.attribute(id, value.is_some()),
        }
        if let Some(value) = value {
            found.insert(name.to_owned(), Sent::Value(value));
        }
    }
    let again = encode::check_request(&found, &BTreeMap::new(), String::new(), 150).encode_to_vec();
    let again = CheckRequest::read(&again)
        .expect("we made it")
        .attributes
        .0
        .to_vec();
    let bag_again = decoder.bag(Compressed(&again)).expect("we made it");
    for (name, sent) in &found {
        match (get(decoder, &bag_again, name), sent) {
            // What is not a number is not equal to itself.
            (Some(Value::Double(value)), Sent::Value(Value::Double(sent))) => {
                assert_eq!(value.to_bits(), sent.to_bits(), "{name}");
            }
            (value, sent) => assert_eq!(value.map(Sent::Value).as_ref(), Some(sent), "{name}"),
        }
    }
    let validity = Validity {
        duration: Duration::from_secs(1),
        use_count: 2,
    };
    cache.put(&bag, &references, 1, validity, 1, Duration::ZERO);
    assert!(cache.len() <= 2);
    let answer = cache
        .get(&bag_again, 1, Duration::ZERO)
        .map(|found| *found.answer);
    // Values that are too long are not kept.
    assert!(answer == Some(1) || again.len() > 1000, "{found:?}");
}
