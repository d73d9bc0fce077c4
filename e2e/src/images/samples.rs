//! What ships is what the table and the readers of YAML understand.

use super::*;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use mesh_config::yaml::Document;
use mesh_config::{decode, validation, yaml};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

struct Object {
    file: PathBuf,
    document: Document,
}

impl Object {
    fn text(&self, pointer: &str) -> &str {
        self.document
            .value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        match self.text("/metadata/namespace") {
            "" => "default",
            namespace => namespace,
        }
    }

    fn id(&self) -> String {
        format!(
            "{} {}/{}",
            self.text("/kind"),
            self.namespace(),
            self.text("/metadata/name")
        )
    }

    fn read<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.document.value.clone())
            .unwrap_or_else(|error| panic!("{} in {}: {error}", self.id(), self.file.display()))
    }
}

fn objects(folder: &str) -> Vec<Object> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        let documents = yaml::documents(&file.to_string_lossy(), &text);
        assert!(!documents.is_empty(), "{}", file.display());
        documents.into_iter().map(move |document| Object {
            file: file.clone(),
            document: document.unwrap_or_else(|error| panic!("{error}")),
        })
    };
    files.into_iter().flat_map(read).collect()
}

const APPLICATIONS: [&str; 6] = [
    "samples/weather",
    "samples/bookinfo",
    "samples/httpbin",
    "samples/tcp-echo",
    "samples/sleep",
    "samples/egress-gateway",
];
const RULES: [&str; 4] = [
    "samples/weather-rules",
    "samples/bookinfo-rules",
    "samples/httpbin-rules",
    "samples/tcp-echo-rules",
];

/// Ways in, each in the place of another.
const WAYS_IN: &str = "samples/host-network";

#[test]
fn every_object_is_read_strictly_and_is_valid() {
    for object in APPLICATIONS
        .iter()
        .chain(&RULES)
        .chain(&["manifests", WAYS_IN])
        .flat_map(|folder| objects(folder))
    {
        assert_ne!(object.text("/metadata/name"), "", "{}", object.file.display());
        match (object.text("/apiVersion"), object.text("/kind")) {
            ("v1", "ConfigMap") => drop(object.read::<ConfigMap>()),
            ("v1", "Namespace") => drop(object.read::<Namespace>()),
            ("v1", "ServiceAccount") => drop(object.read::<ServiceAccount>()),
            ("v1", "Service") => {
                let service: Service = object.read();
                let ports = service.spec.unwrap().ports.unwrap();
                assert!(
                    ports.iter().all(|port| port.name.is_some()),
                    "{}: ports have names",
                    object.id()
                );
            }
            ("apps/v1", "Deployment") => {
                let deployment: Deployment = object.read();
                let spec = deployment.spec.unwrap();
                let labels = spec.template.metadata.unwrap().labels.unwrap();
                for (name, value) in spec.selector.match_labels.unwrap() {
                    assert_eq!(labels.get(&name), Some(&value), "{}", object.id());
                }
                assert!(!spec.template.spec.unwrap().containers.is_empty());
            }
            ("networking.istio.io/v1alpha3", _) => {
                let config = decode::object(&object.document).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(
                    validation::validate(&config),
                    [],
                    "{} in {}",
                    object.id(),
                    object.file.display()
                );
            }
            (version, kind) => panic!("{version} {kind} in {}", object.file.display()),
        }
    }
}

#[test]
fn applications_can_run_together() {
    let mut seen = BTreeSet::new();
    for object in APPLICATIONS
        .iter()
        .chain(&["manifests"])
        .flat_map(|folder| objects(folder))
    {
        assert!(seen.insert(object.id()), "{} is defined twice", object.id());
    }
}

#[test]
fn a_pods_service_account_is_defined_beside_it() {
    for folder in APPLICATIONS.iter().chain(&["manifests", "samples/weather-rules"]) {
        let mut known = objects(folder);
        known.extend(objects("samples/weather"));
        let known: BTreeSet<_> = known.iter().map(Object::id).collect();
        for object in objects(folder)
            .iter()
            .filter(|object| object.text("/kind") == "Deployment")
        {
            let account = object.text("/spec/template/spec/serviceAccountName");
            let account = format!("ServiceAccount {}/{account}", object.namespace());
            assert!(known.contains(&account), "{}: {account}", object.id());
        }
    }
}

#[test]
fn every_image_has_a_command() {
    let images = Images::parse(BUILT_IN).unwrap();
    let mut roles = BTreeSet::new();
    for object in APPLICATIONS
        .iter()
        .chain(&RULES)
        .flat_map(|folder| objects(folder))
    {
        if object.text("/kind") != "Deployment" {
            continue;
        }
        let pod = object.read::<Deployment>().spec.unwrap().template.spec.unwrap();
        // A gateway is a proxy and nothing else.
        let applications = pod.containers.into_iter();
        for container in applications.filter(|container| container.name != "istio-proxy") {
            let image = container.image.unwrap();
            let (command, args) = (
                container.command.unwrap_or_default(),
                container.args.unwrap_or_default(),
            );
            let command = images
                .resolve(&image, &command, &args)
                .unwrap_or_else(|| panic!("{}: {image}", object.id()));
            assert_eq!(command.argv[0], "mesh-sample", "{}", object.id());
            <crate::sample::Args as clap::Parser>::try_parse_from(&command.argv)
                .unwrap_or_else(|error| panic!("{}: {error}", object.id()));
            roles.insert(command.argv[1].clone());
        }
    }
    let all = [
        "advertisement",
        "details",
        "forecast",
        "frontend",
        "httpbin",
        "productpage",
        "ratings",
        "recommendation",
        "reviews",
        "sleep",
        "tcp-echo",
    ];
    assert_eq!(roles.iter().collect::<Vec<_>>(), all);
}

#[test]
fn rules_name_hosts_and_subsets_that_exist() {
    for (application, rules) in APPLICATIONS.iter().zip([
        "samples/weather-rules",
        "samples/bookinfo-rules",
        "samples/httpbin-rules",
        "samples/tcp-echo-rules",
    ]) {
        let all: Vec<_> = objects(application).into_iter().chain(objects(rules)).collect();
        let services: BTreeSet<_> = of_kind(&all, "Service")
            .map(|it| it.text("/metadata/name"))
            .collect();
        let subsets: BTreeSet<_> = of_kind(&all, "DestinationRule")
            .flat_map(|rule| {
                let subsets = rule
                    .document
                    .value
                    .pointer("/spec/subsets")
                    .and_then(Value::as_array)
                    .unwrap();
                subsets
                    .iter()
                    .map(|subset| (rule.text("/spec/host"), subset["name"].as_str().unwrap()))
            })
            .collect();
        for object in of_kind(&all, "VirtualService") {
            for destination in destinations(&object.document.value["spec"]) {
                let host = destination["host"].as_str().unwrap();
                assert!(services.contains(host), "{}: {host}", object.id());
                if let Some(subset) = destination["subset"].as_str() {
                    assert!(
                        subsets.contains(&(host, subset)),
                        "{}: {host} {subset}",
                        object.id()
                    );
                }
            }
        }
    }
}

fn of_kind<'a>(objects: &'a [Object], kind: &'a str) -> impl Iterator<Item = &'a Object> {
    objects.iter().filter(move |object| object.text("/kind") == kind)
}

fn destinations(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| match name.as_str() {
                "destination" | "mirror" => vec![field],
                _ => destinations(field),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(destinations).collect(),
        _ => Vec::new(),
    }
}
