//! A mesh whose objects live in a Kubernetes API server, a real one: what kubelet and the controllers do there.
//!
//! ```text
//! kubectl ─► API server ─┬─► Galley (configuration), Pilot (services, endpoints, pods)
//!                        ├─► follow ─► engine ─► pods
//!                        └─◄ write ◄── engine: pods and deployments with status, EndpointSlices, the node
//! ```
//!
//! The server listens on the machine. Pods reach it at the node's address, and it reaches the webhook of Galley at a port of
//! the machine, both through relays.

mod deployments;
mod follow;
mod slices;
mod webhook;
mod write;

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kube::Client;
use mesh_config::yaml;
use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;
use mesh_testing::kube::{Access, ApiServer};
use serde_json::json;
use tokio::sync::Mutex;

pub(crate) use self::deployments::Replica;
pub(crate) use self::follow::follow;
pub(crate) use self::webhook::{AUTHORITIES, CERTIFICATE, CONFIGURATION, KEY, configure};
pub(crate) use self::write::{Written, write};
use super::layout::Layout;
use super::sockets::Sockets;
use super::{components, ipam, relay, source};

/// Port of the node that leads to the API server.
const PORT: u16 = 6443;

/// Name of the file that programs inside pods read.
pub(crate) const KUBECONFIG: &str = "kubeconfig";

/// The API server of a mesh, with the definitions of all kinds of Istio.
#[derive(Debug)]
pub struct Kubernetes {
    server: Mutex<ApiServer>,
    admin: Access,
    port: u16,
}

// === impl Kubernetes ===

impl Kubernetes {
    /// Starts the server, defines Istio's kinds, and writes the files by which pods find the server and Galley is trusted.
    pub(crate) async fn start(layout: &Layout) -> Result<Self> {
        let server = ApiServer::start().await?;
        server.define_kinds().await?;
        let admin = server.admin().clone();
        let kubernetes = Self {
            port: server.port(),
            server: Mutex::new(server),
            admin,
        };
        let inside = kubernetes.admin.at(&format!("https://{}:{PORT}", ipam::NODE))?;
        fs::create_dir_all(layout.kubernetes())?;
        webhook::certify(&layout.kubernetes())?;
        fs::copy(inside.kubeconfig(), layout.kubernetes().join(KUBECONFIG))?;
        Ok(kubernetes)
    }

    /// Lets pods reach the server, until the mesh ends.
    pub(crate) async fn let_in(
        &self,
        sockets: &Sockets,
        node: i32,
        spawner: &Spawner,
    ) -> Result<AbortOnDrop> {
        let listener = sockets.listen(node, SocketAddrV4::new(ipam::NODE, PORT)).await?;
        Ok(relay::inward(listener, self.port, spawner))
    }

    /// Creates what a mesh begins with: what these files say, namespaces first.
    pub(crate) async fn fill(&self, files: &[PathBuf], defaults: &[PathBuf]) -> Result<()> {
        let mut items = components::manifests();
        for file in source::read_files(defaults, true)
            .into_iter()
            .chain(source::read_files(files, false))
        {
            let label = file.path.display().to_string();
            let text = file
                .text
                .map_err(anyhow::Error::msg)
                .with_context(|| label.clone())?;
            for document in yaml::documents(&label, &text) {
                items.push(document?.value);
            }
        }
        items.sort_by_key(|item| item["kind"] != "Namespace");
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        self.apply(&list.to_string()).await.map(drop)
    }

    /// `kubectl apply` of a text.
    ///
    /// # Errors
    /// What kubectl says.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        self.admin.kubectl(&["apply", "-f", "-"], yaml).await
    }

    /// The way in for the administrator.
    #[must_use]
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// A file for `kubectl --kubeconfig`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.admin.kubeconfig()
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        self.admin.client().await
    }

    /// Kills the server. What is stored stays.
    pub async fn stop(&self) {
        self.server.lock().await.stop();
    }

    /// Starts the server again, at the same address.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn resume(&self) -> Result<()> {
        self.server.lock().await.resume().await
    }
}
