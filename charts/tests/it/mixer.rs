//! The configuration of Mixer that is installed by default (`spec 02` §12).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mesh_config::{Config, Kind, decode, validation, yaml};
use mesh_testing::kube::ApiServer;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mixer")
}

/// All objects of a file or a folder.
fn objects(path: &Path) -> Vec<Config> {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        return entries
            .flat_map(|entry| objects(&entry.expect("an entry").path()))
            .collect();
    }
    let text = fs::read_to_string(path).expect("a file");
    let documents = yaml::documents(&path.display().to_string(), &text).into_iter();
    documents
        .map(|document| {
            let document = document.unwrap_or_else(|error| panic!("{error}"));
            decode::object(&document).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
}

fn names(objects: &[Config], kind: Kind) -> BTreeSet<&str> {
    let of_kind = objects.iter().filter(|object| object.meta.key.kind == kind);
    of_kind.map(|object| &*object.meta.key.name).collect()
}

#[test]
fn spec_02_12_every_object_is_valid() {
    for object in objects(&folder()) {
        let key = &object.meta.key;
        assert_eq!(&*key.namespace, "istio-system", "{key}");
        let problems = validation::validate(&object);
        assert!(problems.is_empty(), "{key}: {problems:?}");
    }
}

#[test]
fn spec_02_12_everything_is_there() {
    let objects = objects(&folder().join("config"));
    assert_eq!(
        names(&objects, Kind::AttributeManifest),
        ["istioproxy", "kubernetes"].into()
    );
    assert_eq!(
        names(&objects, Kind::Handler),
        ["kubernetesenv", "prometheus", "stdio"].into()
    );
    let rules = [
        "kubeattrgenrulerule",
        "tcpkubeattrgenrulerule",
        "promhttp",
        "promtcp",
        "promtcpconnectionopen",
        "promtcpconnectionclosed",
        "stdio",
        "stdiotcp",
    ];
    assert_eq!(names(&objects, Kind::Rule), rules.into());
    let instances = [
        "attributes",
        "requestcount",
        "requestduration",
        "requestsize",
        "responsesize",
        "tcpbytesent",
        "tcpbytereceived",
        "tcpconnectionsopened",
        "tcpconnectionsclosed",
        "accesslog",
        "tcpaccesslog",
    ];
    assert_eq!(names(&objects, Kind::Instance), instances.into());
}

/// `spec 02` §3.4: the words in which proxies tell of requests, with their types.
#[test]
fn spec_02_3_4_the_vocabulary_is_whole() {
    let text = fs::read_to_string(folder().join("config/attributes.yaml")).expect("a file");
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    for document in yaml::documents("attributes.yaml", &text) {
        let value = document.expect("YAML").value;
        for (name, info) in value["spec"]["attributes"].as_object().expect("a map") {
            let value_type = info["valueType"].as_str().expect("a type").to_owned();
            assert_eq!(types.insert(name.clone(), value_type), None, "{name}");
        }
    }
    let of_type = |wanted: &str| {
        let names = types.iter().filter(|(_, value_type)| *value_type == wanted);
        names.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        of_type("IP_ADDRESS"),
        ["destination.ip", "origin.ip", "source.ip"]
    );
    assert_eq!(
        of_type("STRING_MAP"),
        [
            "destination.labels",
            "destination.metadata",
            "request.auth.claims",
            "request.headers",
            "request.query_params",
            "response.headers",
            "source.labels",
            "source.metadata",
        ]
    );
    assert_eq!(
        of_type("INT64"),
        [
            "check.error_code",
            "connection.received.bytes",
            "connection.received.bytes_total",
            "connection.sent.bytes",
            "connection.sent.bytes_total",
            "destination.port",
            "request.size",
            "request.total_size",
            "response.code",
            "response.size",
            "response.total_size",
        ]
    );
    assert_eq!(
        of_type("BOOL"),
        [
            "check.cache_hit",
            "connection.mtls",
            "context.reporter.local",
            "quota.cache_hit"
        ]
    );
    assert_eq!(
        of_type("TIMESTAMP"),
        [
            "context.time",
            "context.timestamp",
            "request.time",
            "response.time"
        ]
    );
    assert_eq!(of_type("DURATION"), ["connection.duration", "response.duration"]);
    assert_eq!(of_type("STRING").len(), types.len() - 3 - 8 - 11 - 4 - 4 - 2);
    assert_eq!(types.len(), 89);
}

/// `spec 02` §12: the jobs, and what each of them selects.
#[test]
fn m20_m65_prometheus_has_a_job_for_each_component() {
    let path = folder().join("../istio/charts/prometheus/prometheus.yml");
    let text = fs::read_to_string(path).expect("a file");
    let mut documents = yaml::documents("prometheus.yml", &text).into_iter();
    let config = documents.next().expect("a document").expect("YAML").value;
    let jobs = config["scrape_configs"].as_array().expect("a list").iter();
    let jobs: BTreeMap<_, _> = jobs
        .map(|job| {
            let name = job["job_name"].as_str().expect("a name");
            (
                name,
                job["relabel_configs"][0]["regex"]
                    .as_str()
                    .expect("what it selects"),
            )
        })
        .collect();
    let wanted = [
        ("istio-mesh", "istio-telemetry;prometheus"),
        ("istio-policy", "istio-policy;http-monitoring"),
        ("istio-telemetry", "istio-telemetry;http-monitoring"),
        ("pilot", "istio-pilot;http-monitoring"),
        ("galley", "istio-galley;http-monitoring"),
        ("citadel", "istio-citadel;http-monitoring"),
        ("envoy-stats", ".*-envoy-prom"),
        ("kubernetes-apiservers", "kubernetes;https"),
        ("kubernetes-nodes", "__meta_kubernetes_node_label_(.+)"),
        ("kubernetes-cadvisor", "__meta_kubernetes_node_label_(.+)"),
        ("kubernetes-service-endpoints", "true"),
        ("kubernetes-pods", "true"),
    ];
    assert_eq!(jobs, wanted.into());
}

/// An API server takes all of it.
#[tokio::test]
async fn spec_02_12_an_api_server_takes_it() {
    let server = ApiServer::shared_with_kinds().await.expect("an API server");
    let folder = folder().display().to_string();
    let args = [
        "apply",
        "-R",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        &folder,
    ];
    crate::control_plane_namespace(server).await;
    let said = server.admin().kubectl(&args, "").await.expect("accepted");
    assert_eq!(said.lines().count(), 28, "{said}");
}
