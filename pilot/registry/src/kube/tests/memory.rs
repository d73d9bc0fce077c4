//! What is kept of what an API server says.

use serde_json::json;

use super::super::KubeRegistry;
use mesh_config::Kind;

const PODS: usize = 5000;

/// Most of a Pod is for others: who wrote which field, what kubectl applied, images, volumes, conditions.
#[test]
fn p4_2_of_5000_pods_nothing_is_kept_that_nobody_uses() {
    let mut registry = KubeRegistry::new("Kubernetes", "cluster.local", "cluster.local");
    let unused = "unused ".repeat(40);
    for number in 0..PODS {
        let ip = format!(
            "10.{}.{}.{}",
            16 + number / 40_000,
            number / 200 % 200,
            1 + number % 200
        );
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("app-{number}"), "namespace": "weather", "uid": "unused", "resourceVersion": "7",
                "labels": { "app": "app" },
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": unused,
                    "sidecar.istio.io/status": unused,
                },
                "managedFields": [{ "manager": "unused", "fieldsV1": { "f:metadata": { "unused": unused } } }],
                "ownerReferences": [{ "apiVersion": "v1", "kind": "ReplicaSet", "name": "unused", "uid": "unused" }],
            },
            "spec": {
                "serviceAccountName": "account", "nodeName": "node",
                "containers": [{
                    "name": "app", "image": unused, "args": [unused], "env": [{ "name": "A", "value": unused }],
                    "ports": [{ "name": "http", "containerPort": 8080 }],
                    "volumeMounts": [{ "name": "unused", "mountPath": "/unused" }],
                }],
                "volumes": [{ "name": "unused", "configMap": { "name": "unused" } }],
                "tolerations": [{ "key": "unused", "operator": "Exists" }],
            },
            "status": {
                "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
                "conditions": [{ "type": "Ready", "status": "True", "message": unused }],
                "containerStatuses": [{ "name": "app", "image": unused, "imageID": "unused", "ready": true, "restartCount": 0 }],
            },
        });
        let object = serde_json::from_value(pod).expect("a Pod");
        let config = mesh_kube::config::decode(Kind::Pod, object).expect("a Pod");
        registry.apply(&config).expect("a Pod");
    }
    let kept = format!("{registry:?}");
    assert!(kept.contains("app-4999") && kept.contains("spiffe://cluster.local/ns/weather/sa/account"));
    assert!(!kept.contains("unused"), "{}", &kept[..2000]);
    assert!(kept.len() < PODS * 1000, "{} bytes", kept.len());
}
