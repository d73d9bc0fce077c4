//! From parameters to bytes.

use std::collections::BTreeMap;

use mesh_api::istio::mixer::adapter::model::v1beta1::CheckResult;
use mesh_api::metric::HandleMetricRequest;
use mixer_attribute::{References, Untracked, Value};
use mixer_dynamic::{Encoder, Output, Template};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Value as Reflected};
use serde_json::{Value as Json, json};

use crate::world::{Attributes, everything, json, known};

/// `spec 02` §10.3: every form of field, by expressions and by constants.
#[test]
fn spec_02_10_3_every_form_of_field_is_written() {
    let (template, pool) = everything();
    let attributes = Attributes::new();
    let by_expression = json!({
        "text": "text", "i64": "int", "i32": "int", "u32": "size(text)", "u64": "size(text)", "s32": "int",
        "s64": "int", "f32": "size(text)", "f64": "size(text)", "sf32": "int", "sf64": "int", "single": "real",
        "real": "real", "flag": "flag", "level": "level", "otherLevel": "size(text)", "any": "mail", "ip": "ip",
        "time": "time", "span": "span", "dns": "dns", "uri": "uri", "mail": "mail", "labels": "labels",
        "values": {"s": "text", "i": "int", "d": "real", "b": "flag", "ip": "ip", "t": "time", "x": "span",
                   "n": "dns", "u": "uri"},
        "by_number": {"-3": {"text": "text", "any": "int"}},
        "numbers": ["int", "size(text)"], "texts": ["text", "'x'"], "inners": [{"text": "text"}, {}],
        "inner": {"text": "'constant'", "any": "ip", "values": {"k": "real"}},
        "counts": {"a": "int"},
    });
    let written = attributes.instance(&template, &pool, &by_expression);
    let value = |name: &str| written[name].clone();
    for (name, expected) in [
        ("text", json!("words")),
        ("i64", json!(-7)),
        ("i32", json!(-7)),
        ("u32", json!(5)),
        ("u64", json!(5)),
        ("s32", json!(-7)),
        ("s64", json!(-7)),
        ("f32", json!(5)),
        ("f64", json!(5)),
        ("sf32", json!(-7)),
        ("sf64", json!(-7)),
        ("single", json!(1.5)),
        ("real", json!(1.5)),
        ("flag", json!(true)),
        ("level", json!("HIGH")),
        ("otherLevel", json!("HIGH")),
        ("any", json!({"emailAddressValue": {"value": "a@b.c"}})),
        ("ip", json!({"value": "CgAAAQ=="})),
        ("time", json!({"value": "1970-01-01T00:00:05.000000006Z"})),
        ("span", json!({"value": "7s"})),
        ("dns", json!({"value": "example.com"})),
        ("uri", json!({"value": "http://a"})),
        ("mail", json!({"value": "a@b.c"})),
        ("labels", json!({"app": "shop", "v": "1"})),
        (
            "values",
            json!({
                "s": {"stringValue": "words"}, "i": {"int64Value": -7}, "d": {"doubleValue": 1.5},
                "b": {"boolValue": true}, "ip": {"ipAddressValue": {"value": "CgAAAQ=="}},
                "t": {"timestampValue": {"value": "1970-01-01T00:00:05.000000006Z"}},
                "x": {"durationValue": {"value": "7s"}}, "n": {"dnsNameValue": {"value": "example.com"}},
                "u": {"uriValue": {"value": "http://a"}},
            }),
        ),
        (
            "byNumber",
            json!({"-3": {"text": "words", "any": {"int64Value": -7}}}),
        ),
        ("numbers", json!([-7, 5])),
        ("texts", json!(["words", "x"])),
        ("inners", json!([{"text": "words"}, {}])),
        (
            "inner",
            json!({"text": "constant", "any": {"ipAddressValue": {"value": "CgAAAQ=="}},
                   "values": {"k": {"doubleValue": 1.5}}}),
        ),
        ("counts", json!({"a": -7})),
        ("name", json!("one.instance.ns")),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
}

/// `spec 02` §10.3: numbers, truth values, names of enumerations and quoted text need no expression.
#[test]
fn spec_02_10_3_constants_stand_as_they_are() {
    let (template, pool) = everything();
    let params = json!({
        "text": "\"10s\"", "i64": 42, "i32": "3", "real": 2.0, "flag": true, "level": "HIGH", "otherLevel": 5,
        "any": "'10s'", "values": {"n": 1.0, "h": 1.5, "b": false, "q": "\"x\"", "span": "\"10s\""},
        "texts": ["'a'"], "labels": {"k": "'v'"}, "u64": "", "dns": null,
    });
    let written = Attributes::new().instance(&template, &pool, &params);
    let expected = json!({
        "text": "10s", "i64": 42, "i32": 3, "real": 2.0, "flag": true, "level": "HIGH", "otherLevel": "HIGH",
        "any": {"stringValue": "10s"},
        "values": {"n": {"int64Value": 1}, "h": {"doubleValue": 1.5}, "b": {"boolValue": false},
                   "q": {"stringValue": "x"}, "span": {"durationValue": {"value": "10s"}}},
        "texts": ["a"], "labels": {"k": "v"}, "name": "one.instance.ns",
    });
    assert_eq!(written, expected);
}

/// `spec 02` §10.3, §6.2: what is wrong is named, everything at once.
#[test]
fn spec_02_10_3_what_is_wrong_with_parameters_is_told_by_field() {
    let (template, _) = everything();
    let attributes = Attributes::new();
    for (params, field, reason) in [
        (json!({"nothing": "text"}), "nothing", "has no such field"),
        (
            json!({"text": "int"}),
            "text",
            "typeError got INT64, expected STRING",
        ),
        (json!({"text": "missing"}), "text", "unknown attribute missing"),
        (json!({"text": 5}), "text", "is not STRING"),
        (json!({"i64": "real"}), "i64", "expected INT64"),
        (json!({"level": "real"}), "level", "expected a value of Level"),
        (json!({"level": "'NEVER'"}), "level", "Level has no value"),
        (
            json!({"any": "labels"}),
            "any",
            "expected anything but STRING_MAP",
        ),
        (json!({"ip": "text"}), "ip", "expected IP_ADDRESS"),
        (json!({"i32": 1u64 << 40}), "i32", "does not fit in"),
        (json!({"u32": -1}), "u32", "does not fit in"),
        (json!({"raw": "text"}), "raw", "no expression gives bytes"),
        (json!({"scattered": ["int"]}), "scattered", "not packed"),
        (json!({"numbers": "int"}), "numbers", "is not a list"),
        (json!({"numbers": [""]}), "numbers[0]", "is empty"),
        (json!({"inner": "text"}), "inner", "is not an object"),
        (json!({"inner": {"any": "+"}}), "inner.any", ""),
        (
            json!({"values": {"k": "missing"}}),
            "values[k]",
            "unknown attribute",
        ),
        (
            json!({"by_number": {"x": {}}}),
            "byNumber[x]",
            "the key is of another type",
        ),
        (json!({"name": "'mine'"}), "name", "are called as their objects"),
        (
            json!({"other_level": 1, "otherLevel": 1}),
            "otherLevel",
            "there twice",
        ),
        (json!(["text"]), "", "is not an object"),
    ] {
        let errors = attributes.compile(&template, &params).unwrap_err();
        assert_eq!(errors.len(), 1, "{params}: {errors:?}");
        let error = &errors[0];
        assert!(
            (error.field == field || field == "otherLevel" && error.field == "other_level")
                && error.reason.contains(reason),
            "{params}: {error}"
        );
    }
    let errors = attributes.compile(&template, &json!({"text": "int", "i64": "text"}));
    assert_eq!(errors.unwrap_err().len(), 2);
    let bindings = BTreeMap::from([("text".to_owned(), "output.value".to_owned())]);
    let vocabulary = &attributes.vocabulary;
    let error = Encoder::compile(&template, "x", &Json::Null, &bindings, vocabulary).unwrap_err();
    assert_eq!(error[0].field, "attributeBindings");
}

/// `spec 02` §4.3: what has no value for a request is an error with its field; what is read is tracked.
#[test]
fn spec_02_4_3_fields_without_value_are_errors() {
    let (template, _) = everything();
    let attributes = Attributes::new();
    let encode = |params: &Json| {
        let encoder = attributes.compile(&template, params).unwrap();
        let mut references = References::default();
        let encoded = encoder.encode(&attributes.bag, &mut references);
        (
            encoded.map_err(|error| error.to_string()),
            references.attributes().count(),
        )
    };
    let (encoded, read) = encode(&json!({"inner": {"text": "absent"}}));
    assert_eq!(
        (encoded.unwrap_err().as_str(), read),
        ("field inner.text: lookup failed: 'absent'", 1)
    );
    assert!(encode(&json!({"text": "absent | \"x\""})).0.is_ok());
    let (encoded, _) = encode(&json!({"i32": "large"}));
    assert!(encoded.unwrap_err().contains("does not fit in"));
    let (encoded, _) = encode(&json!({"level": "text"}));
    assert!(encoded.unwrap_err().contains("Level has no value \"words\""));
}

/// `spec 02` §10.1: types of what may be of any, for sessions.
#[test]
fn spec_02_10_1_types_are_inferred() {
    let (template, pool) = everything();
    let params = json!({
        "any": "ip", "values": {"a": "int", "b": 1.5}, "inner": {"any": "text", "values": {"c": "span"}},
        "text": "text",
    });
    let encoder = Attributes::new().compile(&template, &params).unwrap();
    let inferred = encoder.inferred().unwrap();
    assert_eq!(inferred.type_url, "type.googleapis.com/everything.Type");
    let descriptor = pool.get_message_by_name("everything.Type").unwrap();
    let types = DynamicMessage::decode(descriptor, inferred.value.clone()).unwrap();
    assert_eq!(
        json(&types),
        json!({
            "any": "IP_ADDRESS", "values": {"a": "INT64", "b": "DOUBLE"},
            "inner": {"any": "STRING", "values": {"c": "DURATION"}},
        })
    );
}

/// `spec 02` §10.2: a template that is built in, as somebody else's generated code reads it.
#[test]
fn spec_02_10_2_templates_that_are_built_in_are_written_alike() {
    let attributes = Attributes::new();
    let params = json!({
        "value": "1", "dimensions": {"code": "int", "name": "text"}, "monitored_resource_type": "'UNSPECIFIED'",
    });
    let mut written = Vec::new();
    let of_object = known("metric");
    let own = std::sync::Arc::new(Template::built_in(mixer_template::Template::Metric).unwrap());
    for template in [&of_object, &own] {
        let encoder = attributes.compile(template, &params).unwrap();
        written.push(encoder.encode(&attributes.bag, &mut Untracked).unwrap());
    }
    assert_eq!(written[0], written[1]);
    assert_eq!(of_object.path(), own.path());
    let request = HandleMetricRequest::decode(written[0].as_slice()).unwrap();
    let instance = &request.instances[0];
    assert_eq!(instance.name, "one.instance.ns");
    assert_eq!(instance.monitored_resource_type, "UNSPECIFIED");
    assert_eq!(instance.dimensions.len(), 2);
    // Fields stand in the order of their numbers, as generated code writes them.
    assert_eq!(request.encode_to_vec(), written[0]);
    for template in mixer_template::Template::ALL {
        let remote = Template::built_in(*template).unwrap();
        assert_eq!(remote.variety(), template.variety(), "{template}");
    }
}

/// `spec 02` §10.3: one level of an output; what is not set is absent, whole numbers are INT64.
#[test]
fn spec_02_10_3_outputs_are_read_by_their_descriptor() {
    let (template, pool) = everything();
    let descriptor = pool.get_message_by_name("everything.OutputMsg").unwrap();
    let mut message = DynamicMessage::new(descriptor);
    message.set_field_by_name("value", Reflected::String("text".to_owned()));
    message.set_field_by_name("count", Reflected::I32(-4));
    message.set_field_by_name("level", Reflected::EnumNumber(5));
    message.set_field_by_name("huge", Reflected::U64(u64::MAX));
    let output = Output::read(&template, &message.encode_to_vec()).unwrap();
    let names: Vec<_> = template.outputs().map(|(name, _)| name).collect();
    let value = |name: &str| {
        let index = names.iter().position(|known| known == name).unwrap();
        output.values()[index].clone()
    };
    assert_eq!(value("value"), Some(Value::from("text")));
    assert_eq!(value("count"), Some(Value::Int64(-4)));
    assert_eq!(value("level"), Some(Value::Int64(5)));
    for absent in ["ip", "labels", "flag", "real", "time", "uri", "huge"] {
        assert_eq!(value(absent), None, "{absent}");
    }
    let mapped: std::net::Ipv6Addr = "::ffff:10.0.0.1".parse().unwrap();
    let mut address = DynamicMessage::new(
        pool.get_message_by_name("istio.policy.v1beta1.IPAddress")
            .unwrap(),
    );
    address.set_field_by_name("value", Reflected::Bytes(mapped.octets().to_vec().into()));
    message.set_field_by_name("ip", Reflected::Message(address));
    let output = Output::read(&template, &message.encode_to_vec()).unwrap();
    let index = names.iter().position(|name| name == "ip").unwrap();
    let ipv4 = Value::IpAddress("10.0.0.1".parse().unwrap());
    assert_eq!(output.values()[index], Some(ipv4), "it has to equal itself");
    assert!(!names.contains(&"raw".to_owned()), "bytes are of no type");
    // Times and addresses are those that attributes can be, as in requests.
    let wrapped = |field: &str, inner: &[u8]| {
        let field = pool
            .get_message_by_name("everything.OutputMsg")
            .unwrap()
            .get_field_by_name(field);
        let mut encoded = Vec::new();
        let content = [&[0x0a, u8::try_from(inner.len()).unwrap()][..], inner].concat();
        prost::encoding::bytes::encode(field.unwrap().number(), &content, &mut encoded);
        Output::read(&template, &encoded)
            .unwrap()
            .into_values()
            .into_iter()
            .flatten()
            .next()
    };
    let time = |seconds, nanos| prost_types::Timestamp { seconds, nanos }.encode_to_vec();
    assert!(matches!(wrapped("time", &time(7, 7)), Some(Value::Timestamp(_))));
    for (seconds, nanos) in [(i64::MAX, 0), (0, -1), (0, i32::MAX), (253_402_300_800, 0)] {
        assert_eq!(wrapped("time", &time(seconds, nanos)), None, "{seconds} {nanos}");
    }
    let mapped = std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
    assert_eq!(
        wrapped("ip", &mapped),
        Some(Value::IpAddress([10, 0, 0, 1].into()))
    );
    assert_eq!(wrapped("ip", &[1, 2, 3, 4, 5]), None);
    Output::read(&template, b"\xff\xff").unwrap_err();
    let check = known("checknothing");
    assert_eq!(
        Output::read(&check, &CheckResult::default().encode_to_vec())
            .unwrap()
            .values(),
        []
    );
}
