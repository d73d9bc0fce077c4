//! Whatever becomes of a request on its way, nothing panics; and what is read of it can be sent, and is read as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use mixer_attribute::encode::{self, Attributes, Sent};
use mixer_attribute::{
    Bag, CheckCache, CheckRequest, Compressed, Decoder, QuotaParams, References, ReportRequest, Semantics,
    Track, Validity, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::encode::attributes;
use crate::world::{ATTRIBUTES, decoder, get};

proptest! {
    // `PROPTEST_CASES` lets it go on for longer.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_changed_at_random(
        sets in vec(attributes(), 1..4),
        count in 0..300_u32,
        changes in vec((any::<Index>(), any::<u8>(), 0..6), 0..6),
    ) {
        let decoder = decoder();
        let mut cache = CheckCache::new(2);
        let quotas = BTreeMap::from([("q".to_owned(), QuotaParams::default())]);
        let check = encode::check_request(&sets[0], &quotas, "id".to_owned(), count);
        let check = changed(check.encode_to_vec(), &changes);
        if let Ok(request) = CheckRequest::read(&check) {
            one(&decoder, request.attributes, &mut cache);
        }
        let report = encode::report_request(&sets, Semantics::Independent, count).unwrap();
        let report = changed(report.encode_to_vec(), &changes);
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
    }
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

fn changed(mut bytes: Vec<u8>, changes: &[(Index, u8, i32)]) -> Vec<u8> {
    for (place, byte, how) in changes {
        let place = place.index(bytes.len().max(1));
        match how {
            0 => bytes.truncate(place),
            1 => bytes.insert(place.min(bytes.len()), *byte),
            2 => bytes.extend(bytes.get(place..).unwrap_or_default().to_vec()),
            _ => {
                if let Some(old) = bytes.get_mut(place) {
                    *old = *byte;
                }
            }
        }
    }
    bytes
}
