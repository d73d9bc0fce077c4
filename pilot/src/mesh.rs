//! Where the mesh-wide configuration comes from (P6.4, P7).

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::core::DeserializeGuard;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::mesh;
use mesh_kube::{Client, Event, Watch, WatchOptions};
use mesh_runtime::Runtime;
use mesh_runtime::watch::FileWatch;
use pilot_registry::Controller;

/// How long changes of the file are gathered (P7).
const QUIET: Duration = Duration::from_millis(100);
/// Where the configuration is when there is no file.
const NAMESPACE: &str = "istio-system";
/// The ConfigMap that it is in.
const CONFIG_MAP: &str = "istio";
/// The key of its data.
const KEY: &str = "mesh";

/// What says how the mesh is configured.
pub(crate) enum Source {
    /// The file of `--meshConfig`, which may come into being later.
    File,
    /// The ConfigMap.
    ConfigMap(Client),
}

/// Reads the configuration: the file, else the ConfigMap where there is an API server. Without either the defaults apply.
/// A file that is invalid is reported, and the defaults apply.
///
/// # Errors
///
/// When the file cannot be read, and there is an API server without a ConfigMap that can be used instead.
pub(crate) async fn read(path: &Path, api_server: Option<&Client>) -> anyhow::Result<(MeshConfig, Source)> {
    let error = match tokio::fs::read_to_string(path).await {
        Ok(text) => return Ok((parse_file(&text, path), Source::File)),
        Err(error) => error,
    };
    let Some(client) = api_server else {
        tracing::warn!(path = %path.display(), %error, "no mesh configuration, the defaults apply");
        return Ok((mesh::default_mesh(), Source::File));
    };
    let name = format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}");
    tracing::warn!(path = %path.display(), %error, "--meshConfig cannot be read, {name} is used");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map = maps
        .get(CONFIG_MAP)
        .await
        .with_context(|| format!("no mesh configuration: {} is {error}, {name}", path.display()))?;
    let mesh = parse_map(&map).map_err(|error| anyhow::anyhow!("no mesh configuration: {name}: {error}"))?;
    warn_about(&mesh, &name);
    Ok((mesh, Source::ConfigMap(client.clone())))
}

/// Follows the configuration. What is unreadable or invalid changes nothing.
///
/// # Errors
///
/// When the folder of the file cannot be watched.
pub(crate) fn follow(
    runtime: &Runtime,
    controller: Controller,
    path: &Path,
    source: Source,
) -> anyhow::Result<()> {
    match source {
        Source::File => follow_file(runtime, controller, path),
        Source::ConfigMap(client) => {
            follow_map(runtime, controller, client);
            Ok(())
        }
    }
}

fn follow_file(runtime: &Runtime, controller: Controller, path: &Path) -> anyhow::Result<()> {
    let path = path.to_owned();
    let mut watch = FileWatch::new([&path], QUIET)?;
    runtime.spawner().spawn("mesh configuration", async move {
        loop {
            watch.changed().await;
            let parsed = match tokio::fs::read_to_string(&path).await {
                Ok(text) => mesh::parse(&text).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            set(&controller, parsed, &path.display().to_string()).await;
        }
    });
    Ok(())
}

fn follow_map(runtime: &Runtime, controller: Controller, client: Client) {
    let maps: Api<DeserializeGuard<ConfigMap>> = Api::namespaced(client, NAMESPACE);
    let options = WatchOptions {
        fields: Some(format!("metadata.name={CONFIG_MAP}")),
        ..WatchOptions::default()
    };
    let mut watch = Watch::<ConfigMap>::new(maps, options);
    runtime.spawner().spawn("mesh configuration", async move {
        loop {
            // Without its ConfigMap the mesh stays what it was.
            if let Event::Applied(name, map) = watch.next().await {
                set(&controller, parse_map(&map), &format!("ConfigMap {name}")).await;
            }
        }
    });
}

async fn set(controller: &Controller, parsed: Result<MeshConfig, String>, path: &str) {
    match parsed {
        Ok(mesh) => {
            tracing::info!(path, "mesh configuration changed");
            warn_about(&mesh, path);
            controller.set_mesh(mesh).await;
        }
        Err(error) => {
            tracing::error!(path, error, "mesh configuration is invalid, the last one stays");
        }
    }
}

fn parse_map(map: &ConfigMap) -> Result<MeshConfig, String> {
    let text = map.data.as_ref().and_then(|data| data.get(KEY));
    let text = text.ok_or_else(|| format!("it has no key {KEY:?}"))?;
    mesh::parse(text).map_err(|error| error.to_string())
}

fn parse_file(text: &str, path: &Path) -> MeshConfig {
    match mesh::parse(text) {
        Ok(mesh) => {
            warn_about(&mesh, &path.display().to_string());
            mesh
        }
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "mesh configuration is invalid, the defaults apply");
            mesh::default_mesh()
        }
    }
}

/// Says what of the mesh configuration is not done as it says.
fn warn_about(mesh: &MeshConfig, path: &str) {
    if pilot_networking::replaces_access_log_format(mesh) {
        tracing::warn!(
            path,
            format = mesh.access_log_format,
            "no Envoy would accept accessLogFormat, the default format applies"
        );
    }
}
