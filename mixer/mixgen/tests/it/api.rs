//! Handler services made of templates.

use std::fs;

use prost::Message as _;
use prost_reflect::FileDescriptor;
use prost_types::FileDescriptorProto;

use crate::support::{Author, TEMPLATES, protos};

/// Names of more than one word, as services spell them.
const CAPITALS: [(&str, &str); 6] = [
    ("apikey", "ApiKey"),
    ("checknothing", "CheckNothing"),
    ("listentry", "ListEntry"),
    ("logentry", "LogEntry"),
    ("reportnothing", "ReportNothing"),
    ("tracespan", "TraceSpan"),
];

/// What a file declares, but for its name and comments, and its options with those of Mixer.
fn declared(file: &FileDescriptor) -> (FileDescriptorProto, Vec<u8>) {
    let mut proto = file.file_descriptor_proto().clone();
    proto.name = None;
    proto.source_code_info = None;
    (proto, file.options().encode_to_vec())
}

#[test]
fn m101_services_of_the_built_in_templates_are_made_of_their_templates() {
    let author = Author::new();
    for name in TEMPLATES {
        let text =
            fs::read_to_string(protos().join(format!("mixer/template/{name}/template.proto"))).unwrap();
        let spelled = CAPITALS.iter().find(|(lower, _)| *lower == name);
        let text = match spelled {
            Some((lower, capitals)) => text.replace(&format!("= \"{lower}\""), &format!("= \"{capitals}\"")),
            None => text,
        };
        author.write("template.proto", &text);
        author.succeed(&["api", "-t", "template.proto", "--proto_out", "service.proto"]);
        let made = author.compiled("service.proto");
        let wanted = format!("mixer/template/{name}/template_handler_service.proto");
        assert_eq!(
            declared(&made.get_file_by_name("service.proto").unwrap()),
            declared(&author.compiled(&wanted).get_file_by_name(&wanted).unwrap()),
            "{name}:\n{}",
            author.read("service.proto")
        );
    }
}

const TEMPLATE: &str = "syntax = \"proto3\";

package acme.mixer.headerCheck;

import \"mixer/adapter/model/v1beta1/extensions.proto\";
import \"policy/v1beta1/type.proto\";

option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_CHECK_WITH_OUTPUT;

/* Who calls.
   And whence. */
message Template {
  // The token.
  string token = 3;
  istio.policy.v1beta1.IPAddress address = 1;
  repeated Part parts = 4;
  map<string, acme.mixer.headerCheck.Part> by_name = 5;
  istio.policy.v1beta1.Value any = 9;
}

// What is known.
message OutputTemplate {
  string user = 1;
  map<string, string> headers = 2;
}

message Part {
  int64 size = 1;
  Part inner = 2;
  map<string, istio.policy.v1beta1.Value> values = 3;
}
";

#[test]
fn m101_a_new_template_becomes_a_service_as_with_istio_1_1() {
    let author = Author::new();
    // The folders of 1.1, whose protos are imported by other names than ours.
    for (from, to) in [
        ("istio/mixer/adapter/model", "mixer/adapter/model"),
        ("istio/policy", "policy"),
    ] {
        for entry in fs::read_dir(protos().join(from).join("v1beta1")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap().replace("\"istio/", "\"");
            author.write(
                &format!("{to}/v1beta1/{}", path.file_name().unwrap().to_str().unwrap()),
                &text,
            );
        }
    }
    author.write("template.proto", TEMPLATE);
    author.descriptor_set("template.descriptor_set", &["template.proto"], true);
    author.succeed(&[
        "api",
        "-t",
        "template.descriptor_set",
        "--proto_out",
        "service.proto",
    ]);
    let text = author.read("service.proto");
    for expected in [
        "import \"mixer/adapter/model/v1beta1/check.proto\";",
        "import \"policy/v1beta1/value_type.proto\";",
        "// Who calls.\n// And whence.\nmessage InstanceMsg {\n  // The token.\n  string token = 3;\n",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }

    let pool = author.compiled("service.proto");
    let package = "acme.mixer.headercheck";
    let service = pool.get_service_by_name(&format!("{package}.HandleHeaderCheckService"));
    let method = service.unwrap().methods().next().unwrap();
    let response: Vec<String> = method
        .output()
        .fields()
        .map(|field| field.name().to_owned())
        .collect();
    assert_eq!(
        (method.name(), &*response),
        (
            "HandleHeaderCheck",
            &["result".to_owned(), "output".to_owned()][..]
        )
    );
    let fields = |name: &str| -> Vec<(String, u32, String, bool)> {
        let message = pool.get_message_by_name(&format!("{package}.{name}")).unwrap();
        let shown = |field: prost_reflect::FieldDescriptor| {
            let kind = match field.kind() {
                prost_reflect::Kind::Message(entry) if field.is_map() => {
                    format!("map {:?}", entry.map_entry_value_field().kind())
                }
                kind => format!("{kind:?}"),
            };
            (field.name().to_owned(), field.number(), kind, field.is_list())
        };
        message.fields().map(shown).collect()
    };
    let field = |name: &str, number, kind: &str, list| (name.to_owned(), number, kind.to_owned(), list);
    assert_eq!(
        fields("Type"),
        [
            field("parts", 4, "acme.mixer.headercheck.PartType", true),
            field("by_name", 5, "map acme.mixer.headercheck.PartType", false),
            field("any", 9, "istio.policy.v1beta1.ValueType", false),
        ]
    );
    assert_eq!(
        fields("InstanceParam"),
        [
            field("address", 1, "string", false),
            field("token", 3, "string", false),
            field("parts", 4, "acme.mixer.headercheck.PartInstanceParam", true),
            field(
                "by_name",
                5,
                "map acme.mixer.headercheck.PartInstanceParam",
                false
            ),
            field("any", 9, "string", false),
        ]
    );
    assert_eq!(
        fields("InstanceMsg").last().unwrap(),
        &field("name", 72_295_727, "string", false)
    );

    // And what it makes is what `template` takes.
    author.succeed(&[
        "template",
        "-d",
        "service.proto",
        "-n",
        "headercheck",
        "-o",
        "template.yaml",
    ]);
    assert!(author.read("template.yaml").contains("kind: template"));
}

#[test]
fn m101_what_no_template_can_have_is_told_with_its_file() {
    let author = Author::new();
    let template = |variety: &str, rest: &str| {
        format!(
            "syntax = \"proto3\"; package a;
import \"istio/mixer/adapter/model/v1beta1/extensions.proto\";
import \"istio/policy/v1beta1/type.proto\";
option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_{variety};
{rest}"
        )
    };
    for (variety, rest, reason) in [
        ("CHECK", "", "has no message Template"),
        (
            "QUOTA",
            "message Template { int32 size = 1; }",
            "Template.size: is of a type that no template has",
        ),
        (
            "CHECK",
            "message Template { map<int64, string> m = 1; }",
            "Template.m: is of a type that no template has",
        ),
        (
            "CHECK",
            "message Template { Inner inner = 1; message Inner {} }",
            "Template.inner: is of a type that no template has",
        ),
        (
            "CHECK",
            "message Template { string Name = 1; }",
            "Template.Name: is the name of the instance",
        ),
        (
            "CHECK",
            "message Template { optional string a = 1; }",
            "Template.a: is optional or in a oneof",
        ),
        (
            "CHECK",
            "message Template {} message Part { bytes raw = 1; }",
            "Part.raw: is of a type that no template has",
        ),
        (
            "ATTRIBUTE_GENERATOR",
            "message Template { istio.policy.v1beta1.Value v = 1; }",
            "Template.v: is of a type that no template has",
        ),
        (
            "ATTRIBUTE_GENERATOR",
            "message Template {}",
            "has no message OutputTemplate",
        ),
        (
            "CHECK_WITH_OUTPUT",
            "message Template {} message OutputTemplate { repeated string all = 1; }",
            "OutputTemplate.all: a field of an output is",
        ),
    ] {
        author.write("template.proto", &template(variety, rest));
        let error = author.fail(&["api", "-t", "template.proto", "--proto_out", "service.proto"]);
        let expected = format!("template.proto: template.proto: {reason}");
        assert!(error.starts_with(&expected), "{expected}\n{error}");
    }
    // Two names that become one.
    author.write(
        "template.proto",
        &template("CHECK", "message Template {} message Instance {}"),
    );
    let error = author.fail(&["api", "-t", "template.proto", "--proto_out", "service.proto"]);
    assert!(
        error.contains("does not make a handler service: ") && error.contains("InstanceMsg"),
        "{error}"
    );
    assert!(!author.path("service.proto").exists());

    // No Go is written, and that is said.
    author.write("template.proto", &template("CHECK", "message Template {}"));
    let output = author.run(&[
        "api",
        "-t",
        "template.proto",
        "--proto_out",
        "service.proto",
        "--go_out",
        "handler.gen.go",
        "-m",
        "google/protobuf/any.proto:github.com/gogo/protobuf/types",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("--go_out and --importmapping: no Go is written")
    );
    assert!(author.path("service.proto").exists() && !author.path("handler.gen.go").exists());
}
