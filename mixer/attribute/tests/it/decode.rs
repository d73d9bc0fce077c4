//! Messages that are as they should be.

use mesh_api::istio::mixer::v1::report_request::RepeatedAttributesSemantics;
use mesh_api::istio::mixer::v1::{self, CompressedAttributes, StringMap, check_request};
use mixer_attribute::{
    Bag, CheckRequest, Compressed, DecodeError, QuotaParams, ReportRequest, Semantics, Undecodable, Value,
};
use prost::Message;
use prost_types::{Duration, Timestamp};

use crate::world::{decoder, get, read, words};

/// M01, M105: values of every type.
#[test]
fn m01_m105_values_of_every_type_are_read() {
    let set = CompressedAttributes {
        words: words(&[
            "kubernetes://a.b",
            "test.double",
            "x@y",
            "test.email",
            "test.uri",
            "http://x",
            "a",
            "origin.ip",
        ]),
        strings: [(3, -1), (-4, -3), (-5, -6), (193, -7)].into(),
        int64s: [(151, i64::MIN)].into(),
        doubles: [(-2, 0.5)].into(),
        bools: [(177, true)].into(),
        timestamps: [(24, Timestamp { seconds: 1, nanos: 2 })].into(),
        durations: [(
            29,
            Duration {
                seconds: -1,
                nanos: -2,
            },
        )]
        .into(),
        bytes: [
            (0, vec![10, 0, 0, 1].into()),
            (
                -8,
                vec![0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].into(),
            ),
        ]
        .into(),
        string_maps: [(
            15,
            StringMap {
                entries: [(19, 90)].into(),
            },
        )]
        .into(),
    };
    let (values, absent) = read(&set).unwrap();
    assert!(absent.is_empty());
    let map = mixer_attribute::StringMap::borrowed([("request.method", "GET")]).into_owned();
    assert_eq!(
        values,
        [
            ("source.uid", "kubernetes://a.b".into()),
            ("source.ip", Value::IpAddress([10, 0, 0, 1].into())),
            ("destination.port", Value::Int64(i64::MIN)),
            (
                "request.time",
                Value::Timestamp(Timestamp { seconds: 1, nanos: 2 })
            ),
            (
                "response.duration",
                Value::Duration(Duration {
                    seconds: -1,
                    nanos: -2
                })
            ),
            ("connection.mtls", Value::Bool(true)),
            ("request.headers", Value::StringMap(map)),
            ("test.double", Value::Double(0.5)),
            ("test.email", "x@y".into()),
            ("test.uri", "http://x".into()),
            ("destination.service.host", "a".into()),
            ("origin.ip", Value::IpAddress("fe80::1".parse().unwrap())),
        ]
    );
}

/// M106: -1 is the first word of the message, and `86: -4` says `user-agent: Mozilla/5.0`.
#[test]
fn m106_the_worked_example_of_the_dictionaries() {
    let set = CompressedAttributes {
        words: words(&["first", "b", "c", "Mozilla/5.0"]),
        strings: [(17, -1)].into(),
        string_maps: [(
            15,
            StringMap {
                entries: [(86, -4)].into(),
            },
        )]
        .into(),
        ..Default::default()
    };
    let bytes = set.encode_to_vec();
    let decoder = decoder();
    let bag = decoder.bag(Compressed(&bytes)).unwrap();
    assert_eq!(get(&decoder, &bag, "request.path"), Some("first".into()));
    let Some(Value::StringMap(headers)) = get(&decoder, &bag, "request.headers") else {
        panic!("no headers");
    };
    assert_eq!(headers.get("user-agent").as_deref(), Some("Mozilla/5.0"));
    assert_eq!(headers.get("cookie"), None);
}

/// What protobuf leaves out is zero: index 0 is `source.ip`.
#[test]
fn keys_and_values_that_are_left_out_are_zero() {
    let set = CompressedAttributes {
        strings: [(17, 0)].into(),
        int64s: [(151, 0)].into(),
        bools: [(177, false)].into(),
        timestamps: [(24, Timestamp::default())].into(),
        bytes: [(0, vec![1, 2, 3, 4].into())].into(),
        string_maps: [(
            15,
            StringMap {
                entries: [(0, 0)].into(),
            },
        )]
        .into(),
        ..Default::default()
    };
    let (values, absent) = read(&set).unwrap();
    assert_eq!((values.len(), absent), (6, vec![]));
    assert!(values.contains(&("request.path", "source.ip".into())));
    assert!(values.contains(&("connection.mtls", Value::Bool(false))));
}

/// §2.2, M41: IPv4 in the form of IPv6 is IPv4; every other length is no address.
#[test]
fn addresses_have_4_or_16_bytes() {
    let of = |bytes: &[u8]| {
        let set = CompressedAttributes {
            bytes: [(0, bytes.to_vec().into())].into(),
            ..Default::default()
        };
        read(&set).unwrap()
    };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    assert_eq!(
        of(&mapped).0,
        [("source.ip", Value::IpAddress([10, 0, 0, 1].into()))]
    );
    for length in [0, 3, 5, 15, 17, 1000] {
        let (values, absent) = of(&vec![1; length]);
        assert_eq!(values, []);
        assert_eq!(
            absent[0].to_string(),
            format!("attribute source.ip has {length} bytes, which is no address")
        );
    }
}

/// Headers may have any bytes.
#[test]
fn words_that_are_not_utf_8_are_read_as_far_as_they_are() {
    let set = CompressedAttributes {
        words: words(&["aXb"]),
        strings: [(17, -1)].into(),
        string_maps: [(
            15,
            StringMap {
                entries: [(86, -1), (59, 90)].into(),
            },
        )]
        .into(),
        ..Default::default()
    };
    let mut bytes = set.encode_to_vec();
    bytes[3] = 0xe9;
    let decoder = decoder();
    let bag = decoder.bag(Compressed(&bytes)).unwrap();
    assert_eq!(get(&decoder, &bag, "request.path"), Some("a\u{fffd}b".into()));
    let Some(Value::StringMap(headers)) = get(&decoder, &bag, "request.headers") else {
        panic!("no headers");
    };
    assert_eq!(headers.get("user-agent").as_deref(), Some("a\u{fffd}b"));
    assert_eq!(headers.get("cookie").as_deref(), Some("GET"));
}

/// §3.3: a client may know more attributes than the configuration.
#[test]
fn unknown_attributes_are_passed_over() {
    let set = CompressedAttributes {
        words: words(&["x.y"]),
        strings: [(-1, 90), (18, 90), (17, 90)].into(),
        string_maps: [(
            5,
            StringMap {
                entries: [(86, 90)].into(),
            },
        )]
        .into(),
        ..Default::default()
    };
    assert_eq!(read(&set), Ok((vec![("request.path", "GET".into())], vec![])));
}

#[test]
fn a_check_request_is_read() {
    let message = v1::CheckRequest {
        attributes: Some(CompressedAttributes {
            int64s: [(151, 9080)].into(),
            ..Default::default()
        }),
        global_word_count: 221,
        deduplication_id: "d-1".to_owned(),
        quotas: [
            (
                "a".to_owned(),
                check_request::QuotaParams {
                    amount: 3,
                    best_effort: true,
                },
            ),
            (
                "b".to_owned(),
                check_request::QuotaParams {
                    amount: -1,
                    best_effort: false,
                },
            ),
        ]
        .into(),
    };
    let bytes = message.encode_to_vec();
    let request = CheckRequest::read(&bytes).unwrap();
    assert_eq!(
        (request.global_word_count, request.deduplication_id),
        (221, "d-1")
    );
    let quotas: Vec<_> = request.quotas.into_iter().collect();
    assert_eq!(
        quotas,
        [
            (
                "a",
                QuotaParams {
                    amount: 3,
                    best_effort: true
                }
            ),
            (
                "b",
                QuotaParams {
                    amount: -1,
                    best_effort: false
                }
            )
        ]
    );
    let decoder = decoder();
    let bag = decoder.bag(request.attributes).unwrap();
    assert_eq!(get(&decoder, &bag, "destination.port"), Some(Value::Int64(9080)));

    let empty = CheckRequest::read(&[]).unwrap();
    assert!(empty.attributes.0.is_empty() && empty.quotas.is_empty());
}

fn report(sets: Vec<CompressedAttributes>, semantics: RepeatedAttributesSemantics) -> Vec<u8> {
    let message = v1::ReportRequest {
        attributes: sets,
        repeated_attributes_semantics: semantics.into(),
        default_words: words(&["/default"]),
        global_word_count: 100,
    };
    message.encode_to_vec()
}

fn path(words: &[&str], value: i32) -> CompressedAttributes {
    CompressedAttributes {
        words: crate::world::words(words),
        strings: [(17, value)].into(),
        ..Default::default()
    }
}

/// §2.7: the default words are those of sets without words, and independent sets have nothing of each other.
#[test]
fn independent_sets_stand_alone() {
    let port = CompressedAttributes {
        int64s: [(151, 1)].into(),
        ..Default::default()
    };
    let sets = vec![path(&[], -1), path(&["/own"], -1), port];
    let bytes = report(sets, RepeatedAttributesSemantics::IndependentEncoding);
    let request = ReportRequest::read(&bytes).unwrap();
    assert_eq!(
        (request.semantics, request.global_word_count),
        (Semantics::Independent, 100)
    );
    let decoder = decoder();
    let mut reader = decoder.reader(&request.default_words);
    let mut bag = Bag::new(decoder.vocabulary());
    let mut paths = Vec::new();
    for set in request.attributes {
        reader.read(&mut bag, set).unwrap();
        paths.push(get(&decoder, &bag, "request.path"));
    }
    assert_eq!(paths, [Some("/default".into()), Some("/own".into()), None]);
}

/// §2.7: a delta changes what it names; one that cannot be read changes nothing.
#[test]
fn deltas_change_what_they_name() {
    let port = |port| CompressedAttributes {
        int64s: [(151, port)].into(),
        ..Default::default()
    };
    let mut bad = port(3);
    bad.strings = [(17, 500)].into();
    let sets = vec![path(&[], -1), port(1), bad, path(&["/own"], -1)];
    let bytes = report(sets, RepeatedAttributesSemantics::DeltaEncoding);
    let request = ReportRequest::read(&bytes).unwrap();
    assert_eq!(request.semantics, Semantics::Delta);
    let decoder = decoder();
    let mut reader = decoder.reader(&request.default_words);
    let mut bag = Bag::new(decoder.vocabulary());
    let mut seen = Vec::new();
    for set in request.attributes {
        let applied = reader.apply(&mut bag, set);
        seen.push((
            get(&decoder, &bag, "request.path"),
            get(&decoder, &bag, "destination.port"),
            applied,
        ));
    }
    let undefined = DecodeError::Undecodable(Undecodable::Index { index: 500 });
    assert_eq!(
        undefined.to_string(),
        "attribute index 500 is not defined in the available dictionaries"
    );
    let one = Some(Value::Int64(1));
    assert_eq!(
        seen,
        [
            (Some("/default".into()), None, Ok(())),
            (Some("/default".into()), one.clone(), Ok(())),
            (Some("/default".into()), one.clone(), Err(undefined)),
            (Some("/own".into()), one, Ok(())),
        ]
    );
}
