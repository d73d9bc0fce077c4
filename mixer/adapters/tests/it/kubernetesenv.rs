//! Against the real API server. No controller and no kubelet is there: what they would write the tests write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use mesh_runtime::Spawner;
use mesh_testing::eventually;
use mesh_testing::kube::{Access, ApiProxy, ApiServer, Fault};
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapter::{Answer, Env, Handle, Handler, Inferred, SomeAdapter as _};
use mixer_adapters::kubernetesenv::Kubernetesenv;
use mixer_template::{Kubernetes, KubernetesOutput, KubernetesSide, Template};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A namespace with what its controllers would have made.
struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    async fn new(prefix: &str) -> Self {
        let server = ApiServer::shared().await.unwrap();
        Self {
            client: server.client().await.unwrap(),
            namespace: server.namespace(prefix).await.unwrap(),
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>()
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    /// A running pod.
    async fn pod(&self, name: &str, address: &str, owner: Option<(&str, &str, &str)>) {
        let spec = json!({
            "serviceAccountName": "forecaster",
            "containers": [
                { "name": "istio-proxy", "image": "proxyv2" },
                { "name": "forecast", "image": "forecast", "ports": [{ "containerPort": 3002 }] },
            ],
        });
        let metadata = json!({
            "name": name, "labels": { "app": "forecast", "version": "v1" }, "ownerReferences": owners(owner),
        });
        self.create::<Pod>(json!({ "metadata": metadata, "spec": spec }))
            .await;
        let status = json!({ "status": {
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
            "hostIP": "192.168.7.7", "hostIPs": [{ "ip": "192.168.7.7" }],
        } });
        let patch = Patch::Merge(&status);
        let pods = self.api::<Pod>();
        pods.patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn replica_set(&self, name: &str, owner: Option<(&str, &str, &str)>) {
        let labels = json!({ "app": name });
        let spec = json!({
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "forecast", "image": "forecast" }] },
            },
        });
        let metadata = json!({ "name": name, "ownerReferences": owners(owner) });
        self.create::<ReplicaSet>(json!({ "metadata": metadata, "spec": spec }))
            .await;
    }

    fn uid(&self, pod: &str) -> String {
        format!("kubernetes://{pod}.{}", self.namespace)
    }
}

/// References as controllers write them: `(apiVersion, kind, name)`.
fn owners(owner: Option<(&str, &str, &str)>) -> Value {
    match owner {
        None => json!([]),
        Some((api_version, kind, name)) => json!([
            { "apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "0" },
            { "apiVersion": api_version, "kind": kind, "name": name, "uid": "1", "controller": true },
        ]),
    }
}

/// A handler, and what was counted of it.
struct Running {
    handler: Handler,
    env: Env,
    faults: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Running {
    async fn start(adapter: &Kubernetesenv, params: &Value) -> Self {
        let configured = adapter.configure(params, &Inferred::new()).unwrap();
        let faults: Arc<Mutex<BTreeMap<_, _>>> = Arc::default();
        let counted = Arc::clone(&faults);
        let env = Env::counting(
            "kubernetesenv.handler.test",
            Spawner::default(),
            move |kind, count| {
                *counted.lock().unwrap().entry(kind).or_default() += count;
            },
        );
        let handler = adapter
            .build(configured, &Inferred::new(), env.clone())
            .await
            .unwrap();
        Self { handler, env, faults }
    }

    fn ask(&self, instance: &Kubernetes<'_>) -> KubernetesOutput {
        let Some(Handle::Kubernetes(handle)) = self.handler.handle(Template::Kubernetes) else {
            panic!("it serves no kubernetes");
        };
        match handle.handle_kubernetes(instance) {
            Answer::Now(Ok(output)) => output,
            other => panic!("{other:?}"),
        }
    }

    /// What is known of a source with this UID.
    fn source(&self, uid: &str) -> KubernetesSide {
        let instance = Kubernetes {
            source_uid: uid.into(),
            ..Kubernetes::default()
        };
        let output = self.ask(&instance);
        assert_eq!(output.destination, KubernetesSide::default());
        output.source
    }

    fn faults(&self, kind: &str) -> u64 {
        self.faults.lock().unwrap().get(kind).copied().unwrap_or_default()
    }

    /// Waits until so many faults are counted.
    async fn until_faults(&self, kind: &str, many: u64) {
        eventually(PATIENCE, async || match self.faults(kind) {
            count if count >= many => Ok(()),
            count => Err(format!("{count} faults")),
        })
        .await
        .unwrap();
    }

    /// Waits for what is known of a source.
    async fn until(&self, uid: &str, holds: impl Fn(&KubernetesSide) -> bool) -> KubernetesSide {
        eventually(PATIENCE, async || {
            let side = self.source(uid);
            if holds(&side) {
                Ok(side)
            } else {
                Err(format!("{side:?}"))
            }
        })
        .await
        .unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.env.stop();
    }
}

fn params(access: &Access) -> Value {
    json!({ "kubeconfigPath": access.kubeconfig(), "clusterRegistriesNamespace": "no-such-namespace" })
}

fn owner(side: &KubernetesSide) -> &str {
    side.owner.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn kubernetesenv_complies() {
    let server = ApiServer::shared().await.unwrap();
    let kubeconfig = server.admin().kubeconfig();
    let expected = Compliance {
        accepts: vec![
            json!({ "kubeconfigPath": kubeconfig }),
            json!({
                "kubeconfig_path": kubeconfig, "cache_refresh_duration": "5m",
                "cluster_registries_namespace": "registries",
            }),
        ],
        rejects: vec![(json!({ "cacheRefreshDuration": "-1s" }), "cacheRefreshDuration")],
        ..Compliance::default()
    };
    assert_compliance(&Kubernetesenv::default(), &expected).await;
}

#[tokio::test]
async fn m55_a_kubeconfig_that_cannot_be_used_is_named() {
    let adapter = Kubernetesenv::default();
    let params = json!({ "kubeconfigPath": "/nowhere/config" });
    let configured = adapter.configure(&params, &Inferred::new()).unwrap();
    let env = Env::new("kubernetesenv.handler.test", Spawner::default());
    let error = adapter
        .build(configured, &Inferred::new(), env)
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().starts_with("kubeconfig /nowhere/config: "),
        "{error}"
    );
}

#[tokio::test]
async fn m55_m56_pods_are_found_with_their_workloads() {
    let cluster = Cluster::new("kubernetesenv").await;
    let namespace = &cluster.namespace;
    cluster
        .replica_set("forecast-1", Some(("apps/v1", "Deployment", "forecast")))
        .await;
    cluster
        .pod(
            "forecast-1-a",
            "10.61.0.1",
            Some(("apps/v1", "ReplicaSet", "forecast-1")),
        )
        .await;
    let server = ApiServer::shared().await.unwrap();
    let running = Running::start(&Kubernetesenv::default(), &params(server.admin())).await;

    // Everything that there was is known from the start.
    let text = |text: &str| Some(text.to_owned().into());
    let expected = KubernetesSide {
        pod_uid: text(&cluster.uid("forecast-1-a")),
        pod_ip: "10.61.0.1".parse().ok(),
        pod_name: text("forecast-1-a"),
        container_name: None,
        labels: Some(
            mixer_attribute::StringMap::borrowed([("app", "forecast"), ("version", "v1")]).into_owned(),
        ),
        namespace: text(namespace),
        service_account_name: text("forecaster"),
        host_ip: "192.168.7.7".parse().ok(),
        workload_uid: text(&format!("istio://{namespace}/workloads/forecast")),
        workload_name: text("forecast"),
        workload_namespace: text(namespace),
        owner: text(&format!(
            "kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/forecast"
        )),
    };
    assert_eq!(running.source(&cluster.uid("forecast-1-a")), expected);
    let both = running.ask(&Kubernetes {
        source_ip: "10.61.0.1".parse().ok(),
        destination_uid: "10.61.0.1".into(),
        destination_port: 3002,
        ..Kubernetes::default()
    });
    assert_eq!(both.source, expected);
    let called = KubernetesSide {
        container_name: text("forecast"),
        ..expected
    };
    assert_eq!(both.destination, called);

    // So is what comes later, in whatever order.
    cluster
        .pod("late", "10.61.0.2", Some(("v1", "ReplicationController", "late")))
        .await;
    let controller = json!({ "name": "late", "ownerReferences": owners(Some(("apps.openshift.io/v1", "DeploymentConfig", "late-config"))) });
    let spec = json!({ "selector": { "app": "late" }, "template": {
        "metadata": { "labels": { "app": "late" } },
        "spec": { "containers": [{ "name": "late", "image": "late" }] },
    } });
    cluster
        .create::<ReplicationController>(json!({ "metadata": controller, "spec": spec }))
        .await;
    running
        .until(&cluster.uid("late"), |side| {
            owner(side).ends_with("/deploymentconfigs/late-config")
        })
        .await;
    cluster
        .pod("once", "10.61.0.3", Some(("batch/v1", "Job", "once")))
        .await;
    running
        .until(&cluster.uid("once"), |side| owner(side).ends_with("/jobs/once"))
        .await;
    cluster.pod("alone", "10.61.0.4", None).await;
    let own = format!("/api/v1/namespaces/{namespace}/pods/alone");
    running
        .until(&cluster.uid("alone"), |side| owner(side) == own)
        .await;

    let label = json!({ "metadata": { "labels": { "version": "v2" } } });
    let pods = cluster.api::<Pod>();
    pods.patch("alone", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .unwrap();
    running
        .until(&cluster.uid("alone"), |side| {
            side.labels
                .as_ref()
                .and_then(|labels| labels.get("version"))
                .as_deref()
                == Some("v2")
        })
        .await;
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete("alone", &at_once).await.unwrap();
    running
        .until(&cluster.uid("alone"), |side| *side == KubernetesSide::default())
        .await;
    let by_address = running.ask(&Kubernetes {
        source_ip: "10.61.0.4".parse().ok(),
        ..Kubernetes::default()
    });
    assert_eq!(by_address, KubernetesOutput::default());
    assert_eq!(running.faults("watch"), 0);
}

/// Pain 32: one list of a kind at the start and none afterwards, however often handlers are replaced and watches end;
/// and what is known stays when the server is away.
#[tokio::test]
async fn pain_32_nothing_is_listed_again_and_what_is_known_stays() {
    let cluster = Cluster::new("lists").await;
    cluster.pod("forecast", "10.62.0.1", None).await;
    let server = ApiServer::shared().await.unwrap();
    let proxy = ApiProxy::start(server.admin()).await.unwrap();
    let adapter = Kubernetesenv::default();
    let mut params = params(proxy.access());
    // Watches end after a second.
    params["cacheRefreshDuration"] = json!("1s");
    let first = Running::start(&adapter, &params).await;
    let second = Running::start(&adapter, &params).await;
    drop(first);
    let known = second.source(&cluster.uid("forecast"));
    assert_eq!(known.pod_name.as_deref(), Some("forecast"));
    eventually(PATIENCE, async || match proxy.counts("pods").watches {
        0..4 => Err("watches have not ended often enough"),
        _ => Ok(()),
    })
    .await
    .unwrap();
    cluster.pod("later", "10.62.0.2", None).await;
    second
        .until(&cluster.uid("later"), |side| side.pod_ip.is_some())
        .await;

    proxy.begin("pods", Fault::Status(503));
    proxy.drop_watches("pods");
    second.until_faults("watch", second.faults("watch") + 1).await;
    assert_eq!(second.source(&cluster.uid("forecast")), known);
    cluster.pod("meanwhile", "10.62.0.3", None).await;
    proxy.end("pods");
    second
        .until(&cluster.uid("meanwhile"), |side| side.pod_ip.is_some())
        .await;

    let lists = |plural| proxy.counts(plural).lists;
    assert_eq!([lists("pods"), lists("replicasets")], [1, 1]);
    // Another test may have a pod that one controls.
    assert!(lists("replicationcontrollers") <= 1);
}

#[tokio::test]
async fn what_must_not_be_read_is_absent_and_counted() {
    let cluster = Cluster::new("forbidden").await;
    cluster.pod("forecast", "10.63.0.1", None).await;
    let server = ApiServer::shared().await.unwrap();
    let nobody = server.admin().as_user("kubernetesenv-nobody", &[]).unwrap();
    let running = Running::start(&Kubernetesenv::default(), &params(&nobody)).await;
    running.until_faults("watch", 2).await;
    assert_eq!(
        running.source(&cluster.uid("forecast")),
        KubernetesSide::default()
    );
}

/// `spec 02` §7.10: pods of other clusters, which Secrets name.
#[tokio::test]
async fn clusters_of_secrets_are_searched_too() {
    let cluster = Cluster::new("registries").await;
    cluster.pod("forecast", "10.64.0.1", None).await;
    let server = ApiServer::shared().await.unwrap();
    // Who may read Secrets of this namespace and nothing else finds pods by the kubeconfig of a Secret only.
    let admin = server.admin();
    admin
        .allow(
            &cluster.namespace,
            "registries",
            "kubernetesenv-remote",
            "get,list,watch",
            "secrets",
        )
        .await
        .unwrap();
    let reader = admin
        .as_user("kubernetesenv-reader", &["kubernetesenv-remote"])
        .unwrap();
    let params = json!({
        "kubeconfigPath": reader.kubeconfig(), "clusterRegistriesNamespace": cluster.namespace,
    });
    let running = Running::start(&Kubernetesenv::default(), &params).await;
    let uid = cluster.uid("forecast");
    assert_eq!(running.source(&uid), KubernetesSide::default());
    let kubeconfig = std::fs::read_to_string(admin.kubeconfig()).unwrap();
    let secret = |data: Value| {
        json!({
            "metadata": { "name": "clusters", "labels": { "istio/multiCluster": "true" } }, "stringData": data,
        })
    };
    cluster
        .create::<Secret>(secret(json!({ "east": kubeconfig })))
        .await;
    running
        .until(&uid, |side| side.pod_name.as_deref() == Some("forecast"))
        .await;
    // One that cannot be used leaves the former in force.
    let secrets = cluster.api::<Secret>();
    let damaged = secret(json!({ "east": "no kubeconfig" }));
    secrets
        .patch("clusters", &PatchParams::default(), &Patch::Merge(&damaged))
        .await
        .unwrap();
    running.until_faults("kubeconfig", 1).await;
    assert_eq!(running.source(&uid).pod_name.as_deref(), Some("forecast"));
    secrets
        .delete("clusters", &DeleteParams::default())
        .await
        .unwrap();
    running
        .until(&uid, |side| *side == KubernetesSide::default())
        .await;
}
