//! Add-ons come and go with their values.

use std::fs;
use std::path::Path;

use mesh_testing::kube::ApiServer;
use serde_json::{Value, json};

use super::{CHART, MANAGED, NAME, Release, set};

/// What is there without any add-on.
const MESH: [&str; 1] = ["configmap/istio"];

const PROMETHEUS: [&str; 6] = [
    "clusterrole.rbac.authorization.k8s.io/prometheus",
    "clusterrolebinding.rbac.authorization.k8s.io/prometheus",
    "configmap/prometheus",
    "deployment.apps/prometheus",
    "service/prometheus",
    "serviceaccount/prometheus",
];

const GRAFANA: [&str; 4] = [
    "configmap/istio-grafana",
    "deployment.apps/grafana",
    "service/grafana",
    "serviceaccount/grafana",
];

const KIALI: [&str; 7] = [
    "clusterrole.rbac.authorization.k8s.io/kiali",
    "clusterrolebinding.rbac.authorization.k8s.io/kiali",
    "configmap/kiali",
    "deployment.apps/kiali",
    "secret/kiali-signing-key",
    "service/kiali",
    "serviceaccount/kiali-service-account",
];

const TRACING: [&str; 7] = [
    "deployment.apps/istio-tracing",
    "service/jaeger-agent",
    "service/jaeger-collector",
    "service/jaeger-query",
    "service/tracing",
    "service/zipkin",
    "serviceaccount/tracing",
];

const ALL: [&str; 3] = [
    "grafana.enabled=true",
    "kiali.enabled=true",
    "tracing.enabled=true",
];

/// The ConfigMap of a dashboard begins so.
const DASHBOARD: &str = "istio-grafana-configuration-dashboards-";

/// M60: what is switched on by `helm upgrade` is there, whole, and goes when it is switched off.
#[tokio::test]
async fn m60_add_ons_are_switched_on_and_off_by_an_upgrade() {
    let release = Release::install("addons", &[]).await;
    let by_default = set(MESH.into_iter().chain(PROMETHEUS));
    assert_eq!(release.objects().await, by_default);

    release.upgrade(&ALL).await;
    let all = MESH
        .iter()
        .chain(&PROMETHEUS)
        .chain(&GRAFANA)
        .chain(&KIALI)
        .chain(&TRACING);
    let dashboards: Vec<_> = dashboards()
        .into_iter()
        .map(|(name, _)| format!("configmap/{name}"))
        .collect();
    let all = set(all.copied().chain(dashboards.iter().map(String::as_str)));
    assert_eq!(release.objects().await, all);
    are_owned(&release).await;
    // CHT-23: names and numbers by which others find them.
    for (service, ports) in [
        ("prometheus", json!(["http-prometheus", 9090, 9090])),
        ("grafana", json!(["http", 3000, 3000])),
        ("kiali", json!(["http-kiali", 20001, 20001])),
        ("zipkin", json!(["http", 9411, "zipkin"])),
        ("tracing", json!(["http-query", 80, "query"])),
        ("jaeger-query", json!(["query-http", 16686, "query"])),
    ] {
        let object = release.get(&format!("service {service}")).await;
        let port = &object["spec"]["ports"][0];
        assert_eq!(
            json!([port["name"], port["port"], port["targetPort"]]),
            ports,
            "{service}"
        );
    }
    are_admitted(&release).await;

    release
        .upgrade(&[
            "grafana.enabled=false",
            "kiali.enabled=false",
            "tracing.enabled=false",
        ])
        .await;
    assert_eq!(release.objects().await, by_default);
    release.upgrade(&["prometheus.enabled=false"]).await;
    assert_eq!(release.objects().await, set(MESH));
    release.uninstall().await;
}

/// Helm has marked the objects as its own, and they say whose they are as in 1.1.
async fn are_owned(release: &Release) {
    for kinds in [
        "deployments,services,configmaps,secrets,serviceaccounts",
        "clusterroles,clusterrolebindings",
    ] {
        let list = release.get(&format!("{kinds} -l {MANAGED}")).await;
        for object in list["items"].as_array().expect("a list") {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().expect("a name");
            // Other tests have releases too, with such objects of their own.
            if kinds.starts_with("cluster") && !name.ends_with(&format!("-{}", release.namespace)) {
                continue;
            }
            for (annotation, value) in [
                ("meta.helm.sh/release-name", NAME),
                ("meta.helm.sh/release-namespace", &release.namespace),
            ] {
                assert_eq!(metadata["annotations"][annotation], value, "{name}");
            }
            let labels = &metadata["labels"];
            assert_eq!(
                (&labels["release"], &labels["heritage"]),
                (&json!(NAME), &json!("Helm")),
                "{name}"
            );
            assert!(
                labels["app"].is_string() && labels["chart"].is_string(),
                "{name}: {labels}"
            );
        }
    }
}

/// What controllers would make of the Deployments is admitted under the strictest of Kubernetes' standards for pods, without
/// a sidecar, and is found by the Services.
async fn are_admitted(release: &Release) {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    release
        .kubectl(&format!("label namespace {} {label}", release.namespace), "")
        .await;
    let pod = |name: &str, metadata: &Value, spec: &Value| {
        let mut metadata = metadata.clone();
        metadata["name"] = json!(name);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}).to_string()
    };
    let create = format!("-n {} create --dry-run=server -f -", release.namespace);
    let careless = pod(
        "careless",
        &json!({}),
        &json!({"containers": [{"name": "a", "image": "a"}]}),
    );
    let refused = release.server.admin().run(&create, &careless).await;
    assert!(refused.is_err(), "the standard is not enforced");

    let services = release.get("services").await["items"].take();
    let services = services.as_array().expect("a list");
    for name in release.deployments().await {
        let deployment = release.get(&format!("deployment {name}")).await;
        let template = &deployment["spec"]["template"];
        release
            .kubectl(
                "create --dry-run=server -f -",
                &pod(&name, &template["metadata"], &template["spec"]),
            )
            .await;
        assert_eq!(
            template["metadata"]["annotations"]["sidecar.istio.io/inject"], "false",
            "{name}"
        );
        // CHT-20
        let update = &deployment["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(*update, json!({"maxSurge": 1, "maxUnavailable": 0}), "{name}");

        let labels = template["metadata"]["labels"].as_object().expect("labels");
        let found = services.iter().filter(|service| {
            let selector = service["spec"]["selector"].as_object().expect("a selector");
            selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        });
        let mut found = found.peekable();
        assert!(found.peek().is_some(), "no Service finds {name}");
        let ports = template["spec"]["containers"][0]["ports"]
            .as_array()
            .expect("ports");
        for port in found.flat_map(|service| service["spec"]["ports"].as_array().expect("ports")) {
            let target = &port["targetPort"];
            let served = ports
                .iter()
                .any(|port| port["name"] == *target || port["containerPort"] == *target);
            assert!(served, "{name} does not serve {target}");
        }
    }
}

/// The names of the dashboards' ConfigMaps, and the files.
fn dashboards() -> Vec<(String, std::path::PathBuf)> {
    let folder = Path::new(CHART).join("charts/grafana/dashboards");
    let entries = fs::read_dir(folder).into_iter().flatten();
    let files = entries.map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    files
        .map(|path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            (format!("{DASHBOARD}{stem}"), path.clone())
        })
        .collect()
}

/// TEL-40: Grafana finds Prometheus, and every dashboard where its provider looks for them.
#[tokio::test]
async fn m60_grafana_has_its_data_source_and_its_dashboards() {
    let release = Release::install("grafana", &["grafana.enabled=true"]).await;
    let source = release.document("istio-grafana", "datasources.yaml").await["datasources"][0].take();
    assert_eq!(
        (&source["type"], &source["url"]),
        (&json!("prometheus"), &json!("http://prometheus:9090"))
    );
    let provider = release.document("istio-grafana", "dashboardproviders.yaml").await["providers"][0].take();
    let folder = provider["options"]["path"].as_str().expect("a folder");

    let spec = release.get("deployment grafana").await["spec"]["template"]["spec"].take();
    let mounts = spec["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let mount = mounts
        .iter()
        .find(|mount| mount["mountPath"] == folder)
        .expect("what the provider reads");
    let volumes = spec["volumes"].as_array().expect("volumes");
    let volume = volumes
        .iter()
        .find(|volume| volume["name"] == mount["name"])
        .expect("its volume");
    let sources = volume["projected"]["sources"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mounted: Vec<_> = sources
        .iter()
        .map(|source| source["configMap"]["name"].as_str().expect("a name"))
        .collect();
    let expected = dashboards();
    assert_eq!(set(mounted), set(expected.iter().map(|(name, _)| name.as_str())));
    for (name, file) in expected {
        let map = release.get(&format!("configmap {name}")).await;
        let key = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let stored: Value = serde_json::from_str(map["data"][key].as_str().expect("the file")).expect("JSON");
        let written: Value = serde_json::from_slice(&fs::read(&file).expect("the file")).expect("JSON");
        assert_eq!(stored, written, "{name}");
    }
    release.uninstall().await;
}

/// Everything that can be asked for in the values of the add-ons is taken by the API server.
#[tokio::test]
async fn m60_values_of_the_add_ons_are_taken() {
    let values = [
        "grafana.persist=true",
        "grafana.storageClassName=fast",
        "grafana.security.enabled=true",
        "grafana.service.type=LoadBalancer",
        "grafana.service.loadBalancerSourceRanges={192.0.2.0/24}",
        "prometheus.service.nodePort.enabled=true",
        "prometheus.service.nodePort.port=32091",
        "prometheus.scrapeInterval=5s",
        "prometheus.retention=12h",
        "prometheus.resources.requests.memory=1Gi",
        "kiali.dashboard.viewOnlyMode=true",
        "kiali.contextPath=/",
        "tracing.contextPath=/jaeger",
        "global.priorityClassName=system-cluster-critical",
        "global.imagePullSecrets={registry}",
        "global.defaultNodeSelector.pool=mesh",
        "global.arch.s390x=0",
        "kiali.nodeSelector.disk=ssd",
    ];
    let release = Release::install("values", &[&ALL[..], &values].concat()).await;
    let config = release.document("prometheus", "prometheus.yml").await;
    assert_eq!(config["global"]["scrape_interval"], "5s");
    let spec = release.get("deployment kiali").await["spec"]["template"]["spec"].take();
    assert_eq!(spec["nodeSelector"], json!({"disk": "ssd", "pool": "mesh"}));
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    let needed = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let needed = &needed["nodeSelectorTerms"][0]["matchExpressions"][0]["values"];
    assert_eq!(*needed, json!(["amd64", "arm64", "ppc64le"]));
    assert_eq!(
        spec["containers"][0]["livenessProbe"]["httpGet"]["path"],
        "/healthz"
    );
    assert!(
        release
            .objects()
            .await
            .contains("persistentvolumeclaim/istio-grafana-pvc")
    );
    // No controller is there that would let go of it.
    let patch = r#"patch pvc istio-grafana-pvc --type=merge -p {"metadata":{"finalizers":null}}"#;
    release.kubectl(patch, "").await;
    release.uninstall().await;
}

/// Helm finds nothing to say against the chart.
#[tokio::test]
async fn m60_helm_lint_is_content() {
    let server = ApiServer::shared_with_kinds().await.expect("an API server");
    let mut args = vec!["lint", "--strict", CHART];
    args.extend(ALL.iter().flat_map(|value| ["--set", value]));
    let said = server.admin().helm(&args).await.expect("no fault");
    assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
}
