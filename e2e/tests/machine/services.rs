//! Names and addresses of services, for pods without an Envoy.

use std::collections::BTreeSet;

use crate::support::{Files, get, ready, shell, until};

const OBJECTS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo, namespace: shop}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: echo}}
    spec:
      containers:
      - name: echo
        image: istio-rs/echo:v1
        ports: [{name: web, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: web}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, selector: {app: echo}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: home}
spec: {containers: [{name: client, image: curlimages/curl}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn services_are_found_by_every_form_of_their_name_and_spread_connections() {
    let files = Files::new("objects.yaml", OBJECTS);
    let mesh = ready(&files).await;
    let state = mesh.state();
    let vip = state
        .services
        .iter()
        .find(|service| service.host.starts_with("echo."))
        .unwrap()
        .vip
        .unwrap();

    for name in ["echo.shop", "echo.shop.svc", "echo.shop.svc.cluster.local"] {
        let answer = shell(&mesh, "client", &format!("getent ahostsv4 {name} | head -1")).await;
        assert!(answer.starts_with(&vip.to_string()), "{name}: {answer}");
    }
    // Short names are those of the pod's own namespace.
    assert!(
        shell(&mesh, "client", "getent hosts echo")
            .await
            .contains("exit status: 2")
    );
    assert!(
        shell(&mesh, "echo-0", "getent hosts echo")
            .await
            .starts_with(&vip.to_string())
    );
    assert!(
        shell(&mesh, "client", "getent hosts nothing.shop")
            .await
            .contains("exit status: 2")
    );

    let mut pods: Vec<String> = state
        .pods
        .iter()
        .filter(|pod| pod.namespace == "shop")
        .map(|pod| pod.ip.to_string())
        .collect();
    let listed = shell(
        &mesh,
        "client",
        "getent ahostsv4 headless.shop | awk '/STREAM/ {print $1}' | sort",
    )
    .await;
    pods.sort();
    assert_eq!(listed.lines().collect::<Vec<_>>(), pods);

    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let page = get(&mesh, "client", "echo.shop", 80, "/").await;
        seen.extend(["echo-0", "echo-1"].into_iter().filter(|pod| page.contains(pod)));
    }
    assert_eq!(seen.len(), 2);
    // A pod reaches itself through its own service.
    assert!(get(&mesh, "echo-0", "echo", 80, "/").await.contains("echo-"));
    assert!(
        get(&mesh, "client", "nobody.shop", 80, "/")
            .await
            .contains("refused")
    );
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_not_ready_gets_no_connections() {
    let files = Files::new("objects.yaml", &OBJECTS.replace("path: /ready", "path: /status"));
    let mesh = ready(&files).await;
    // Both answer alike until one is told to fail.
    let fail = "exec 3<>/dev/tcp/127.0.0.1/8080; body='{\"status\":503}'; \
                printf \"POST /control HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\ncontent-length: ${#body}\\r\\nconnection: close\\r\\n\\r\\n$body\" >&3; head -1 <&3";
    let answer = shell(&mesh, "echo-0", fail).await;
    assert!(answer.contains("200") || answer.contains("204"), "{answer}");
    until(&mesh, |state| state.pod("echo-0").is_some_and(|pod| !pod.ready)).await;
    mesh_testing::eventually(crate::support::PATIENCE, async || {
        for _ in 0..10 {
            let page = get(&mesh, "client", "echo.shop", 80, "/").await;
            anyhow::ensure!(page.contains("echo-1"), "{page}");
        }
        Ok(())
    })
    .await
    .unwrap();
    assert!(!mesh.state().ready);
    mesh.stop().await.unwrap();
}
