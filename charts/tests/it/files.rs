//! The files of chart `istio-init` are those that the generator makes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use charts::crd::{File, definitions};
use mesh_config::Kind;
use mesh_testing::golden::{Case, Produced, to_yaml};
use serde_json::Value;

/// `kubectl apply` keeps the whole object in an annotation, and annotations have 256 KiB together.
const MAX_ANNOTATION: usize = 256 * 1024;

/// Room of a ConfigMap.
const MAX_CONFIG_MAP: usize = 1024 * 1024;

const HEADER: &str = "\
# Made from the descriptors of the messages, whose comments are what `kubectl explain` shows. To change it, change these
# and run: UPDATE_GOLDEN=1 cargo test -p charts
";

fn text_of(file: File) -> String {
    let mut text = HEADER.to_owned();
    for definition in definitions().iter().filter(|definition| definition.file == file) {
        text.push_str("---\n");
        text.push_str(&to_yaml(&definition.object));
    }
    text
}

#[test]
fn the_files_are_up_to_date() {
    let case = Case {
        name: "istio-init".to_owned(),
        folder: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("istio-init/files"),
    };
    let produced = File::ALL.iter().fold(Produced::default(), |produced, file| {
        produced.text(file.name(), text_of(*file))
    });
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1");
    let outcome = if update {
        case.update(&produced)
    } else {
        case.compare(&produced)
    };
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
}

/// `CHT-4`.
#[test]
fn cht_4_there_are_53_definitions() {
    let definitions = definitions();
    let names: BTreeSet<&str> = definitions
        .iter()
        .filter_map(|definition| definition.object["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names.len(), 53);
    let of_1_1: Vec<_> = definitions
        .iter()
        .filter(|definition| definition.file == File::Crd11)
        .map(|definition| definition.kind.schema().kind)
        .collect();
    assert_eq!(of_1_1, ["cloudwatch", "dogstatsd", "Sidecar", "zipkin"]);
    // Every kind of ours has one, and nothing else does.
    for kind in Kind::ALL {
        let schema = kind.schema();
        let name = format!("{}.{}", schema.plural, schema.group);
        let ours = schema.group.ends_with(".istio.io");
        assert_eq!(names.contains(name.as_str()), ours, "{name}");
    }
}

#[test]
fn names_columns_and_scopes_are_those_of_istio_1_1() {
    let definitions = definitions();
    let of = |kind: Kind| {
        let found = definitions.iter().find(|definition| definition.kind == kind);
        &found.unwrap_or_else(|| panic!("{kind} has no definition")).object
    };
    for (kind, short, category, app, scope, columns) in [
        (
            Kind::VirtualService,
            "vs",
            "networking-istio-io",
            "istio-pilot",
            "Namespaced",
            "Gateways,Hosts,Age",
        ),
        (
            Kind::DestinationRule,
            "dr",
            "networking-istio-io",
            "istio-pilot",
            "Namespaced",
            "Host,Age",
        ),
        (
            Kind::ServiceEntry,
            "se",
            "networking-istio-io",
            "istio-pilot",
            "Namespaced",
            "Hosts,Location,Resolution,Age",
        ),
        (
            Kind::Gateway,
            "gw",
            "networking-istio-io",
            "istio-pilot",
            "Namespaced",
            "",
        ),
        (
            Kind::Sidecar,
            "",
            "networking-istio-io",
            "istio-pilot",
            "Namespaced",
            "",
        ),
        (
            Kind::MeshPolicy,
            "",
            "authentication-istio-io",
            "istio-citadel",
            "Cluster",
            "",
        ),
        (
            Kind::Policy,
            "",
            "authentication-istio-io",
            "istio-citadel",
            "Namespaced",
            "",
        ),
        (
            Kind::ClusterRbacConfig,
            "",
            "rbac-istio-io",
            "istio-pilot",
            "Cluster",
            "",
        ),
        (Kind::RbacConfig, "", "rbac-istio-io", "mixer", "Namespaced", ""),
        (
            Kind::ServiceRoleBinding,
            "",
            "rbac-istio-io",
            "mixer",
            "Namespaced",
            "Reference,Age",
        ),
        (
            Kind::QuotaSpec,
            "",
            "apim-istio-io",
            "istio-mixer",
            "Namespaced",
            "",
        ),
        (Kind::Handler, "", "policy-istio-io", "mixer", "Namespaced", ""),
        (
            Kind::LogEntry,
            "",
            "policy-istio-io",
            "mixer",
            "Namespaced",
            "Severity,Timestamp,Res Type,Age",
        ),
    ] {
        let object = of(kind);
        let names = &object["spec"]["names"];
        assert_eq!(
            names["shortNames"][0].as_str().unwrap_or_default(),
            short,
            "{kind}"
        );
        assert_eq!(
            names["categories"],
            serde_json::json!(["istio-io", category]),
            "{kind}"
        );
        assert_eq!(object["metadata"]["labels"]["app"], app, "{kind}");
        assert_eq!(object["spec"]["scope"], scope, "{kind}");
        for version in versions(object) {
            let shown = version["additionalPrinterColumns"].as_array();
            let shown: Vec<_> = shown
                .into_iter()
                .flatten()
                .filter_map(|column| column["name"].as_str())
                .collect();
            assert_eq!(shown.join(","), columns, "{kind}");
        }
    }
}

/// One version is stored, that of 1.1; networking kinds are served in the later ones too, with the same schema.
#[test]
fn newer_versions_are_the_same_by_another_name() {
    for definition in definitions() {
        let schema = definition.kind.schema();
        let all = versions(&definition.object);
        assert_eq!(all[0]["name"], schema.version);
        for (index, version) in all.iter().enumerate() {
            assert_eq!(version["storage"], index == 0, "{}", definition.kind);
            assert_eq!(version["schema"], all[0]["schema"], "{}", definition.kind);
        }
        let names: Vec<_> = all
            .iter()
            .filter_map(|version| version["name"].as_str())
            .collect();
        match definition.kind {
            Kind::VirtualService
            | Kind::DestinationRule
            | Kind::ServiceEntry
            | Kind::Gateway
            | Kind::Sidecar => {
                assert_eq!(names, ["v1alpha3", "v1beta1", "v1"], "{}", definition.kind);
            }
            kind => assert_eq!(names.len(), 1, "{kind}"),
        }
    }
}

/// `pain_19`: whoever uninstalls the chart keeps the objects of the mesh.
#[test]
fn pain_19_helm_keeps_the_definitions() {
    for definition in definitions() {
        let annotations = &definition.object["metadata"]["annotations"];
        assert_eq!(
            annotations["helm.sh/resource-policy"], "keep",
            "{}",
            definition.kind
        );
    }
}

#[test]
fn the_definitions_fit_where_they_are_kept() {
    for definition in definitions() {
        let size = definition.object.to_string().len();
        assert!(size < MAX_ANNOTATION / 2, "{}: {size} bytes", definition.kind);
    }
    for file in File::ALL {
        let size = text_of(*file).len();
        assert!(size < MAX_CONFIG_MAP * 3 / 4, "{}: {size} bytes", file.name());
    }
}

fn versions(object: &Value) -> &Vec<Value> {
    object["spec"]["versions"].as_array().expect("a list of versions")
}
