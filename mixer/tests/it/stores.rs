//! One test for all stores of configuration (`spec 02` §9.3): files, the API server, Galley.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_config::{Config, ConfigKey, Kind, decode, yaml};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::{Entry, Snapshot, SnapshotCache, Source, SourceOptions};
use mesh_runtime::grpc::{self, GrpcMetrics, GrpcOptions};
use mesh_runtime::{Drain, Metrics, Spawner};
use mesh_testing::eventually;
use mesh_testing::kube::ApiServer;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::harness::{Facts, Mixer, PATIENCE};

/// A place that configuration comes from, as whoever writes to it sees it.
trait Store {
    /// Where Mixer finds it.
    fn url(&self) -> String;
    /// Adds or replaces an object.
    async fn put(&mut self, object: &Object);
    /// Takes it away.
    async fn remove(&mut self, object: &Object);
}

/// An object of text.
#[derive(Clone, Debug)]
struct Object {
    kind: &'static str,
    name: &'static str,
    namespace: String,
    spec: String,
}

// === impl Object ===

impl Object {
    fn text(&self) -> String {
        let Self {
            kind,
            name,
            namespace,
            spec,
        } = self;
        format!(
            "apiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        )
    }

    fn config(&self) -> Config {
        let mut documents = yaml::documents("test.yaml", &self.text()).into_iter();
        decode::object(&documents.next().unwrap().unwrap()).unwrap()
    }
}

/// The code and the message of a verdict.
async fn verdict(mixer: &Mixer) -> (i32, String) {
    let answer = mixer.check(Facts::default().check()).await.unwrap();
    let status = answer.precondition.unwrap().status.unwrap();
    (status.code, status.message)
}

async fn eventually_verdict(mixer: &Mixer, what: &str, wanted: (i32, &str)) {
    let wanted = (wanted.0, wanted.1.to_owned());
    eventually(PATIENCE, async || match verdict(mixer).await {
        verdict if verdict == wanted => Ok(()),
        verdict => Err(format!("{what}: {verdict:?}")),
    })
    .await
    .unwrap();
}

async fn rules(mixer: &Mixer) -> Vec<String> {
    let configuration = mixer.json("/debug/configz").await;
    let rules = configuration["rules"].as_array().unwrap().iter();
    rules.map(|rule| rule.as_str().unwrap().to_owned()).collect()
}

/// What every store has to do: tell what was there before, what is new, what has changed, what is wrong and what is gone.
async fn conforms(mut store: impl Store, namespace: &str) {
    let object = |kind, name, spec: &str| Object {
        kind,
        name,
        namespace: namespace.to_owned(),
        spec: spec.to_owned(),
    };
    let denier = |message: &str| {
        let spec =
            format!("{{compiledAdapter: denier, params: {{status: {{code: 7, message: {message}}}}}}}");
        object("handler", "deny", &spec)
    };
    let rule = |name, spec: &str| object("rule", name, spec);
    let refuse = "{actions: [{handler: deny, instances: [nothing]}]}";
    let instance = object("instance", "nothing", "{compiledTemplate: checknothing}");
    let prefix = format!("deny.{namespace}:");

    store.put(&denier("first")).await;
    store.put(&instance).await;
    store.put(&rule("all", refuse)).await;
    let default = format!("--configDefaultNamespace={namespace}");
    let mixer = Mixer::at(&store.url(), &[&default]).await;
    assert_eq!(
        verdict(&mixer).await,
        (7, format!("{prefix}first")),
        "what was there before"
    );

    store.put(&denier("second")).await;
    eventually_verdict(&mixer, "what has changed", (7, &format!("{prefix}second"))).await;

    store.put(&rule("more", refuse)).await;
    let both = format!("{prefix}second, {prefix}second");
    eventually_verdict(&mixer, "what is new", (7, &both)).await;

    let dangling = rule("dangling", "{actions: [{handler: nobody, instances: [nothing]}]}");
    store.put(&dangling).await;
    eventually(PATIENCE, async || {
        let errors = mixer.json("/debug/errors").await;
        let mut objects = errors["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| &error["object"]);
        match objects.any(|object| *object == format!("rule {namespace}/dangling")) {
            true => Ok(()),
            false => Err(format!("what is wrong is not told: {errors}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(
        verdict(&mixer).await,
        (7, both),
        "what is wrong harms nothing else"
    );

    for gone in [dangling, rule("more", refuse), rule("all", refuse)] {
        store.remove(&gone).await;
    }
    eventually_verdict(&mixer, "what is gone, to the last object of its kind", (0, "")).await;
    assert_eq!(rules(&mixer).await, [""; 0]);
    let errors = mixer.json("/debug/errors").await;
    assert_eq!(errors["errors"].as_array().unwrap().len(), 0, "{errors}");
}

/// A folder of files.
struct Files(TempDir);

impl Files {
    fn path(&self, object: &Object) -> PathBuf {
        self.0
            .path()
            .join(format!("{}-{}.yaml", object.kind, object.name))
    }
}

impl Store for Files {
    fn url(&self) -> String {
        format!("fs://{}", self.0.path().display())
    }

    async fn put(&mut self, object: &Object) {
        fs::write(self.path(object), object.text()).unwrap();
    }

    async fn remove(&mut self, object: &Object) {
        fs::remove_file(self.path(object)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m103_files_are_a_store() {
    conforms(Files(TempDir::new().unwrap()), "istio-system").await;
}

/// A namespace of an API server.
struct Kubernetes {
    server: &'static ApiServer,
    namespace: String,
}

impl Kubernetes {
    async fn kubectl(&self, args: &[&str], input: &str) {
        self.server.admin().kubectl(args, input).await.unwrap();
    }
}

impl Store for Kubernetes {
    fn url(&self) -> String {
        let kubeconfig = self.server.admin().kubeconfig().display();
        format!("k8s://{kubeconfig}?ns={}", self.namespace)
    }

    async fn put(&mut self, object: &Object) {
        self.kubectl(&["apply", "-f", "-"], &object.text()).await;
    }

    async fn remove(&mut self, object: &Object) {
        let kind = format!("{}.config.istio.io", object.kind);
        self.kubectl(&["delete", &kind, object.name, "-n", &object.namespace], "")
            .await;
    }
}

/// Also M113: what other namespaces have is none of its business.
#[tokio::test(flavor = "multi_thread")]
async fn m103_m113_a_namespace_of_an_api_server_is_a_store() {
    let server = ApiServer::shared_with_kinds().await.unwrap();
    let namespace = server.namespace("mixer-store").await.unwrap();
    let other = server.namespace("mixer-other").await.unwrap();
    let mut store = Kubernetes { server, namespace };
    let elsewhere = |kind, name, spec: &str| Object {
        kind,
        name,
        namespace: other.clone(),
        spec: spec.to_owned(),
    };
    store
        .put(&elsewhere(
            "rule",
            "elsewhere",
            "{actions: [{handler: nobody, instances: [nothing]}]}",
        ))
        .await;
    let namespace = store.namespace.clone();
    conforms(store, &namespace).await;
}

/// A server of MCP, as Galley is one.
struct Mcp {
    address: String,
    snapshots: SnapshotCache,
    snapshot: Snapshot,
    objects: BTreeMap<ConfigKey, Config>,
    version: u64,
}

impl Mcp {
    async fn start() -> Self {
        let metrics = Metrics::new();
        let snapshots = SnapshotCache::new();
        let options = SourceOptions {
            incremental: true,
            ..SourceOptions::default()
        };
        let source_metrics = McpMetrics::register(&metrics, "galley/mcp/source").unwrap();
        let source = Source::new(snapshots.clone(), options, source_metrics, Drain::never());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let grpc_metrics = GrpcMetrics::register(&metrics).unwrap();
        let spawner = Spawner::default();
        let routes = Routes::new(source.service());
        spawner.clone().spawn(
            "mcp",
            grpc::serve(
                "mcp",
                listener,
                routes,
                GrpcOptions::default(),
                grpc_metrics,
                spawner,
                Drain::never(),
            ),
        );
        Self {
            address,
            snapshots,
            snapshot: Snapshot::default(),
            objects: BTreeMap::new(),
            version: 0,
        }
    }

    fn publish(&mut self) {
        self.version += 1;
        let mut builder = self.snapshot.builder();
        for kind in Kind::ALL.iter().copied() {
            let objects = self
                .objects
                .values()
                .filter(|config| config.meta.key.kind == kind);
            let entries: Vec<_> = objects.map(|config| Arc::new(Entry::new(config))).collect();
            builder.set(kind.collection(), self.version.to_string(), entries);
        }
        self.snapshot = builder.build();
        self.snapshots.publish(self.snapshot.clone());
    }
}

impl Store for Mcp {
    fn url(&self) -> String {
        format!("mcp://{}", self.address)
    }

    async fn put(&mut self, object: &Object) {
        let config = object.config();
        self.objects.insert(config.meta.key.clone(), config);
        self.publish();
    }

    async fn remove(&mut self, object: &Object) {
        self.objects
            .remove(&object.config().meta.key)
            .expect("it is there");
        self.publish();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m103_galley_is_a_store() {
    conforms(Mcp::start().await, "istio-system").await;
}
