//! What users write is valid by the schemas.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use charts::crd::{Definition, definitions};
use mesh_config::decode::{self, Class};
use mesh_config::{Kind, yaml};
use serde_json::Value;

/// Checks a value as the API server does, as far as our schemas have keywords.
fn check(schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
    if schema["x-kubernetes-int-or-string"] == true
        && !(value.is_string() || value.is_i64() || value.is_u64())
    {
        faults.push(format!("{path}: {value} is neither whole number nor string"));
    }
    let fits = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("{path}: type {other}"),
    };
    let null = value.is_null() && schema["nullable"] == true;
    if !fits && !null {
        faults.push(format!("{path}: {value} is not of type {}", schema["type"]));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        faults.push(format!("{path}: {value} is not in {values:?}"));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if let Some(of_map) = schema.get("additionalProperties") {
            check(of_map, inner, &path, faults);
        } else if let Some(property) = schema["properties"].get(name) {
            // Null is absent, unless the schema says otherwise.
            if !inner.is_null() {
                check(property, inner, &path, faults);
            }
        }
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            check(items, inner, &format!("{path}[{index}]"), faults);
        }
    }
}

fn faults(kind: Kind, object: &Value) -> Vec<String> {
    static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(definitions);
    let definition = DEFINITIONS
        .iter()
        .find(|definition| definition.kind == kind)
        .unwrap_or_else(|| panic!("{kind} has no definition"));
    let schema = &definition.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut faults = Vec::new();
    check(schema, object, "", &mut faults);
    faults
}

fn documents(file: &str, text: &str) -> Vec<yaml::Document> {
    yaml::documents(file, text).into_iter().flatten().collect()
}

/// The YAML files below a folder of the workspace.
fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What our decoder takes, the server must let through: samples, and the input of every golden test.
#[test]
fn whatever_we_decode_is_valid_by_its_schema() {
    let mut checked: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for folder in ["e2e/samples", "pilot/networking/testdata"] {
        for file in yaml_files(folder) {
            let text = fs::read_to_string(&file).expect("readable");
            for document in documents(&file.display().to_string(), &text) {
                let Class::Known(kind) = decode::classify(&document) else {
                    continue;
                };
                if !kind.schema().group.ends_with(".istio.io") || decode::object(&document).is_err() {
                    continue;
                }
                *checked.entry(kind).or_default() += 1;
                let found = faults(kind, &document.value);
                wrong.extend(
                    found
                        .iter()
                        .map(|fault| format!("{}: {fault}", document.location)),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for kind in [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::Gateway,
        Kind::ServiceEntry,
        Kind::Sidecar,
        Kind::EnvoyFilter,
    ] {
        assert!(
            checked.get(&kind).is_some_and(|count| *count > 5),
            "{kind}: {checked:?}"
        );
    }
}

/// Kinds that no sample has, in the forms that users of Istio 1.1 write: `snake_case`, numbers as text, `mtls:` alone.
const OTHER_KINDS: &str = r#"
apiVersion: authentication.istio.io/v1alpha1
kind: MeshPolicy
metadata: {name: default}
spec:
  peers:
  - mtls:
---
apiVersion: authentication.istio.io/v1alpha1
kind: Policy
metadata: {name: forecast, namespace: weather}
spec:
  targets:
  - name: forecast
    ports: [{number: "3002"}, {name: http}]
  peers: [{mtls: {mode: PERMISSIVE}}]
  origins:
  - jwt:
      issuer: testing@secure.istio.io
      jwks_uri: https://example.com/jwks.json
      triggerRules: [{excludedPaths: [{exact: /health}]}]
  principalBinding: USE_ORIGIN
---
apiVersion: rbac.istio.io/v1alpha1
kind: ClusterRbacConfig
metadata: {name: default}
spec: {mode: ON_WITH_INCLUSION, inclusion: {namespaces: [weather]}}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: viewer, namespace: weather}
spec:
  rules:
  - services: ["*"]
    methods: [GET]
    constraints: [{key: "destination.labels[version]", values: [v1, v2]}]
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: bind-viewer, namespace: weather}
spec:
  subjects: [{user: "*", properties: {source.namespace: weather}}]
  roleRef: {kind: ServiceRole, name: viewer}
---
apiVersion: config.istio.io/v1alpha2
kind: QuotaSpec
metadata: {name: request-count, namespace: istio-system}
spec:
  rules:
  - match: [{clause: {request.path: {prefix: /}}}]
    quotas: [{charge: "1", quota: requestcountquota}, {charge: 2, quota: other}]
---
apiVersion: config.istio.io/v1alpha2
kind: HTTPAPISpec
metadata: {name: petstore, namespace: default}
spec:
  attributes: {attributes: {api.service: {stringValue: petstore}, n: {int64Value: "5"}}}
  patterns: [{httpMethod: GET, uriTemplate: /pet}]
  api_keys: [{query: key}]
---
apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: istioproxy, namespace: istio-system}
spec:
  attributes:
    origin.ip: {valueType: IP_ADDRESS}
    response.code: {value_type: 2}
---
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {name: zipkin, namespace: istio-system}
spec:
  compiledAdapter: zipkin
  params: {url: "http://zipkin.istio-system:9411/api/v1/spans", sampleProbability: 1.0, nested: {a: null, b: [1, {c: d}]}}
---
apiVersion: config.istio.io/v1alpha2
kind: instance
metadata: {name: requestcount, namespace: istio-system}
spec:
  compiledTemplate: metric
  params: {value: "1", dimensions: {source: "source.workload.name | \"unknown\""}}
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: promhttp, namespace: istio-system}
spec:
  match: context.protocol == "http"
  actions: [{handler: prometheus, instances: [requestcount]}]
  requestHeaderOperations: [{name: user, values: [x.output.value], operation: APPEND}]
---
apiVersion: config.istio.io/v1alpha2
kind: denier
metadata: {name: denyall, namespace: istio-system}
spec: {status: {code: 7, message: Not allowed}, validDuration: 1s}
---
apiVersion: config.istio.io/v1alpha2
kind: template
metadata: {name: keyval, namespace: istio-system}
spec: {descriptor: CvD3AgogZ29vZ2xl}
---
apiVersion: config.istio.io/v1alpha2
kind: adapter
metadata: {name: keyval, namespace: istio-system}
spec: {description: looks things up, session_based: false, templates: [keyval], config: CvD3AgogZ29vZ2xl}
"#;

#[test]
fn the_forms_of_istio_1_1_are_valid() {
    let documents = documents("other.yaml", OTHER_KINDS);
    assert_eq!(documents.len(), OTHER_KINDS.matches("apiVersion:").count());
    for document in documents {
        let config = decode::object(&document).unwrap_or_else(|error| panic!("{error}"));
        let kind = config.meta.key.kind;
        assert_eq!(faults(kind, &document.value), [""; 0], "{}", document.location);
    }
}

/// What the server refuses by itself, whether or not anybody validates.
#[test]
fn wrong_types_are_refused() {
    for (spec, path) in [
        ("hosts: forecast", ".spec.hosts"),
        ("http: [{timeout: 5}]", ".spec.http[0].timeout"),
        (
            "http: [{route: [{weight: 1.5}]}]",
            ".spec.http[0].route[0].weight",
        ),
        (
            "http: [{match: [{headers: {a: b}}]}]",
            ".spec.http[0].match[0].headers.a",
        ),
        (
            "http: [{headers: {request: {set: {a: 1}}}}]",
            ".spec.http[0].headers.request.set.a",
        ),
        ("http: {}", ".spec.http"),
        ("[]", ".spec"),
    ] {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {{name: a}}, spec: {}}}",
            if spec.starts_with('[') {
                spec.to_owned()
            } else {
                format!("{{{spec}}}")
            }
        );
        let value = &documents("wrong.yaml", &text)[0].value;
        let found = faults(Kind::VirtualService, value);
        assert!(
            matches!(&found[..], [only] if only.starts_with(&format!("{path}: "))),
            "{spec}: {found:?}"
        );
    }
}
