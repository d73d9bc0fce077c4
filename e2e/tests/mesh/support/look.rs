//! Looking into the parts of a mesh: what Pilot was told, what an Envoy was given.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::TestMesh;

/// What `config_dump` calls the lists of resources of a kind.
const CLUSTERS: &str = "dynamic_active_clusters";

// === impl TestMesh ===

impl TestMesh {
    /// The object as Pilot has it in force: its `spec`.
    pub(crate) async fn stored(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let objects = self.pilot("debug/configz").await?;
        let objects: Value = serde_json::from_str(&objects)?;
        let found = objects.as_array().into_iter().flatten().find(|object| {
            object["kind"] == kind
                && object["metadata"]["namespace"] == namespace
                && object["metadata"]["name"] == name
        });
        Ok(found.with_context(|| format!("{kind} {namespace}/{name} is not in force"))?["spec"].clone())
    }

    /// A page of Pilot.
    pub(crate) async fn pilot(&self, page: &str) -> Result<String> {
        self.page("pilot", "http-legacy-discovery", page).await
    }

    /// A page of a component at one of its ports.
    pub(crate) async fn page(&self, component: &str, port: &str, page: &str) -> Result<String> {
        let state = self.mesh().state();
        let ports = &state
            .component(component)
            .context("there is no such component")?
            .ports;
        let port = ports.get(port).context("it has no such port")?;
        let url = format!("http://127.0.0.1:{port}/{page}");
        let answer = self.client.get(&url, &[]).await?;
        ensure!(answer.status == 200, "{page}: {}", answer.status);
        Ok(answer.body)
    }

    /// A cluster of a pod's Envoy by its name, as Pilot made it.
    pub(crate) async fn cluster(&self, pod: &str, name: &str) -> Result<Value> {
        let clusters = self.clusters(pod).await?;
        let found = clusters.into_iter().find(|cluster| cluster["name"] == name);
        found.with_context(|| format!("{pod} has no cluster {name}"))
    }

    /// All clusters that a pod's Envoy got from Pilot.
    pub(crate) async fn clusters(&self, pod: &str) -> Result<Vec<Value>> {
        let dump = self
            .admin(pod, &format!("config_dump?resource={CLUSTERS}"))
            .await?;
        let dump: Value = serde_json::from_str(&dump)?;
        let configs = dump["configs"].as_array().context("a list")?;
        Ok(configs.iter().map(|config| config["cluster"].clone()).collect())
    }

    /// Changes how many pods a Deployment of these manifests has, and waits until all callers know.
    pub(crate) async fn scale(&self, manifests: &str, namespace: &str, name: &str, replicas: usize) {
        let is_meant = |text: &&str| {
            let named = [format!("name: {name}\n"), format!("name: {name},")];
            text.contains("kind: Deployment") && named.iter().any(|named| text.contains(named))
        };
        let deployment = manifests
            .split("---\n")
            .find(is_meant)
            .unwrap_or_else(|| panic!("no Deployment {name}"));
        let line = deployment
            .lines()
            .find(|line| line.trim_start().starts_with("replicas:"))
            .unwrap_or_else(|| panic!("Deployment {name} says no number"));
        self.apply(&deployment.replace(line, &format!("  replicas: {replicas}")))
            .await;
        self.eventually(&format!("{name} has {replicas} pods"), async || {
            let state = self.mesh().state();
            let own = state.pods.iter().filter(|pod| {
                let number = pod
                    .name
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('-'));
                pod.namespace == namespace && number.is_some_and(|number| number.parse::<usize>().is_ok())
            });
            let ready: Vec<bool> = own.map(|pod| pod.ready).collect();
            ensure!(
                ready.len() == replicas && ready.iter().all(|ready| *ready),
                "{ready:?}"
            );
            Ok(())
        })
        .await;
        self.settle().await;
    }
}
