//! The file with the networks of the mesh, and the names of gateways in it (P7.3, P10.5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use mesh_api::istio::mesh::v1alpha1::MeshNetworks;
use mesh_config::mesh;
use mesh_runtime::Runtime;
use mesh_runtime::watch::FileWatch;
use pilot_model::Networks;
use pilot_registry::Controller;

/// How long changes of the file are gathered (P7).
const QUIET: Duration = Duration::from_millis(100);
/// How often names are resolved again.
const REFRESH: Duration = Duration::from_secs(30);
/// How long one name may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The file with the networks of the mesh.
#[derive(Debug)]
pub(crate) struct NetworksFile {
    path: PathBuf,
    /// What it said last.
    networks: MeshNetworks,
    /// The addresses behind names of gateways. What cannot be resolved any more stays where it was.
    resolved: BTreeMap<String, BTreeSet<IpAddr>>,
}

// === impl NetworksFile ===

impl NetworksFile {
    /// The file at a path; `None` when there is to be none.
    pub(crate) fn new(path: &str) -> Option<Self> {
        (!path.is_empty()).then(|| Self {
            path: path.into(),
            networks: MeshNetworks::default(),
            resolved: BTreeMap::new(),
        })
    }

    /// What the file says. What is unreadable or invalid changes nothing, a file that is not there says nothing.
    pub(crate) async fn read(&mut self) -> Networks {
        let path = self.path.display();
        match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => match mesh::parse_networks(&text) {
                Ok(networks) => {
                    if networks != self.networks {
                        tracing::info!(%path, networks = networks.networks.len(), "mesh networks");
                    }
                    self.networks = networks;
                }
                Err(error) => tracing::error!(%path, %error, "mesh networks are invalid, the last ones stay"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::debug!(%path, "no mesh networks");
                self.networks = MeshNetworks::default();
            }
            Err(error) => tracing::error!(%path, %error, "mesh networks are unreadable, the last ones stay"),
        }
        self.resolve().await
    }

    /// Follows the file, and the names in it, until the process leaves.
    ///
    /// # Errors
    ///
    /// When the system has no more watches to give.
    pub(crate) fn follow(mut self, runtime: &Runtime, controller: Controller) -> anyhow::Result<()> {
        let mut watch = FileWatch::new([&self.path], QUIET)?;
        runtime.spawner().spawn("mesh networks", async move {
            loop {
                let has_names = !Networks::names(&self.networks).is_empty();
                tokio::select! {
                    _ = watch.changed() => {}
                    () = tokio::time::sleep(REFRESH), if has_names => {}
                }
                controller.set_networks(self.read().await).await;
            }
        });
        Ok(())
    }

    async fn resolve(&mut self) -> Networks {
        let names = Networks::names(&self.networks);
        self.resolved.retain(|name, _| names.contains(name));
        for name in names {
            match lookup(&name).await {
                Ok(addresses) => {
                    self.resolved.insert(name, addresses);
                }
                Err(reason) => {
                    tracing::warn!(
                        gateway = name,
                        reason,
                        "the gateway of a network cannot be resolved"
                    );
                }
            }
        }
        Networks::new(&self.networks, &self.resolved)
    }
}

async fn lookup(name: &str) -> Result<BTreeSet<IpAddr>, String> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
