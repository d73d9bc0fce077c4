//! The webhook configuration against the kinds that there are.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{Kind, yaml};
use serde_json::Value;

const FILE: &str = include_str!("../../galley/validatingwebhookconfiguration.yaml");

/// What a webhook is asked about, by group.
fn resources(webhook: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let rules = webhook["rules"].as_array().into_iter().flatten();
    rules
        .flat_map(|rule| {
            let resources: BTreeSet<String> = texts(&rule["resources"]).into_iter().collect();
            texts(&rule["apiGroups"])
                .into_iter()
                .map(move |group| (group, resources.clone()))
        })
        .collect()
}

fn expected(kinds: impl Iterator<Item = Kind>) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for kind in kinds {
        let schema = kind.schema();
        let group = groups.entry(schema.group.to_owned()).or_default();
        group.insert(schema.plural.to_owned());
    }
    groups
}

/// G8.1: every kind of the mesh is checked, by the webhook that knows it.
#[test]
fn g8_1_every_kind_is_asked_about() {
    let mut documents = yaml::documents("webhooks", FILE).into_iter();
    let document = documents.next().expect("a document").expect("YAML").value;
    let webhook = |path: &str| {
        let mut webhooks = document["webhooks"].as_array().into_iter().flatten();
        webhooks
            .find(|webhook| webhook["clientConfig"]["service"]["path"] == path)
            .unwrap_or_else(|| panic!("no webhook for {path}"))
    };
    assert_eq!(
        resources(webhook("/admitpilot")),
        expected(Kind::PILOT.into_iter())
    );
    let mixers = Kind::ALL.iter().copied();
    let mixers =
        mixers.filter(|kind| kind.schema().group == "config.istio.io" && !Kind::PILOT.contains(kind));
    assert_eq!(resources(webhook("/admitmixer")), expected(mixers));
    assert_eq!(
        resources(webhook("/admitservice")),
        expected([Kind::Service].into_iter())
    );
}
