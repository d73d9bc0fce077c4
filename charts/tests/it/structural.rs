//! The schemas are structural by the rules of Kubernetes, and say what each field is for.

use charts::crd::definitions;
use mesh_config::Kind;
use serde_json::Value;

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// Visits a schema and all those in it, with their paths.
fn visit(schema: &Value, path: &str, look: &mut impl FnMut(&Value, &str)) {
    look(schema, path);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        visit(inner, &format!("{path}.{name}"), look);
    }
    for (part, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(part) {
            visit(inner, &format!("{path}{suffix}"), look);
        }
    }
}

fn schemas() -> impl Iterator<Item = (Kind, Value)> {
    definitions().into_iter().map(|definition| {
        let schema = &definition.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        (definition.kind, schema.clone())
    })
}

#[test]
fn every_schema_is_structural() {
    const KEYWORDS: [&str; 9] = [
        "additionalProperties",
        "description",
        "enum",
        "items",
        "nullable",
        "properties",
        "type",
        PRESERVE,
        INT_OR_STRING,
    ];
    for (kind, schema) in schemas() {
        assert_eq!(schema["type"], "object", "{kind}");
        visit(&schema, kind.schema().kind, &mut |node, path| {
            let node = node.as_object().unwrap_or_else(|| panic!("{path} is no schema"));
            for keyword in node.keys() {
                assert!(KEYWORDS.contains(&keyword.as_str()), "{path}: {keyword}");
            }
            let free = [PRESERVE, INT_OR_STRING]
                .iter()
                .any(|flag| node.contains_key(*flag));
            assert!(node.contains_key("type") || free, "{path} has no type");
            assert!(
                !(node.contains_key("type") && node.contains_key(INT_OR_STRING)),
                "{path} has a type beside int-or-string"
            );
            assert!(
                !(node.contains_key("properties") && node.contains_key("additionalProperties")),
                "{path} is an object and a map"
            );
            assert_eq!(
                node.get("type").is_some_and(|name| name == "array"),
                node.contains_key("items"),
                "{path}: items"
            );
        });
    }
}

/// A server that pruned fields would hide a misspelled one from whoever validates the object.
#[test]
fn unknown_fields_are_kept_at_every_level() {
    for (kind, schema) in schemas() {
        visit(&schema, kind.schema().kind, &mut |node, path| {
            if node["type"] == "object" && node.get("additionalProperties").is_none() {
                assert_eq!(node[PRESERVE], true, "{path}");
            }
            // A null entry would vanish just so: `labels: {version: }` would select everything.
            if let Some(values) = node.get("additionalProperties") {
                assert_eq!(values["nullable"], true, "{path}");
            }
        });
    }
}

/// `kubectl explain` has a sentence about everything.
#[test]
fn every_field_says_what_it_is_for() {
    let mut silent = Vec::new();
    for (kind, schema) in schemas() {
        visit(&schema, kind.schema().kind, &mut |node, path| {
            let is_part = path.ends_with(['}', ']']);
            let about = node["description"].as_str().unwrap_or_default();
            if !is_part && (about.len() < 5 || !about.ends_with(['.', '?'])) {
                silent.push(format!("{path}: {about:?}"));
            }
        });
    }
    assert!(silent.is_empty(), "\n{}", silent.join("\n"));
}

/// Fields are those of the messages, by their names in JSON; parts of other messages are described in place.
#[test]
fn schemas_follow_the_messages() {
    let all: Vec<_> = schemas().collect();
    let at = |kind: Kind, pointer: &str| {
        let (_, schema) = all
            .iter()
            .find(|(found, _)| *found == kind)
            .expect("a kind of ours");
        schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{kind} has no {pointer}"))
    };
    let http = "/properties/spec/properties/http/items/properties";
    let virtual_service = |field: &str| at(Kind::VirtualService, &format!("{http}/{field}"));
    assert_eq!(virtual_service("timeout")["type"], "string");
    assert_eq!(
        virtual_service("route/items/properties/weight")[INT_OR_STRING],
        true
    );
    assert_eq!(
        virtual_service("corsPolicy/properties/allowCredentials")["type"],
        "boolean"
    );
    assert_eq!(
        virtual_service("fault/properties/delay/properties/percentage/properties/value")["type"],
        "number"
    );
    let headers = virtual_service("match/items/properties/headers");
    assert_eq!(
        headers["additionalProperties"]["properties"]["exact"]["type"],
        "string"
    );
    let mode = at(
        Kind::DestinationRule,
        "/properties/spec/properties/trafficPolicy/properties/tls/properties/mode",
    );
    assert_eq!(mode["enum"][3], "ISTIO_MUTUAL");
    assert_eq!(mode["enum"][7], 3);
    let filter = at(
        Kind::EnvoyFilter,
        "/properties/spec/properties/filters/items/properties/filterConfig",
    );
    assert_eq!(
        (&filter["type"], &filter[PRESERVE]),
        (&"object".into(), &true.into())
    );
    assert!(filter.get("properties").is_none());
    // `mtls:` alone asks for mutual TLS (G4), so that the null must reach the decoder.
    for kind in [Kind::Policy, Kind::MeshPolicy] {
        let mtls = at(kind, "/properties/spec/properties/peers/items/properties/mtls");
        assert_eq!(mtls["nullable"], true);
    }
}
