//! The chart of the mesh: rendered, installed and upgraded by the real Helm on a real API server.

mod addons;
mod kiali;
mod mesh;
mod prometheus;
mod tracing;

use std::collections::BTreeSet;

use mesh_config::yaml;
use mesh_testing::kube::ApiServer;
use serde_json::Value;

/// The name of the release.
const NAME: &str = "istio";

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/istio");

/// What Helm writes on its objects.
const MANAGED: &str = "app.kubernetes.io/managed-by=Helm";

/// A release in a namespace of its own.
struct Release {
    server: &'static ApiServer,
    namespace: String,
}

// === impl Release ===

impl Release {
    /// Installs the chart with values such as `grafana.enabled=true`.
    async fn install(prefix: &str, values: &[&str]) -> Self {
        let server = ApiServer::shared_with_kinds().await.expect("an API server");
        let namespace = server.namespace(prefix).await.expect("a namespace");
        let release = Self { server, namespace };
        release.helm("install", values).await.expect("installed");
        release
    }

    /// Changes values; those that are not named stay.
    async fn upgrade(&self, values: &[&str]) {
        self.helm("upgrade", values).await.expect("upgraded");
    }

    /// Installs or upgrades; what Helm says where it refuses.
    async fn helm(&self, verb: &str, values: &[&str]) -> Result<String, String> {
        let mut args = vec![verb, NAME, CHART, "--namespace", &self.namespace];
        if verb == "upgrade" {
            args.push("--reset-then-reuse-values");
        }
        args.extend(values.iter().flat_map(|value| ["--set", value]));
        let said = self.server.admin().helm(&args).await;
        said.map_err(|error| error.to_string())
    }

    async fn uninstall(self) {
        let args = ["uninstall", NAME, "--namespace", &self.namespace];
        self.server.admin().helm(&args).await.expect("uninstalled");
        assert!(self.objects().await.is_empty());
    }

    /// Runs kubectl in the namespace, arguments separated by blanks; what it prints.
    async fn kubectl(&self, line: &str, input: &str) -> String {
        let line = format!("-n {} {line}", self.namespace);
        let said = self.server.admin().run(&line, input).await;
        said.unwrap_or_else(|error| panic!("{error}"))
    }

    /// An object, such as `deployment grafana`.
    async fn get(&self, what: &str) -> Value {
        let text = self.kubectl(&format!("get {what} -o json"), "").await;
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// All objects of the release, such as `deployment.apps/grafana`, those outside of its namespace too.
    async fn objects(&self) -> BTreeSet<String> {
        let kinds = "deployments,services,configmaps,secrets,serviceaccounts,persistentvolumeclaims";
        let inside = self
            .kubectl(&format!("get {kinds} -l {MANAGED} -o name"), "")
            .await;
        let kinds = "clusterroles,clusterrolebindings";
        let outside = self
            .kubectl(&format!("get {kinds} -l {MANAGED} -o name"), "")
            .await;
        // Other tests have releases too, with such objects of their own.
        let own = format!("-{}", self.namespace);
        let outside = outside.lines().filter_map(|name| name.strip_suffix(&own));
        inside.lines().chain(outside).map(str::to_owned).collect()
    }

    /// The names of the Deployments.
    async fn deployments(&self) -> BTreeSet<String> {
        let objects = self.objects().await.into_iter();
        objects
            .filter_map(|name| name.strip_prefix("deployment.apps/").map(str::to_owned))
            .collect()
    }

    /// A ConfigMap's document.
    async fn document(&self, map: &str, key: &str) -> Value {
        let map = self.get(&format!("configmap {map}")).await;
        parsed(key, map["data"][key].as_str().expect("the key"))
    }
}

/// The one document of a text.
fn parsed(name: &str, text: &str) -> Value {
    let mut documents = yaml::documents(name, text).into_iter();
    let document = documents.next().expect("a document").expect("YAML");
    assert!(documents.next().is_none(), "{name} has several documents");
    document.value
}

/// What is in a list of texts.
fn set<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    texts.into_iter().map(str::to_owned).collect()
}
