//! Messages that nobody should send.

use mesh_api::istio::mixer::v1::check_request::QuotaParams;
use mesh_api::istio::mixer::v1::{self, CompressedAttributes, StringMap};
use mixer_attribute::{
    Bag, CheckRequest, Compressed, DecodeError, MAX_QUOTAS, Malformed, ReportRequest, Undecodable, Value,
    Words,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use prost_types::{Duration, Timestamp};

use crate::world::{decoder, get, read, read_bytes, words};

/// §2.2: in a complete set what cannot be read is absent, and the rest is there.
#[test]
fn an_index_of_no_dictionary_is_an_absent_attribute() {
    let set = CompressedAttributes {
        words: words(&["a"]),
        strings: [(3, -2), (221, 0), (-7, 0), (17, -1)].into(),
        bools: [(i32::MIN, true), (i32::MAX, true)].into(),
        string_maps: [(
            15,
            StringMap {
                entries: [(86, -1), (-9, 0)].into(),
            },
        )]
        .into(),
        ..Default::default()
    };
    let (values, mut absent) = read(&set).unwrap();
    assert_eq!(values, [("request.path", "a".into())]);
    absent.sort_by_key(ToString::to_string);
    let mut indices: Vec<_> = absent
        .into_iter()
        .map(|absent| match absent {
            Undecodable::Index { index } => index,
            other => panic!("{other}"),
        })
        .collect();
    indices.sort_unstable();
    assert_eq!(indices, [i32::MIN, -9, -7, -2, 221, i32::MAX]);
}

/// §2.2 (MUST-OURS): under two types, or by two indices.
#[test]
fn duplicates_are_refused_in_both_ways() {
    let two_types = CompressedAttributes {
        strings: [(3, 0)].into(),
        int64s: [(3, 1)].into(),
        ..Default::default()
    };
    let two_indices = CompressedAttributes {
        words: words(&["source.uid"]),
        strings: [(-1, 1), (3, 1)].into(),
        ..Default::default()
    };
    let decoder = decoder();
    let no_words = Words::default();
    for bytes in [two_types.encode_to_vec(), two_indices.encode_to_vec()] {
        let refused = Err(DecodeError::Duplicate {
            name: "source.uid".to_owned(),
        });
        let mut reader = decoder.reader(&no_words);
        let mut bag = Bag::new(decoder.vocabulary());
        assert_eq!(reader.apply(&mut bag, Compressed(&bytes)), refused);
        assert_eq!(reader.read(&mut bag, Compressed(&bytes)), refused);
        assert_eq!(get(&decoder, &bag, "source.uid"), None);
    }
}

#[test]
fn attributes_of_another_type_are_absent() {
    let set = CompressedAttributes {
        strings: [(151, 0)].into(),
        bytes: [(3, vec![1, 2, 3, 4].into())].into(),
        ..Default::default()
    };
    let (values, absent) = read(&set).unwrap();
    assert_eq!(values, []);
    let texts: Vec<_> = absent.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "attribute destination.port is sent as strings, but is of type INT64",
            "attribute source.uid is sent as bytes, but is of type STRING"
        ]
    );
}

#[test]
fn times_that_cannot_be_are_absent() {
    for (seconds, nanos) in [(0, -1), (0, 1_000_000_000), (i64::MIN, 0), (253_402_300_800, 0)] {
        let set = CompressedAttributes {
            timestamps: [(24, Timestamp { seconds, nanos })].into(),
            ..Default::default()
        };
        let (values, absent) = read(&set).unwrap();
        assert_eq!((values.len(), absent.len()), (0, 1), "{seconds} {nanos}");
    }
    for (seconds, nanos) in [(1, -1), (-1, 1), (i64::MAX, 0), (0, i32::MIN)] {
        let set = CompressedAttributes {
            durations: [(29, Duration { seconds, nanos })].into(),
            ..Default::default()
        };
        let (values, absent) = read(&set).unwrap();
        assert_eq!((values.len(), absent.len()), (0, 1), "{seconds} {nanos}");
    }
}

/// What nobody wants must be well-formed, too.
#[test]
fn known_fields_of_another_wire_type_are_refused() {
    // strings: { 3: <bytes> } and { 90: <bytes> }, of which the second is not in the vocabulary.
    for index in [6, 180] {
        let mut bytes = vec![0x12, 5, 0x08, index, 0x12, 1, 7];
        if index > 0x7f {
            bytes = vec![0x12, 6, 0x08, index, 1, 0x12, 1, 7];
        }
        assert_eq!(
            read_bytes(&bytes),
            Err(DecodeError::Malformed(Malformed::WireType { field: 2 }))
        );
    }
    assert_eq!(
        CheckRequest::read(&[0x1a, 1, 0xff]).unwrap_err(),
        Malformed::Text { field: 3 }
    );
    assert_eq!(
        CheckRequest::read(&[0x0a, 0, 0x0a, 0]).unwrap_err(),
        Malformed::Twice { field: 1 }
    );
}

/// Each quota has an answer of its own, with all that was read for it.
#[test]
fn a_request_for_more_quotas_than_anybody_has_is_refused() {
    let of = |count: usize| {
        let quotas = (0..count).map(|number| (number.to_string(), QuotaParams::default()));
        v1::CheckRequest {
            quotas: quotas.collect(),
            ..Default::default()
        }
        .encode_to_vec()
    };
    let most = of(MAX_QUOTAS);
    assert_eq!(
        CheckRequest::read(&most).map(|request| request.quotas.len()),
        Ok(MAX_QUOTAS)
    );
    let error = CheckRequest::read(&of(MAX_QUOTAS + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed message: field 4 is there more than 1000 times"
    );
}

/// Every beginning of a message is one, or none; it never does harm.
#[test]
fn truncated_requests_are_refused_or_shorter() {
    let set = CompressedAttributes {
        words: words(&["a", "b"]),
        strings: [(17, -1)].into(),
        string_maps: [(
            15,
            StringMap {
                entries: [(86, -1)].into(),
            },
        )]
        .into(),
        bytes: [(0, vec![1, 2, 3, 4].into())].into(),
        ..Default::default()
    };
    let bytes = set.encode_to_vec();
    let good = (0..bytes.len()).filter(|end| read_bytes(&bytes[..*end]).is_ok());
    // At the borders of fields only: words, strings, bytes, string_maps.
    assert_eq!(good.count(), 5);
    let message = v1::CheckRequest {
        attributes: Some(set),
        deduplication_id: "abc".to_owned(),
        ..Default::default()
    };
    let bytes = message.encode_to_vec();
    let good = (0..bytes.len()).filter(|end| CheckRequest::read(&bytes[..*end]).is_ok());
    assert_eq!(good.count(), 2);
}

/// 10 MB of words, and as many attributes as fit, each called after a word that is far too long. In more than linear time
/// this would not end while anybody waits for it.
#[test]
fn huge_dictionaries_are_read() {
    let mut set = CompressedAttributes {
        words: (0..500_000).map(|word| format!("word-{word:015}")).collect(),
        ..Default::default()
    };
    set.words.push("x".repeat(5_000_000));
    let long = -500_001;
    set.strings = [(17, long)].into();
    let entries: Vec<_> = (1..200_000).map(|word| (-word, long)).collect();
    set.string_maps = [(
        15,
        StringMap {
            entries: entries.into_iter().collect(),
        },
    )]
    .into();
    let mut bytes = set.encode_to_vec();
    // strings: { long: 0 }, again and again.
    let entry = CompressedAttributes {
        strings: [(long, 0)].into(),
        ..Default::default()
    };
    let entry = entry.encode_to_vec();
    for _ in 0..500_000 {
        bytes.extend_from_slice(&entry);
    }
    let decoder = decoder();
    let bag = decoder.bag(Compressed(&bytes)).unwrap();
    let id = decoder.vocabulary().id("request.headers").unwrap();
    let Some(Value::StringMap(headers)) = bag.get(id) else {
        panic!("no headers");
    };
    assert_eq!(headers.len(), 199_999);
    for word in 0..100_000 {
        assert_eq!(
            headers.get(&format!("word-{word:015}")).map(|value| value.len()),
            Some(5_000_000)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read_bytes(&bytes);
        let _ = CheckRequest::read(&bytes);
        let _ = ReportRequest::read(&bytes);
    }

    /// Bytes that are more like a message than any.
    #[test]
    fn damaged_messages_are_read_without_harm(
        keys in vec((-4_i32..225, -4_i32..225), 0..12),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let set = CompressedAttributes {
            words: words(&["source.uid", "ä", "", "x"]),
            strings: keys.iter().copied().collect(),
            int64s: keys.iter().map(|(key, value)| (*value, i64::from(*key))).collect(),
            timestamps: [(24, Timestamp { seconds: 7, nanos: 7 })].into(),
            string_maps: [(15, StringMap { entries: keys.iter().copied().collect() })].into(),
            ..Default::default()
        };
        let mut bytes = set.encode_to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        // What is a message for us is one for prost, but that our texts need not be UTF-8. (It takes fields of another wire
        // type for entries of maps, so that the opposite does not hold.)
        let theirs = CompressedAttributes::decode(&*bytes);
        if let (Ok(_), Err(error)) = (read_bytes(&bytes), theirs) {
            let error = error.to_string();
            prop_assert!(error.contains("UTF-8") || error.contains("wire type"), "{error}");
        }
    }
}
