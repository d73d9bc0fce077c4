use mesh_api::istio::networking::v1alpha3::{DestinationRule, VirtualService};
use mesh_api::k8s::io::api::core::v1::{Pod, ServiceSpec};
use mesh_api::k8s::io::api::networking::v1::IngressSpec;
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use prost::Name;
use prost_reflect::{Kind as FieldKind, MessageDescriptor};

use super::*;
use crate::yaml;

fn read(text: &str) -> Config {
    let documents = yaml::documents("f.yaml", text);
    assert_eq!(documents.len(), 1);
    object(documents[0].as_ref().unwrap()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The typed content; its own encoding must be the one that we made.
fn content<M: Name + Default>(text: &str) -> M {
    let config = read(text);
    let message: M = config.decode().unwrap();
    assert_eq!(message.encode_to_vec(), config.body.value, "{text}");
    message
}

const FORECAST: &str = "\
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: forecast-route
  namespace: weather
  labels: {app: forecast}
  annotations: {note: x}
  creationTimestamp: 2019-03-19T10:00:00Z
  resourceVersion: \"42\"
spec:
  hosts: [forecast]
  http:
  - match:
    - headers:
        end-user:
          exact: jason
      uri: {prefix: /f}
    route:
    - destination: {host: forecast, subset: v2, port: {number: 3002}}
      weight: 100
    timeout: 500ms
    corsPolicy: {allow_credentials: false, max_age: 24h}
    fault:
      delay: {percentage: {value: 0}, fixedDelay: 1m}
  - route:
    - destination: {host: forecast}
      weight: 0
";

#[test]
fn an_object_is_read_whole() {
    let config = read(FORECAST);
    assert_eq!(
        config.meta.key.to_string(),
        "VirtualService weather/forecast-route"
    );
    assert_eq!(config.meta.labels["app"], "forecast");
    assert_eq!(config.meta.annotations["note"], "x");
    assert_eq!(config.meta.created.seconds, 1_552_989_600);
    assert_eq!(config.meta.version, "42");
    assert_eq!(
        config.body.type_url,
        "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
    );

    let service: VirtualService = content(FORECAST);
    let route = &service.http[0];
    assert!(route.r#match[0].headers.contains_key("end-user"));
    assert_eq!(route.route[0].weight, 100);
    assert_eq!(
        route.timeout.map(|it| (it.seconds, it.nanos)),
        Some((0, 500_000_000))
    );
    let cors = route.cors_policy.as_ref().unwrap();
    assert_eq!(cors.max_age.map(|it| it.seconds), Some(86400));
    assert_eq!(cors.allow_credentials, Some(false));
    // A zero that somebody wrote is not an absence where the message can tell them apart.
    assert_eq!(
        route
            .fault
            .as_ref()
            .unwrap()
            .delay
            .as_ref()
            .unwrap()
            .percentage
            .map(|it| it.value),
        Some(0.0)
    );
}

#[test]
fn what_is_absent_has_its_default() {
    let config = read("{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g}}");
    assert_eq!(config.meta.key.to_string(), "Gateway default/g");
    assert_eq!(config.body.value.len(), 0);
    assert_eq!(config.meta.version, "");
    let policy = read(
        "{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, metadata: {name: default, namespace: x}}",
    );
    assert_eq!(policy.meta.key.to_string(), "MeshPolicy default");
}

#[test]
fn a_oneof_that_holds_zero_is_set() {
    let rule: DestinationRule = content(
        "{apiVersion: networking.istio.io/v1beta1, kind: DestinationRule, metadata: {name: a},
          spec: {host: a, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}}",
    );
    assert!(
        rule.traffic_policy
            .unwrap()
            .load_balancer
            .unwrap()
            .lb_policy
            .is_some()
    );
}

#[test]
fn g4_mtls_without_a_value_asks_for_mutual_tls() {
    let config = read(
        "{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, metadata: {name: default},
          spec: {peers: [{mtls: }]}}",
    );
    let json = to_json(&config);
    assert_eq!(json["spec"], json!({"peers": [{"mtls": {}}]}));
}

#[test]
fn struct_kinds_take_their_content_as_it_is() {
    let text = "
apiVersion: config.istio.io/v1alpha2
kind: stdio
metadata: {name: handler, namespace: istio-system}
spec:
  outputAsJson: true
  severity_levels: {warning: 1, \"\": [null, 1.5, x]}
";
    let config = read(text);
    assert_eq!(
        to_json(&config)["spec"],
        json!({"outputAsJson": true, "severity_levels": {"warning": 1.0, "": [null, 1.5, "x"]}})
    );
}

#[test]
fn free_form_content_is_no_deeper_than_its_readers_go() {
    let object = |levels: usize| {
        let spec = (0..levels).fold(json!({}), |inner, _| json!({ "a": [inner] }));
        from_json(
            Some(Kind::Stdio),
            &json!({"metadata": {"name": "a"}, "spec": spec}),
        )
    };
    let config = object(14).unwrap();
    assert!(to_json(&config).pointer("/spec/undecodable").is_none());
    assert_eq!(
        object(15).unwrap_err().to_string(),
        "spec: nested more than 28 levels deep"
    );
}

#[test]
fn kubernetes_objects_are_read_as_its_api_server_reads_them() {
    let service: ServiceSpec = content(
        "
apiVersion: v1
kind: Service
metadata: {name: forecast}
spec:
  selector: {app: forecast}
  somethingNew: {a: 1}
  ports:
  - {name: http, port: 3002, targetPort: 8080}
  - {name: grpc, port: 3003, targetPort: grpc}
status: {loadBalancer: {}}
",
    );
    let target = |index: usize| service.ports[index].target_port.clone().unwrap();
    assert_eq!((target(0).r#type, target(0).int_val), (Some(0), Some(8080)));
    assert_eq!(
        (target(1).r#type, target(1).str_val),
        (Some(1), Some("grpc".to_owned()))
    );

    let text = "
apiVersion: v1
kind: Pod
metadata:
  name: forecast-v1-0
  labels: {app: forecast}
  creationTimestamp: 2019-03-19T10:00:00Z
  ownerReferences: [{kind: ReplicaSet, name: forecast-v1}]
  managedFields: [{fieldsV1: {'f:spec': {}}}]
spec:
  volumes: [{name: x, emptyDir: {}}]
  containers:
  - name: app
    resources: {limits: {cpu: 1, memory: 64Mi}}
    readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 3}
    env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]
status: {podIP: 10.0.0.1}
";
    let pod: Pod = content(text);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    assert_eq!(
        container.resources.as_ref().unwrap().limits["cpu"]
            .string
            .as_deref(),
        Some("1")
    );
    let probe = container.readiness_probe.as_ref().unwrap();
    let get = probe.handler.as_ref().unwrap().http_get.as_ref().unwrap();
    assert_eq!(get.port.as_ref().unwrap().str_val.as_deref(), Some("http"));
    let source = container.env[0]
        .value_from
        .as_ref()
        .unwrap()
        .config_map_key_ref
        .as_ref()
        .unwrap();
    assert_eq!(
        source.local_object_reference.as_ref().unwrap().name.as_deref(),
        Some("m")
    );
    assert_eq!(
        pod.metadata
            .as_ref()
            .unwrap()
            .creation_timestamp
            .as_ref()
            .unwrap()
            .seconds,
        Some(1_552_989_600)
    );

    let json = to_json(&read(text));
    assert_eq!(json["apiVersion"], "v1");
    assert_eq!(json["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    assert_eq!(json["metadata"]["creationTimestamp"], "2019-03-19T10:00:00Z");
    assert_eq!(
        json["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {}})
    );
    let container = &json["spec"]["containers"][0];
    assert_eq!(
        container["resources"]["limits"],
        json!({"cpu": "1", "memory": "64Mi"})
    );
    assert_eq!(
        container["readinessProbe"],
        json!({"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3})
    );
    assert_eq!(
        container["env"][0]["valueFrom"]["configMapKeyRef"],
        json!({"name": "m", "key": "k"})
    );
}

#[test]
fn an_ingress_is_the_same_in_all_versions() {
    let modern = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec:
  defaultBackend: {service: {name: b, port: {number: 80}}}
  rules:
  - host: a.com
    http:
      paths:
      - path: /x
        backend: {service: {name: c, port: {name: http}}}
";
    let ingress: IngressSpec = content(modern);
    let path = &ingress.rules[0]
        .ingress_rule_value
        .as_ref()
        .unwrap()
        .http
        .as_ref()
        .unwrap()
        .paths[0];
    assert_eq!(
        path.backend
            .as_ref()
            .unwrap()
            .service
            .as_ref()
            .unwrap()
            .name
            .as_deref(),
        Some("c")
    );
    for version in ["extensions/v1beta1", "networking.k8s.io/v1beta1"] {
        let old = format!(
            "
apiVersion: {version}
kind: Ingress
metadata: {{name: i}}
spec:
  backend: {{serviceName: b, servicePort: 80}}
  rules:
  - host: a.com
    http:
      paths:
      - path: /x
        backend: {{serviceName: c, servicePort: http}}
"
        );
        assert_eq!(read(&old), read(modern), "{version}");
    }
}

#[test]
fn objects_of_others_are_told_from_mistakes() {
    let class = |text: &str| classify(yaml::documents("f", text)[0].as_ref().unwrap());
    let foreign = |api_version: &str, kind: &str| Class::Foreign {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    assert_eq!(
        class("{apiVersion: v1, kind: Service}"),
        Class::Known(Kind::Service)
    );
    assert_eq!(
        class("{apiVersion: extensions/v1beta1, kind: Ingress}"),
        Class::Known(Kind::Ingress)
    );
    for (api_version, kind) in [
        ("apps/v1", "Deployment"),
        ("v1", "ConfigMap"),
        ("extensions/v1beta1", "Deployment"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("serving.knative.dev/v1", "Service"),
    ] {
        assert_eq!(
            class(&format!("{{apiVersion: {api_version}, kind: {kind}}}")),
            foreign(api_version, kind)
        );
    }
    for text in [
        "{apiVersion: networking.istio.io/v1alpha3, kind: Nothing}",
        "{apiVersion: v1, kind: Podd}",
        "x",
        "{}",
    ] {
        assert!(matches!(class(text), Class::Invalid(_)), "{text}");
    }
}

#[test]
fn sources_that_have_json_may_know_the_kind() {
    let value = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"clusterIP": "10.0.0.1"}});
    let config = from_json(Some(Kind::Service), &value).unwrap();
    assert_eq!(config.meta.key.to_string(), "Service b/a");
    assert_eq!(to_json(&config)["apiVersion"], "v1");
    assert_eq!(
        from_json(None, &value).unwrap_err().to_string(),
        "apiVersion: missing"
    );
}

#[test]
fn content_that_does_not_decode_is_shown_as_such() {
    let mut config = read(FORECAST);
    config.body.value = vec![0xff].into();
    assert!(to_json(&config)["spec"]["undecodable"].is_string());
    config.body.type_url = "x/y".to_owned();
    assert_eq!(
        to_json(&config)["spec"]["undecodable"],
        "expected istio.networking.v1alpha3.VirtualService"
    );
}

/// Bad documents and the error that each gives, word by word.
#[test]
fn errors_name_file_line_object_field_and_reason() {
    let header = "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: a}\n";
    let on_spec = |spec: &str| format!("{header}spec:\n{spec}");
    for (text, expected) in [
        ("x".to_owned(), "f.yaml:1: expected an object, found the string \"x\""),
        ("- 1".to_owned(), "f.yaml:1: expected an object, found a list"),
        ("\n{a: 1}".to_owned(), "f.yaml:2: apiVersion: missing"),
        ("apiVersion: v1\nkind:\n".to_owned(), "f.yaml:2: kind: missing"),
        ("apiVersion: 1\nkind: x\n".to_owned(), "f.yaml:1: x: apiVersion: expected a string, found the number 1"),
        (
            "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualServce\nmetadata: {name: a, namespace: b}".to_owned(),
            "f.yaml:2: VirtualServce b/a: kind: unknown kind `VirtualServce`, did you mean `VirtualService`?",
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}".to_owned(),
            "f.yaml:2: Deployment default/a: kind: unknown kind `Deployment` of apps/v1",
        ),
        (
            "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: a}".to_owned(),
            "f.yaml:1: Gateway default/a: apiVersion: unknown version `v2` of networking.istio.io, expected one of \
             v1alpha3, v1beta1, v1",
        ),
        (
            "kind: Gateway\napiVersion: networking.istio.io/v1\nspec: {}".to_owned(),
            "f.yaml:1: Gateway: metadata.name: missing",
        ),
        (
            "kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata:\n  name: a b".to_owned(),
            "f.yaml:4: Gateway default/a b: metadata.name: \"a b\" is not a name",
        ),
        (
            "kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata:\n  name: a\n  labels:\n    version: 1".to_owned(),
            "f.yaml:6: Gateway default/a: metadata.labels[version]: expected a string, found the number 1; put it in \
             quotes",
        ),
        (
            "kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata: {name: a}\nspce: {}".to_owned(),
            "f.yaml:4: Gateway default/a: spce: unknown field `spce`, did you mean `spec`?",
        ),
        (format!("{header}spec: []"), "f.yaml:4: VirtualService default/a: spec: expected an object, found a list"),
        (
            on_spec("  hosts: [a]\n  htp: []\n"),
            "f.yaml:6: VirtualService default/a: htp: unknown field `htp`, did you mean `http`?",
        ),
        (
            on_spec("  http:\n  - route:\n    - destination:\n        host: a\n        colour: red\n"),
            "f.yaml:9: VirtualService default/a: http[0].route[0].destination.colour: unknown field `colour`",
        ),
        (
            on_spec("  http:\n  - route:\n    - {}\n    - weight: a lot\n"),
            "f.yaml:8: VirtualService default/a: http[0].route[1].weight: expected a whole number, found the string \
             \"a lot\"",
        ),
        (
            on_spec("  http:\n  - route:\n    - weight: 12.5\n"),
            "f.yaml:7: VirtualService default/a: http[0].route[0].weight: expected a whole number, found the number 12.5",
        ),
        (
            on_spec("  http:\n  - route:\n    - weight: 5000000000\n"),
            "f.yaml:7: VirtualService default/a: http[0].route[0].weight: 5000000000 is out of range (-2147483648 to \
             2147483647)",
        ),
        (
            on_spec("  hosts: a\n"),
            "f.yaml:5: VirtualService default/a: hosts: expected a list, found the string \"a\"",
        ),
        (
            on_spec("  hosts:\n  - a\n  -\n"),
            "f.yaml:7: VirtualService default/a: hosts[1]: expected a string, found nothing",
        ),
        (
            on_spec("  http:\n  -\n"),
            "f.yaml:6: VirtualService default/a: http[0]: expected an object, found nothing",
        ),
        (
            on_spec("  http:\n  - timeout: 10\n"),
            "f.yaml:6: VirtualService default/a: http[0].timeout: 10 is not a duration such as 10s, 500ms or 1h30m",
        ),
        (
            on_spec("  http:\n  - match:\n    - uri: {exact: a, prefix: b}\n"),
            "f.yaml:7: VirtualService default/a: http[0].match[0].uri.prefix: `exact` and `prefix` exclude one another",
        ),
        (
            on_spec("  exportTo: []\n  export_to: []\n"),
            "f.yaml:6: VirtualService default/a: export_to: `exportTo` and `export_to` are the same field",
        ),
        (
            on_spec("  http:\n  - match:\n    - headers:\n        cookie: x\n"),
            "f.yaml:8: VirtualService default/a: http[0].match[0].headers[cookie]: expected an object, found the string \
             \"x\"",
        ),
        (
            on_spec("  http:\n  - websocketUpgrade: \"yes\"\n"),
            "f.yaml:6: VirtualService default/a: http[0].websocketUpgrade: expected true or false, found the string \
             \"yes\"",
        ),
        (
            "kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata: {name: a}\nspec:\n  servers:\n  - tls:\n      mode: SIMPEL"
                .to_owned(),
            "f.yaml:7: Gateway default/a: servers[0].tls.mode: unknown value `SIMPEL`, did you mean `SIMPLE`?",
        ),
        (
            "kind: Gateway\napiVersion: networking.istio.io/v1\nmetadata: {name: a}\nspec: {servers: [{tls: {mode: X}}]}"
                .to_owned(),
            "f.yaml:4: Gateway default/a: servers[0].tls.mode: unknown value `X`, expected one of PASSTHROUGH, SIMPLE, \
             MUTUAL, AUTO_PASSTHROUGH",
        ),
        (
            "kind: Service\napiVersion: v1\nmetadata: {name: a}\nspec:\n  ports:\n  - port: http\n".to_owned(),
            "f.yaml:6: Service default/a: ports[0].port: expected a whole number, found the string \"http\"",
        ),
        (
            "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers: {}\n".to_owned(),
            "f.yaml:5: Pod default/a: containers: expected a list, found an object",
        ),
    ] {
        let documents = yaml::documents("f.yaml", &text);
        let error = object(documents[0].as_ref().unwrap()).expect_err(&text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

/// Any JSON that the message accepts.
fn arbitrary(descriptor: &MessageDescriptor, rng: &mut TestRng, depth: usize) -> Value {
    match descriptor.full_name() {
        "google.protobuf.Struct" => return json!({"a": [1.5, null, {"b": "x"}], "c": true}),
        "google.protobuf.Value" => return json!([null, "x"]),
        "google.protobuf.ListValue" => return json!([{}]),
        "google.protobuf.Duration" => return json!(format!("{}.5s", rng.random_range(-3..3_i32))),
        "google.protobuf.Timestamp" => return json!("2019-03-19T10:00:00.25Z"),
        "google.protobuf.Any" => return json!({"@type": "x.y/google.protobuf.BoolValue", "value": true}),
        "google.protobuf.BoolValue" => return json!(rng.random_bool(0.5)),
        "k8s.io.apimachinery.pkg.util.intstr.IntOrString" => {
            return if rng.random_bool(0.5) {
                json!(rng.random_range(0..3))
            } else {
                json!("x")
            };
        }
        "k8s.io.apimachinery.pkg.api.resource.Quantity" => return json!("1Gi"),
        "k8s.io.apimachinery.pkg.apis.meta.v1.Time" => return json!("2019-03-19T10:00:00Z"),
        "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1" => return json!({"f:a": {}}),
        name if name.ends_with("Value") && name.starts_with("google.protobuf.") => return json!(1),
        _ => {}
    }
    let mut object = Map::new();
    let mut chosen = std::collections::BTreeSet::new();
    for field in descriptor.fields() {
        if rng.random_bool(0.5) || kubernetes::is_inline(&field) {
            continue;
        }
        if field
            .containing_oneof()
            .is_some_and(|oneof| !chosen.insert(oneof.name().to_owned()))
        {
            continue;
        }
        if depth == 0 && matches!(field.kind(), FieldKind::Message(_)) {
            continue;
        }
        let mut one = |kind: &FieldKind| match kind {
            FieldKind::Message(message) => arbitrary(message, rng, depth.saturating_sub(1)),
            FieldKind::String => json!(["", "a", "é\n"][rng.random_range(0..3)]),
            FieldKind::Bytes => json!(["", "AAE="][rng.random_range(0..2)]),
            FieldKind::Bool => json!(rng.random_bool(0.5)),
            FieldKind::Double | FieldKind::Float => json!(f64::from(rng.random_range(-2..3)) / 2.0),
            FieldKind::Enum(values) => json!(
                values
                    .values()
                    .nth(rng.random_range(0..values.values().len()))
                    .unwrap()
                    .name()
            ),
            FieldKind::Uint32 | FieldKind::Uint64 | FieldKind::Fixed32 | FieldKind::Fixed64 => {
                json!(rng.random_range(0..300))
            }
            _ => json!(rng.random_range(-2..300)),
        };
        let value = if field.is_map() {
            let FieldKind::Message(entry) = field.kind() else {
                unreachable!()
            };
            let kind = entry.map_entry_value_field().kind();
            let key = if entry.map_entry_key_field().kind() == FieldKind::String {
                "k"
            } else {
                "7"
            };
            json!({ key: one(&kind) })
        } else if field.is_list() {
            json!([one(&field.kind()), one(&field.kind())])
        } else {
            one(&field.kind())
        };
        object.insert(field.json_name().to_owned(), value);
    }
    Value::Object(object)
}

fn arbitrary_object() -> impl Strategy<Value = (Kind, Value)> {
    (0..Kind::ALL.len()).prop_perturb(|index, mut rng| {
        let kind = Kind::ALL[index];
        let schema = kind.schema();
        let descriptor = mesh_api::descriptors()
            .get_message_by_name(schema.message)
            .unwrap();
        let content = arbitrary(&descriptor, &mut rng, 6);
        let mut object = match schema.body {
            Body::Spec => json!({ "spec": content }),
            Body::Whole => content,
        };
        object["metadata"] = json!({"name": "a", "labels": {"b": "c"}});
        (kind, object)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_shown_is_read_again((kind, object) in arbitrary_object()) {
        let config = from_json(Some(kind), &object).unwrap();
        let shown = to_json(&config);
        prop_assert!(shown.pointer("/spec/undecodable").is_none(), "{shown}");
        let again = from_json(None, &shown).unwrap();
        prop_assert_eq!(&again.meta, &config.meta);
        prop_assert_eq!(to_json(&again), shown);
        if kind.schema().body == Body::Spec {
            prop_assert_eq!(again.body, config.body);
        }
    }

    /// Against another implementation of canonical proto JSON.
    #[test]
    fn istio_kinds_are_read_as_canonical_proto_json((kind, object) in arbitrary_object()) {
        let descriptor = mesh_api::descriptors().get_message_by_name(kind.schema().message).unwrap();
        if kubernetes::is_message(&descriptor) {
            return Ok(());
        }
        let config = from_json(Some(kind), &object).unwrap();
        let ours = DynamicMessage::decode(descriptor.clone(), config.body.value).unwrap();
        let theirs = DynamicMessage::deserialize(descriptor, object["spec"].clone()).unwrap();
        prop_assert_eq!(serde_json::to_value(ours).unwrap(), serde_json::to_value(theirs).unwrap());
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[\\PC\n]{0,100}") {
        let header = "apiVersion: networking.istio.io/v1alpha3\nkind: Gateway\nmetadata: {name: a}\nspec:\n  ";
        for text in [format!("{header}{text}"), text] {
            for document in yaml::documents("f", &text).into_iter().flatten() {
                classify(&document);
                let _ = object(&document).map(|config| to_json(&config));
            }
        }
    }
}
