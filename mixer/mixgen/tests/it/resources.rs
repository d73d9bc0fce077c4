//! Resources of templates and adapters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_config::{Config, Kind, decode, validation, yaml};
use prost_reflect::DescriptorPool;

use crate::support::{Author, TEMPLATES};

/// A proto with the option that makes it a template.
const OPTION: &str = "import \"istio/mixer/adapter/model/v1beta1/extensions.proto\";
option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_CHECK;
";

const CONFIG: &str = "syntax = \"proto3\";
package hello.config;
import \"google/protobuf/duration.proto\";
message Params {
  string path = 1;
  google.protobuf.Duration timeout = 2;
}
";

/// Takes a resource as Mixer and the webhook do; its `spec`.
fn admitted(text: &str, kind: Kind) -> serde_json::Value {
    let mut documents = yaml::documents("resource.yaml", text);
    assert_eq!(documents.len(), 1, "{text}");
    let config: Config = decode::object(&documents.remove(0).unwrap()).unwrap();
    assert_eq!(config.meta.key.kind, kind);
    assert_eq!(validation::validate(&config), []);
    decode::to_json(&config)["spec"].clone()
}

fn pool(encoded: &serde_json::Value) -> DescriptorPool {
    let bytes = STANDARD.decode(encoded.as_str().unwrap()).unwrap();
    DescriptorPool::decode(&*bytes).unwrap()
}

#[test]
fn m109_a_template_resource_is_that_of_istio_and_is_admitted() {
    let author = Author::new();
    for name in TEMPLATES {
        let proto = format!("mixer/template/{name}/template_handler_service.proto");
        author.descriptor_set("service.descriptor_set", &[&proto], true);
        let text = author.succeed(&["template", "-d", "service.descriptor_set", "-n", name]);
        let encoded = STANDARD.encode(std::fs::read(author.path("service.descriptor_set")).unwrap());
        assert_eq!(
            text,
            format!(
                "# this config is created through command
# mixgen template -d service.descriptor_set -n {name}
apiVersion: \"config.istio.io/v1alpha2\"
kind: template
metadata:
  name: {name}
  namespace: istio-system
spec:
  descriptor: \"{encoded}\"
---
"
            )
        );
        let descriptors = pool(&admitted(&text, Kind::Template)["descriptor"]);
        let service = descriptors
            .services()
            .find(|service| service.name().starts_with("Handle"));
        assert_eq!(service.unwrap().methods().len(), 1);
    }
}

#[test]
fn m109_an_adapter_resource_is_that_of_istio_and_is_admitted() {
    let author = Author::new();
    author.write("config.proto", CONFIG);
    author.descriptor_set("config.proto_descriptor", &["config.proto"], true);
    std::fs::create_dir(author.path("config")).unwrap();
    let printed = author.succeed(&[
        "adapter",
        "-c",
        "config.proto_descriptor",
        "-o",
        "config",
        "-n",
        "hello",
        "-s=false",
        "-t",
        "metric",
        "-t",
        "logentry.mine",
        "-d",
        "says hello: always",
        "--namespace",
        "mine",
    ]);
    assert_eq!(printed, "");
    let text = author.read("config/hello.yaml");
    let encoded = STANDARD.encode(std::fs::read(author.path("config.proto_descriptor")).unwrap());
    assert_eq!(
        text,
        format!(
            "# this config is created through command
# mixgen adapter -c config.proto_descriptor -o config -n hello -s=false -t metric -t logentry.mine -d says hello: always --namespace mine
apiVersion: \"config.istio.io/v1alpha2\"
kind: adapter
metadata:
  name: hello
  namespace: mine
spec:
  description: \"says hello: always\"
  session_based: false
  templates:
  - metric
  - logentry.mine
  config: {encoded}
---
"
        )
    );
    let spec = admitted(&text, Kind::Adapter);
    assert_eq!(spec["session_based"], false);
    assert_eq!(spec["templates"], serde_json::json!(["metric", "logentry.mine"]));
    assert!(
        pool(&spec["config"])
            .get_message_by_name("hello.config.Params")
            .is_some()
    );

    // Without parameters, and with the default of 1.1.
    let spec = admitted(
        &author.succeed(&["adapter", "-n", "plain", "-t", "metric"]),
        Kind::Adapter,
    );
    assert_eq!(
        (&spec["session_based"], &spec["config"]),
        (&true.into(), &"".into())
    );
}

#[test]
fn m109_resources_that_istio_1_1_wrote_are_admitted() {
    // What its generator writes for an adapter without description and parameters.
    let text = "# this config is created through command
# mixgen adapter -o $GOPATH/src/istio.io/istio/mixer/adapter/plain -n plain -t metric
apiVersion: \"config.istio.io/v1alpha2\"
kind: adapter
metadata:
  name: plain
  namespace: istio-system
spec:
  description:\x20
  session_based: true
  templates:
  - metric
  config:\x20
---
";
    assert_eq!(
        admitted(text, Kind::Adapter)["templates"],
        serde_json::json!(["metric"])
    );
}

#[test]
fn m109_protos_are_taken_where_protoc_is_missing() {
    let author = Author::new();
    author.write("mine/config.proto", CONFIG);
    let spec = admitted(
        &author.succeed(&[
            "adapter",
            "-c",
            "mine/config.proto",
            "-n",
            "hello",
            "-t",
            "metric",
        ]),
        Kind::Adapter,
    );
    let descriptors = pool(&spec["config"]);
    assert!(
        descriptors
            .get_file_by_name("google/protobuf/duration.proto")
            .is_some()
    );
    assert!(descriptors.get_message_by_name("hello.config.Params").is_some());

    // Imports are found in the folders that are named.
    author.write(
        "shared/unit.proto",
        "syntax = \"proto3\"; package shared; message Unit {}",
    );
    author.write(
        "mine/other.proto",
        "syntax = \"proto3\"; package other; import \"unit.proto\"; message Params { shared.Unit unit = 1; }",
    );
    let arguments = ["adapter", "-c", "mine/other.proto", "-n", "other", "-t", "metric"];
    assert!(author.fail(&arguments).contains("other.proto:1:"));
    author.succeed(&[&arguments[..], &["-I", "mine", "-I", "shared"]].concat());
}

#[test]
fn m109_what_is_wrong_is_named_with_its_file() {
    let author = Author::new();
    author.write("config.proto", CONFIG);
    author.descriptor_set("no-imports", &["config.proto"], false);
    author.write("garbage", "\u{8}this is not a descriptor set");
    author.write("empty", "");
    author.write(
        "broken.proto",
        "syntax = \"proto3\";\nmessage Params {\n  strin path = 1;\n}\n",
    );
    author.write(
        "no_params.proto",
        "syntax = \"proto3\"; package a; message Config {}",
    );
    author.write(
        "params.proto",
        "syntax = \"proto3\"; package a; message Params {}",
    );
    author.write(
        "two_params.proto",
        "syntax = \"proto3\"; package b; import \"params.proto\"; message Params { a.Params inner = 1; }",
    );
    for (file, reason) in [
        ("missing", "missing: No such file"),
        ("garbage", "garbage: is no descriptor set: "),
        ("empty", "empty: is a descriptor set without files"),
        (
            "no-imports",
            "no-imports: config.proto imports google/protobuf/duration.proto, which is not in the descriptor set: run \
             protoc with --include_imports",
        ),
        ("broken.proto", "broken.proto: broken.proto:3:3: "),
        ("no_params.proto", "no_params.proto: no file has a message Params"),
        (
            "two_params.proto",
            "two_params.proto: params.proto and two_params.proto all have a message Params: only one may",
        ),
    ] {
        let error = author.fail(&["adapter", "-n", "a", "-t", "metric", "-c", file]);
        assert!(error.starts_with(reason), "{file}: {error}");
    }

    let template = |text: &str| format!("syntax = \"proto3\";\npackage a;\n{text}");
    author.write("plain.proto", &template("message InstanceMsg {}"));
    author.write("unnamed.proto", &template(OPTION));
    let named = format!("{OPTION}option (istio.mixer.adapter.model.v1beta1.template_name) = \"a\";\n");
    author.write(
        "template.proto",
        &template(&format!("{named}message Template {{}}")),
    );
    author.write(
        "second.proto",
        &template(&format!("{named}import \"template.proto\"; message Unused {{}}")),
    );
    author.write("digits.proto", &template(&named.replace("= \"a\"", "= \"a1\"")));
    author.write(
        "instance.proto",
        &template(&format!("{named}service HandleA {{}}")),
    );
    author.write(
        "rest.proto",
        &template(&format!(
            "{named}message Nothing {{}} service HandleA {{ rpc HandleA(Nothing) returns (Nothing); }}"
        )),
    );
    author.write(
        "output.proto",
        &template(&format!(
            "{}message InstanceMsg {{}} service HandleA {{ rpc HandleA(InstanceMsg) returns (InstanceMsg); }}",
            named.replace("VARIETY_CHECK", "VARIETY_ATTRIBUTE_GENERATOR")
        )),
    );
    for (file, reason) in [
        (
            "plain.proto",
            "no file has the option (istio.mixer.adapter.model.v1beta1.template_variety)",
        ),
        ("unnamed.proto", "unnamed.proto: has no option template_name"),
        (
            "template.proto",
            "template.proto: has no service whose name begins with Handle: make the handler service with mixgen api",
        ),
        (
            "second.proto",
            "template.proto and second.proto both have the option",
        ),
        (
            "digits.proto",
            "digits.proto: the option (istio.mixer.adapter.model.v1beta1.template_name) is \"a1\": only letters",
        ),
        ("instance.proto", "instance.proto: its service has no method"),
        ("rest.proto", "rest.proto: has no message InstanceMsg"),
        ("output.proto", "output.proto: has no message OutputMsg"),
    ] {
        let error = author.fail(&["template", "-n", "a", "-d", file]);
        assert!(error.starts_with(&format!("{file}: {reason}")), "{file}: {error}");
    }

    let error = author.fail(&["adapter", "-n", "Not_A_Name", "-t", "metric"]);
    assert!(error.starts_with("--name: \"Not_A_Name\" is no name"), "{error}");
    let error = author.fail(&["adapter", "-n", "a", "-t", "two words"]);
    assert!(
        error.starts_with("--templates: \"two words\" is no name"),
        "{error}"
    );
    let error = author.fail(&["adapter", "-n", "a", "-o", "no/such/folder/a.yaml"]);
    assert!(
        error.starts_with("no/such/folder/a.yaml: No such file"),
        "{error}"
    );
}
