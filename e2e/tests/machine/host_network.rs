//! Pods in the network of the node, and ports of the node that belong to pods.

use std::fs::read_link;

use e2e::mesh::Mesh;

use crate::support::{Files, get, ready, shell, start, until};

const NODE: &str = "10.44.0.1";

/// A server without a node's port, one with, and clients in either network with either resolver.
const OBJECTS: &str = "
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: shop}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, namespace: shop, labels: {app: echo}}
spec:
  containers:
  - name: echo
    image: istio-rs/echo:v1
    ports: [{containerPort: 8080, hostPort: 8081}]
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: on-host, namespace: shop, labels: {app: on-host}}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  containers:
  - name: echo
    image: istio-rs/echo:v1
    env: [{name: PORT, value: \"9090\"}]
    ports: [{containerPort: 9090}]
    readinessProbe: {httpGet: {path: /ready, port: 9090}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: on-host, namespace: shop}
spec: {selector: {app: on-host}, ports: [{port: 80, targetPort: 9090}]}
---
apiVersion: v1
kind: Pod
metadata: {name: names-of-node, namespace: shop}
spec: {hostNetwork: true, containers: [{name: client, image: curlimages/curl}]}
---
apiVersion: v1
kind: Pod
metadata: {name: default, namespace: shop}
spec: {dnsPolicy: Default, containers: [{name: client, image: curlimages/curl}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop}
spec: {containers: [{name: client, image: curlimages/curl}]}
";

fn network(mesh: &Mesh, pod: &str) -> std::path::PathBuf {
    let state = mesh.state();
    read_link(state.pod(pod).unwrap().netns.as_ref().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_in_the_network_of_the_node_has_its_address_and_reaches_what_pods_reach() {
    let files = Files::new("objects.yaml", OBJECTS);
    let mesh = ready(&files).await;

    // One network for both, which is neither that of another pod nor the machine's.
    assert_eq!(network(&mesh, "on-host"), network(&mesh, "names-of-node"));
    let others = [network(&mesh, "client"), read_link("/proc/self/ns/net").unwrap()];
    assert!(!others.contains(&network(&mesh, "on-host")), "{others:?}");
    for pod in ["on-host", "names-of-node"] {
        assert_eq!(mesh.state().pod(pod).unwrap().ip.to_string(), NODE);
        let names = shell(&mesh, pod, "echo $HOSTNAME; cat /proc/sys/kernel/hostname").await;
        assert_eq!(names, "node-1\nnode-1");
    }

    // Services are reached from there as from everywhere, and lead there.
    assert!(
        get(&mesh, "on-host", "echo.shop", 80, "/")
            .await
            .contains("\"echo\"")
    );
    for client in ["client", "echo", "on-host"] {
        let page = get(&mesh, client, "on-host.shop", 80, "/").await;
        assert!(
            page.contains("node-1") || page.contains("on-host"),
            "{client}: {page}"
        );
    }
    let refused = get(&mesh, "on-host", "nobody.shop", 80, "/").await;
    assert!(refused.contains("refused"), "{refused}");
    // A port of the node that belongs to a pod, from other pods, from the node and from that pod itself.
    for client in ["client", "on-host", "echo"] {
        let page = get(&mesh, client, NODE, 8081, "/").await;
        assert!(page.contains("\"echo\""), "{client}: {page}");
    }

    // The resolver of the node knows the node and no service.
    for pod in ["names-of-node", "default"] {
        let found = shell(&mesh, pod, "getent hosts echo.shop.svc.cluster.local").await;
        assert!(found.contains("exit status: 2"), "{pod}: {found}");
        let found = shell(&mesh, pod, "getent hosts node-1").await;
        assert!(found.starts_with(NODE), "{pod}: {found}");
    }
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_node_is_given_to_one_pod_at_a_time_and_the_other_is_told() {
    let pod = |name: &str, extra: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n{extra}  containers:\n  \
             - {{name: c, image: istio-rs/echo:v1, ports: [{{containerPort: 8080}}]}}\n"
        )
    };
    let one = pod("a", "");
    let both = format!("{one}{}", pod("b", ""));
    let elsewhere = pod("c", "  nodeSelector: {kubernetes.io/hostname: node-2}\n");
    let files = Files::new("pods.yaml", &format!("{both}{elsewhere}"));
    let mesh = start(&files).await;
    until(&mesh, |state| state.pod("a").is_some_and(|pod| pod.ready)).await;
    let state = mesh.state();
    assert_eq!(
        state.problems,
        [
            "Pod default/b: port 8080/TCP of node-1 is taken by pod default/a",
            "Pod default/c: nodeSelector: node-1 is not kubernetes.io/hostname=node-2",
        ]
    );
    assert!(!state.ready && state.pods.len() == 1);
    // The port is free once the pod is gone that had it.
    files.write("pods.yaml", &pod("b", ""));
    until(&mesh, |state| {
        state.ready && state.problems.is_empty() && state.pod("b").is_some_and(|pod| pod.ready)
    })
    .await;
    mesh.stop().await.unwrap();
}
