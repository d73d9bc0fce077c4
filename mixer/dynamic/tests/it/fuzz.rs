//! Whatever an adapter answers, whatever a descriptor says and whatever somebody writes into an instance: nothing panics,
//! and what is taken is what Mixer knows how to pass on.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mesh_api::Any;
use mesh_api::google::rpc::Status;
use mesh_api::istio::mixer::adapter::model::v1beta1::quota_result::Result as Granted;
use mesh_api::istio::mixer::adapter::model::v1beta1::{CheckResult, Info, QuotaResult, ReportResult};
use mesh_testing::fuzz;
use mesh_testing::objects::Choices;
use mixer_attribute::encode::{self, Sent};
use mixer_attribute::{CheckRequest, Decoder, References, Value, Vocabulary};
use mixer_dynamic::testing::{answers, built_in, compiled};
use mixer_dynamic::{Adapter, Output, Template};
use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value as Reflected};
use prost_types::Duration as Span;
use serde_json::{Value as Json, json};

use crate::world::{Attributes, EVERYTHING, everything, known};

/// The full name of the instance whose quota is asked for.
const NAME: &str = "one.instance.ns";

#[test]
fn fuzz_answers() {
    let (template, pool) = everything();
    let (nothing, pods) = (known("checknothing"), known("kubernetes"));
    let descriptor = |name: &str| pool.get_message_by_name(name).unwrap();
    let output = descriptor("everything.OutputMsg");
    let response = descriptor("everything.HandleEverythingResponse");
    fuzz::rounds("answers", |choices| {
        let said = changed(check_result(choices).encode_to_vec(), choices);
        if let Ok(checked) = answers::check(&nothing, said.into()) {
            check_again(&nothing, &checked.result);
        }
        let put_out = filled(&output, choices);
        let mut message = DynamicMessage::new(response.clone());
        message.set_field_by_name("output", Reflected::Message(put_out.clone()));
        if let Ok(checked) = answers::check(&template, changed(message.encode_to_vec(), choices).into()) {
            every_value_can_be_sent(&template, &checked.output.unwrap());
        }
        for template in [&template, &pods] {
            if let Ok(output) = answers::output(template, &changed(put_out.encode_to_vec(), choices)) {
                every_value_can_be_sent(template, &output);
            }
        }
        let said = changed(quota_result(choices).encode_to_vec(), choices);
        if let Ok(granted) = answers::quota(NAME, said.into()) {
            let _ = encode::quota_result(granted.amount, granted.valid_duration, Default::default());
        }
        let _ = answers::report(changed(ReportResult::default().encode_to_vec(), choices).into());
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn fuzz_descriptors() {
    let decoded = |text: String| STANDARD.decode(text).unwrap();
    let templates = ["metric", "quota", "kubernetes", "checknothing", "tracespan"].map(|name| {
        decoded(built_in(&format!(
            "mixer/template/{name}/template_handler_service.proto"
        )))
    });
    let everything = decoded(compiled("everything.proto", EVERYTHING));
    let templates: Vec<_> = templates.into_iter().chain([everything]).collect();
    let params = decoded(built_in("mixer/adapter/list/config/config.proto"));
    let attributes = Attributes::new();
    fuzz::rounds("descriptors", |choices| {
        let encoded = changed(choices.one_of(&templates).clone(), choices);
        if let Ok(template) = Template::read("one.template.ns", &STANDARD.encode(&encoded)) {
            let template = Arc::new(template);
            let given = instance(&template, choices);
            if let Ok(encoder) = attributes.compile(&template, &given) {
                let mut references = References::default();
                let _ = encoder.encode(&attributes.bag, &mut references);
            }
            let _ = answers::output(&template, &fuzz::damaged(encoded, choices));
        }
        let info = Info {
            config: STANDARD.encode(changed(params.clone(), choices)),
            ..Info::default()
        };
        if let Ok(adapter) = Adapter::read(info) {
            let _ = adapter.params(&anything(3, choices));
            let _ = adapter.params(&json!({"overrides": [fuzz::string(choices)], "ttl": "1s"}));
        }
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn fuzz_instances() {
    let (template, pool) = everything();
    let request = pool
        .get_message_by_name("everything.HandleEverythingRequest")
        .unwrap();
    let attributes = Attributes::new();
    fuzz::rounds("instances", |choices| {
        let given = instance(&template, choices);
        match attributes.compile(&template, &given) {
            Ok(encoder) => {
                let mut references = References::default();
                if let Ok(encoded) = encoder.encode(&attributes.bag, &mut references) {
                    DynamicMessage::decode(request.clone(), encoded.as_slice()).unwrap();
                }
            }
            Err(errors) => assert!(errors.iter().all(|error| !error.reason.is_empty()), "{errors:?}"),
        }
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

fn changed(bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    (0..choices.below(4)).fold(bytes, |bytes, _| match choices.below(4) {
        0 => fuzz::damaged(bytes, choices),
        _ => fuzz::message_changed(&bytes, choices),
    })
}

fn span(choices: &mut Choices<'_>) -> Option<Span> {
    choices.chance(80).then(|| Span {
        seconds: *choices.one_of(&[0, 1, 5, -1, i64::MAX, i64::MIN, 315_576_000_000]),
        nanos: *choices.one_of(&[0, 1, -1, 999_999_999, 1_000_000_000, i32::MIN, i32::MAX]),
    })
}

fn check_result(choices: &mut Choices<'_>) -> CheckResult {
    CheckResult {
        status: choices.chance(80).then(|| Status {
            code: *choices.one_of(&[0, 7, 16, -1, 1333, i32::MIN, i32::MAX]),
            message: fuzz::string(choices),
            details: vec![Any {
                type_url: fuzz::string(choices),
                value: fuzz::string(choices).into(),
            }],
        }),
        valid_duration: span(choices),
        valid_use_count: *choices.one_of(&[0, 1, -1, i32::MIN, i32::MAX]),
    }
}

fn quota_result(choices: &mut Choices<'_>) -> QuotaResult {
    let names = [NAME.to_owned(), fuzz::string(choices)];
    let granted = names.map(|name| {
        let granted = Granted {
            valid_duration: span(choices),
            granted_amount: *choices.one_of(&[0, 1, -1, i64::MIN, i64::MAX]),
        };
        (name, granted)
    });
    QuotaResult {
        quotas: granted.into(),
    }
}

/// A message whose fields are there or not.
fn filled(descriptor: &MessageDescriptor, choices: &mut Choices<'_>) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if choices.chance(30) {
            continue;
        }
        let number = *choices.one_of(&[0, 1, -1, i64::MIN, i64::MAX, 253_402_300_800]);
        let value = match field.kind() {
            _ if field.is_map() || field.is_list() => continue,
            Kind::String => Reflected::String(fuzz::string(choices)),
            Kind::Bytes => Reflected::Bytes(vec![0; *choices.one_of(&[0, 4, 16, 5])].into()),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Reflected::I32(number as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Reflected::I64(number),
            Kind::Uint32 | Kind::Fixed32 => Reflected::U32(number as u32),
            Kind::Uint64 | Kind::Fixed64 => Reflected::U64(number as u64),
            Kind::Double => Reflected::F64(f64::NAN),
            Kind::Bool => Reflected::Bool(true),
            Kind::Enum(_) => Reflected::EnumNumber(number as i32),
            Kind::Message(inner) => Reflected::Message(filled(&inner, choices)),
            Kind::Float => Reflected::F32(f32::INFINITY),
        };
        message.set_field(&field, value);
    }
    message
}

/// What was read of a result, sent again, is read as it was.
fn check_again(template: &Template, result: &mixer_adapter::CheckResult) {
    let seconds = i64::try_from(result.valid_duration.as_secs()).unwrap();
    let again = CheckResult {
        status: Some(result.status.clone()),
        valid_duration: Some(Span {
            seconds,
            nanos: result.valid_duration.subsec_nanos().cast_signed(),
        }),
        valid_use_count: result.valid_use_count,
    };
    let again = answers::check(template, Bytes::from(again.encode_to_vec())).unwrap();
    assert_eq!(again.result, *result);
}

/// Values that an adapter puts out become attributes, which may be sent to somebody else.
fn every_value_can_be_sent(template: &Template, output: &Output) {
    let mut vocabulary = Vocabulary::default();
    let mut sent = BTreeMap::new();
    for ((name, value_type), value) in template.outputs().zip(output.values()) {
        vocabulary.add(&name, value_type).unwrap();
        if let Some(value) = value {
            assert!(value_type.holds(value), "{name}: {value:?}");
            sent.insert(name, Sent::Value(value.clone()));
        }
    }
    let message = encode::check_request(&sent, &BTreeMap::new(), String::new(), 0).encode_to_vec();
    let decoder = Decoder::new(Arc::new(vocabulary));
    let bag = decoder
        .bag(CheckRequest::read(&message).unwrap().attributes)
        .unwrap();
    for (name, sent) in &sent {
        let read = bag.get(decoder.vocabulary().id(name).unwrap()).cloned();
        match (read, sent) {
            // What is not a number is not equal to itself.
            (Some(Value::Double(_)), Sent::Value(Value::Double(_))) => {}
            (read, sent) => assert_eq!(read.map(Sent::Value).as_ref(), Some(sent), "{name}"),
        }
    }
}

/// What somebody writes into an instance of a template: fields that it has, mostly.
fn instance(template: &Template, choices: &mut Choices<'_>) -> Json {
    const FIELDS: &[&str] = &[
        "text",
        "i64",
        "i32",
        "u32",
        "s64",
        "f32",
        "single",
        "real",
        "flag",
        "level",
        "any",
        "ip",
        "time",
        "span",
        "dns",
        "uri",
        "mail",
        "labels",
        "values",
        "by_number",
        "numbers",
        "texts",
        "inners",
        "inner",
        "scattered",
        "raw",
        "counts",
        "name",
        "value",
        "dimensions",
        "sourceUid",
        "spanTags",
        "nobody",
    ];
    let mut fields = serde_json::Map::new();
    for _ in 0..choices.below(6) {
        fields.insert((*choices.one_of(FIELDS)).to_owned(), anything(3, choices));
    }
    if let Some((name, _)) = template.outputs().next() {
        let bindings = json!({ "text": format!("output.{name}") });
        fields.insert("attribute_bindings".to_owned(), bindings);
    }
    Json::Object(fields)
}

/// JSON with expressions in it.
fn anything(depth: usize, choices: &mut Choices<'_>) -> Json {
    const EXPRESSIONS: &[&str] = &[
        "text",
        "int",
        "large",
        "real",
        "flag",
        "ip",
        "time",
        "span",
        "dns",
        "uri",
        "mail",
        "labels",
        "level",
        "absent",
        "'x'",
        "\"10s\"",
        "int + 1",
        "absent | text",
        "labels[\"app\"]",
        "HIGH",
        "(",
        "size(text)",
    ];
    match choices.below(if depth == 0 { 5 } else { 8 }) {
        0..3 => (*choices.one_of(EXPRESSIONS)).into(),
        3 => json!(choices.one_of(&[0_i64, 1, -1, i64::MAX, i64::MIN])),
        4 => choices
            .one_of(&[json!(true), json!(1.5), Json::Null, json!(1e300)])
            .clone(),
        5 => (0..choices.below(3))
            .map(|_| anything(depth - 1, choices))
            .collect(),
        _ => {
            let keys = ["text", "any", "values", "1", "-3", "app", "", "true"];
            let entries = (0..choices.below(4)).map(|_| {
                let key = (*choices.one_of(&keys)).to_owned();
                (key, anything(depth - 1, choices))
            });
            entries.collect::<serde_json::Map<_, _>>().into()
        }
    }
}
