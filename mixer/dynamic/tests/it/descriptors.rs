//! What objects bring is not trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_api::istio::mixer::adapter::model::v1beta1::Info;
use mixer_dynamic::testing::{built_in, compiled};
use mixer_dynamic::{Adapter, Template};
use mixer_template::Variety;
use proptest::prelude::*;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::json;

use crate::world::EVERYTHING;

fn refusal(descriptor: &str) -> String {
    Template::read("x.template.ns", descriptor)
        .unwrap_err()
        .to_string()
}

fn edited(from: &str, to: &str) -> String {
    assert!(EVERYTHING.contains(from), "{from}");
    compiled("everything.proto", &EVERYTHING.replace(from, to))
}

#[test]
fn spec_02_10_3_templates_are_read_from_descriptors() {
    let template = Template::read("x.template.ns", &edited("", "")).unwrap();
    assert_eq!(template.variety(), Variety::CheckWithOutput);
    assert_eq!(
        template.path().as_str(),
        "/everything.HandleEverythingService/HandleEverything"
    );
    // Zero is a variety like any other, and long lines may be folded.
    let check = built_in("mixer/template/checknothing/template_handler_service.proto");
    let folded: String = check
        .as_bytes()
        .chunks(76)
        .flat_map(|line| [std::str::from_utf8(line).unwrap(), "\n"])
        .collect();
    let template = Template::read("x.template.ns", &folded).unwrap();
    assert_eq!(template.variety(), Variety::Check);
}

#[test]
fn spec_02_10_3_descriptors_that_are_no_template_are_refused_with_a_reason() {
    let option =
        "option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_CHECK_WITH_OUTPUT;";
    let name = "option (istio.mixer.adapter.model.v1beta1.template_name) = \"everything\";";
    // Without its imports.
    let set = STANDARD.decode(edited("", "")).unwrap();
    let mut alone = FileDescriptorSet::decode(set.as_slice()).unwrap();
    alone.file.retain(|file| file.name() == "everything.proto");
    // Two templates.
    let other = compiled(
        "both.proto",
        "syntax = \"proto3\";\npackage both;\nimport \"mixer/template/metric/template_handler_service.proto\";\n\
         import \"istio/mixer/adapter/model/v1beta1/extensions.proto\";\n\
         option (istio.mixer.adapter.model.v1beta1.template_name) = \"both\";\n\
         option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_REPORT;\n\
         message InstanceMsg { metric.InstanceMsg one = 1; }\n",
    );
    for (descriptor, reason) in [
        (String::new(), "the descriptor is missing"),
        ("!".to_owned(), "is not base64"),
        (STANDARD.encode("no descriptor"), "not a set of files"),
        (STANDARD.encode(alone.encode_to_vec()), "not a set of files"),
        ("A".repeat((4 << 20) + 4), "which is more than"),
        (edited(option, ""), "no file has the option template_variety"),
        (edited(name, ""), "template_name must be letters"),
        (
            edited(name, &name.replace("\"everything\"", "\"every thing\"")),
            "template_name must be letters",
        ),
        (other, "both have the option template_variety"),
        (
            edited("service HandleEverythingService", "service Everything"),
            "the service Handle… is missing",
        ),
        (
            edited(
                "  rpc HandleEverything(HandleEverythingRequest) returns (HandleEverythingResponse);",
                "",
            ),
            "the method of HandleEverythingService is missing",
        ),
        (
            edited("InstanceMsg", "Instance"),
            "the message InstanceMsg is missing",
        ),
        (edited("OutputMsg", "Output"), "the message OutputMsg is missing"),
    ] {
        let told = refusal(&descriptor);
        assert!(told.contains(reason), "{reason}: {told}");
    }
}

#[test]
fn spec_02_10_3_parameters_of_adapters_are_checked() {
    let params = "syntax = \"proto3\";\npackage own.config;\nimport \"google/protobuf/duration.proto\";\n\
                  message Params { string file_path = 1; google.protobuf.Duration every = 2; }\n";
    let adapter = |config: String| {
        Adapter::read(Info {
            config,
            session_based: true,
            templates: vec!["metric".to_owned()],
            ..Info::default()
        })
    };
    let read = adapter(compiled("config.proto", params)).unwrap();
    assert!(read.session_based);
    let spelled = [
        json!({"file_path": "/tmp/x", "every": "1m30s"}),
        json!({"filePath": "/tmp/x", "every": "90s"}),
    ];
    let [first, second] = spelled.map(|given| read.params(&given).unwrap().unwrap());
    assert_eq!(first, second);
    assert_eq!(first.type_url, "type.googleapis.com/own.config.Params");
    assert!(read.params(&json!(null)).unwrap().unwrap().value.is_empty());
    let error = read.params(&json!({"unknown": 1})).unwrap_err();
    assert_eq!(error.field, "unknown");
    let error = read.params(&json!({"filePath": 1})).unwrap_err();
    assert_eq!(error.field, "filePath");

    let none = adapter(String::new()).unwrap();
    assert_eq!(none.params(&json!(null)).unwrap(), None);
    assert_eq!(none.params(&json!({"x": 1})).unwrap_err().field, "x");
    let other = compiled("config.proto", &params.replace("Params", "Settings"));
    let error = adapter(other).unwrap_err();
    assert_eq!(error.to_string(), "config: the message Params is missing");
    adapter("?".to_owned()).unwrap_err();
}

proptest! {
    /// Whatever somebody writes into an object, something is said about it.
    #[test]
    fn damaged_descriptors_harm_nobody(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut set = STANDARD.decode(everything()).unwrap();
        for (place, byte) in changes {
            let place = place.index(set.len());
            set[place] = byte;
        }
        let _either = Template::read("x.template.ns", &STANDARD.encode(set));
    }
}

fn everything() -> &'static str {
    static TEXT: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| compiled("everything.proto", EVERYTHING));
    &TEXT
}
