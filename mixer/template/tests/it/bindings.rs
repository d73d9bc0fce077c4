//! From what the Kubernetes adapter puts out to attributes (`spec 02` §6.5).

use std::collections::BTreeMap;

use mixer_attribute::{References, Text, Untracked, Value};
use mixer_template::{InstanceBuilder, KubernetesOutput, KubernetesSide, Template};
use serde_json::json;

use crate::{bag, vocabulary};

fn compile(bindings: &[(&str, &str)]) -> Result<InstanceBuilder, Vec<String>> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let bindings: BTreeMap<_, _> = bindings.iter().map(owned).collect();
    InstanceBuilder::compile(Template::Kubernetes, "k", &json!({}), &bindings, &vocabulary())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn output() -> KubernetesOutput {
    KubernetesOutput {
        source: KubernetesSide {
            namespace: Some(Text::from("from-kubernetes")),
            pod_name: Some(Text::from("reviews-1")),
            ..KubernetesSide::default()
        },
        destination: KubernetesSide::default(),
    }
}

/// What the request has stays; what the adapter did not put out is absent; both prefixes name outputs.
#[test]
fn m56_outputs_become_attributes_where_there_are_none() {
    for prefix in ["$out.", "output."] {
        let builder = compile(&[
            ("source.name", &format!("{prefix}source_pod_name")),
            (
                "source.namespace",
                &format!("{prefix}source_namespace | \"default\""),
            ),
            (
                "destination.labels",
                &format!("{prefix}destination_labels | emptyStringMap()"),
            ),
        ])
        .unwrap();
        let vocabulary = vocabulary();
        let mut bag = bag(&vocabulary);
        let mut references = References::default();
        builder.bind(&output(), &mut bag, &mut references).unwrap();
        let value = |name: &str| bag.get(vocabulary.id(name).unwrap()).cloned();
        assert_eq!(value("source.name"), Some(Value::from("reviews")));
        assert_eq!(value("source.namespace"), Some(Value::from("from-kubernetes")));
        assert!(matches!(value("destination.labels"), Some(Value::StringMap(map)) if map.is_empty()));
        assert_eq!(references, References::default());
    }
}

/// Without a default an output that is not there is an error, and nothing is set.
#[test]
fn outputs_that_are_missing_set_nothing() {
    let builder = compile(&[
        ("destination.labels", "$out.source_labels"),
        ("source.namespace", "$out.source_namespace"),
    ])
    .unwrap();
    let vocabulary = vocabulary();
    let mut bag = bag(&vocabulary);
    let error = builder.bind(&output(), &mut bag, &mut Untracked).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field attributeBindings[destination.labels]: lookup failed: '$out.source_labels'"
    );
    assert_eq!(bag.get(vocabulary.id("source.namespace").unwrap()), None);
}

#[test]
fn bindings_are_checked_against_the_vocabulary() {
    let error = |name, text| compile(&[(name, text)]).unwrap_err().remove(0);
    assert_eq!(
        error("source.nam", "$out.source_pod_name"),
        "attributeBindings[source.nam]: unknown attribute source.nam"
    );
    assert!(error("source.name", "$out.source_pod_ip").contains("typeError got IP_ADDRESS, expected STRING"));
    assert!(error("source.name", "$out.nonsense").contains("unknown attribute $out.nonsense"));
    assert!(error("source.name", "$out.source_container_name").contains("unknown attribute"));
    assert!(
        compile(&[(
            "source.name",
            "output.destination_container_name | source.namespace | \"x\""
        )])
        .is_ok()
    );
}

/// The legacy kind has its bindings among its parameters.
#[test]
fn bindings_may_stand_among_the_parameters() {
    let vocabulary = vocabulary();
    for name in ["attribute_bindings", "attributeBindings"] {
        let params = json!({name: {"source.namespace": "$out.source_namespace"}});
        let none = BTreeMap::new();
        let builder =
            InstanceBuilder::compile(Template::Kubernetes, "k", &params, &none, &vocabulary).unwrap();
        let mut bag = bag(&vocabulary);
        builder.bind(&output(), &mut bag, &mut Untracked).unwrap();
        let id = vocabulary.id("source.namespace").unwrap();
        assert_eq!(bag.get(id), Some(&Value::from("from-kubernetes")));
    }
}
