//! The adapter kubernetesenv in a whole Mixer, against the real API server.

use std::fs;
use std::path::Path;

use mesh_api::istio::mixer::v1::{CheckRequest, CompressedAttributes, ReportRequest};
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use serde_json::{Value, json};

use crate::harness::{Mixer, PATIENCE, attributes, object};

/// Of `spec 02` §3.4, what the instance reads and writes.
const VOCABULARY: &str = "{attributes: {\
    source.ip: {valueType: IP_ADDRESS}, source.uid: {valueType: STRING}, source.labels: {valueType: STRING_MAP}, \
    source.namespace: {valueType: STRING}, source.owner: {valueType: STRING}, \
    source.serviceAccount: {valueType: STRING}, source.workload.uid: {valueType: STRING}, \
    source.workload.name: {valueType: STRING}, source.workload.namespace: {valueType: STRING}, \
    destination.ip: {valueType: IP_ADDRESS}, destination.uid: {valueType: STRING}, \
    destination.port: {valueType: INT64}, destination.labels: {valueType: STRING_MAP}, \
    destination.name: {valueType: STRING}, destination.owner: {valueType: STRING}, \
    destination.serviceAccount: {valueType: STRING}, destination.container.name: {valueType: STRING}, \
    destination.workload.uid: {valueType: STRING}, destination.workload.name: {valueType: STRING}, \
    destination.workload.namespace: {valueType: STRING}}}";

/// F-9: what is asked, as `spec 02` §12 installs it.
fn question() -> Value {
    json!({
        "source_uid": "source.uid | \"\"",
        "source_ip": "source.ip | ip(\"0.0.0.0\")",
        "destination_uid": "destination.uid | \"\"",
        "destination_port": "destination.port | 0",
    })
}

/// F-9: what becomes of the answer.
fn bindings() -> Value {
    let mut bindings =
        json!({ "destination.container.name": "$out.destination_container_name | \"unknown\"" });
    for side in ["source", "destination"] {
        for (attribute, output, missing) in [
            ("ip", "pod_ip", "ip(\"0.0.0.0\")"),
            ("uid", "pod_uid", "\"unknown\""),
            ("labels", "labels", "emptyStringMap()"),
            ("name", "pod_name", "\"unknown\""),
            ("namespace", "namespace", "\"default\""),
            ("owner", "owner", "\"unknown\""),
            ("serviceAccount", "service_account_name", "\"unknown\""),
            ("workload.uid", "workload_uid", "\"unknown\""),
            ("workload.name", "workload_name", "\"unknown\""),
            ("workload.namespace", "workload_namespace", "\"unknown\""),
        ] {
            bindings[format!("{side}.{attribute}")] = json!(format!("$out.{side}_{output} | {missing}"));
        }
    }
    bindings
}

/// The rule of §12 with the instance in one of its two forms, an adapter that reports and one that checks.
fn configuration(kubeconfig: &Path, log: &Path, uniform: bool) -> String {
    let (name, instance) = if uniform {
        let spec = json!({
            "compiledTemplate": "kubernetes", "params": question(), "attributeBindings": bindings(),
        });
        (
            "attributes.instance",
            object("instance", "attributes", &spec.to_string()),
        )
    } else {
        let mut spec = question();
        spec["attribute_bindings"] = bindings();
        (
            "attributes.kubernetes",
            object("kubernetes", "attributes", &spec.to_string()),
        )
    };
    let handler = json!({ "compiledAdapter": "kubernetesenv", "params": { "kubeconfigPath": kubeconfig } });
    let file = json!({ "compiledAdapter": "stdio", "params": { "logStream": "FILE", "outputPath": log } });
    let variables = json!({
        "from": "source.name", "namespace": "source.namespace", "workload": "source.workload.name",
        "owner": "source.owner", "account": "source.serviceAccount", "app": "source.labels[\"app\"]",
        "to": "destination.workload.name", "container": "destination.container.name",
        "address": "destination.ip",
    });
    let entry = json!({ "compiledTemplate": "logentry", "params": { "severity": "\"info\"", "variables": variables } });
    [
        object("attributemanifest", "kubernetes", VOCABULARY),
        instance,
        object("handler", "kubernetesenv", &handler.to_string()),
        object(
            "rule",
            "kubeattrgenrulerule",
            &format!("{{actions: [{{handler: kubernetesenv, instances: [{name}]}}]}}"),
        ),
        object("handler", "file", &file.to_string()),
        object("instance", "entry", &entry.to_string()),
        object("rule", "log", "{actions: [{handler: file, instances: [entry]}]}"),
        object("handler", "denial", "{compiledAdapter: denier, params: {status: {code: 7}}}"),
        object("instance", "nothing", "{compiledTemplate: checknothing}"),
        object(
            "rule",
            "deny",
            "{match: 'source.labels[\"app\"] == \"forecast\"', actions: [{handler: denial, instances: [nothing]}]}",
        ),
    ]
    .concat()
}

/// Adds an address.
fn with_address(mut set: CompressedAttributes, name: &str, address: [u8; 4]) -> CompressedAttributes {
    set.words.push(name.to_owned());
    let index = -i32::try_from(set.words.len()).unwrap();
    set.bytes.insert(index, address.to_vec().into());
    set
}

/// The objects of a pod of a Deployment as controllers make them, and its status as a kubelet writes it.
async fn deploy(server: &ApiServer, namespace: &str, app: &str, address: &str) {
    let template = json!({
        "metadata": { "labels": { "app": app } },
        "spec": { "serviceAccountName": app, "containers": [
            { "name": app, "image": "app", "ports": [{ "containerPort": 8080 }] },
        ] },
    });
    let owner = |api_version, kind, name: String| json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": "1", "controller": true }]);
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("{app}-1"), "ownerReferences": owner("apps/v1", "Deployment", app.to_owned()),
        },
        "spec": { "selector": { "matchLabels": { "app": app } }, "template": template },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{app}-1-a"), "labels": { "app": app },
            "ownerReferences": owner("apps/v1", "ReplicaSet", format!("{app}-1")),
        },
        "spec": template["spec"],
    });
    let admin = server.admin();
    for object in [set, pod] {
        let apply = ["-n", namespace, "apply", "-f", "-"];
        admin.kubectl(&apply, &object.to_string()).await.unwrap();
    }
    let status = json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } });
    let (pod, status) = (format!("{app}-1-a"), status.to_string());
    let patch = [
        "-n",
        namespace,
        "patch",
        "pod",
        &pod,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    admin.kubectl(&patch, "").await.unwrap();
}

#[tokio::test]
async fn m55_m56_m57_what_kubernetes_knows_reaches_the_other_adapters() {
    let server = ApiServer::shared().await.unwrap();
    let namespace = server.namespace("weather").await.unwrap();
    deploy(server, &namespace, "forecast", "10.65.0.1").await;
    deploy(server, &namespace, "advertisement", "10.65.0.2").await;
    let folder = tempfile::tempdir().unwrap();
    let mut mixer = None;
    for uniform in [false, true] {
        let log = folder.path().join(format!("{uniform}.log"));
        let configuration = configuration(server.admin().kubeconfig(), &log, uniform);
        match &mixer {
            None => mixer = Some(Mixer::start(&configuration, &[]).await),
            Some(mixer) => mixer.configure(&configuration).await,
        }
        let mixer = mixer.as_ref().unwrap();
        assert_eq!(mixer.json("/debug/errors").await["errors"], json!([]));

        // A report of addresses and UIDs alone.
        let uid = format!("kubernetes://advertisement-1-a.{namespace}");
        let mut set = with_address(
            attributes(&[("destination.uid", &uid)]),
            "source.ip",
            [10, 65, 0, 1],
        );
        set.words.push("destination.port".to_owned());
        set.int64s.insert(-i32::try_from(set.words.len()).unwrap(), 8080);
        let report = ReportRequest {
            attributes: vec![set],
            repeated_attributes_semantics: 1,
            ..ReportRequest::default()
        };
        mixer.report(report).await.unwrap();
        let line = eventually(PATIENCE, async || {
            let text = fs::read_to_string(&log).map_err(|error| error.to_string())?;
            text.lines()
                .next()
                .map(str::to_owned)
                .ok_or("nothing is written".to_owned())
        })
        .await
        .unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let owner = format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/forecast");
        for (field, expected) in [
            ("from", "forecast-1-a"),
            ("namespace", namespace.as_str()),
            ("workload", "forecast"),
            ("owner", owner.as_str()),
            ("account", "forecast"),
            ("app", "forecast"),
            ("to", "advertisement"),
            ("container", "advertisement"),
            ("address", "10.65.0.2"),
        ] {
            assert_eq!(line[field], expected, "{line}");
        }

        // A check sees labels that it did not bring.
        let check = async |address| {
            let request = CheckRequest {
                attributes: Some(with_address(attributes(&[]), "source.ip", address)),
                ..CheckRequest::default()
            };
            let answer = mixer.check(request).await.unwrap();
            answer.precondition.unwrap().status.unwrap().code
        };
        assert_eq!(check([10, 65, 0, 1]).await, 7);
        assert_eq!(check([10, 65, 0, 2]).await, 0);
        assert_eq!(check([10, 65, 0, 3]).await, 0, "nobody has this address");
    }
}
