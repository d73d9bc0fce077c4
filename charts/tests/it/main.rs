//! What is installed into a cluster.

mod dashboards;
mod files;
mod istio;
mod mixer;
mod schemas;
mod server;
mod structural;
mod webhooks;

use mesh_testing::kube::ApiServer;

/// The namespace of the control plane, on a server that tests share: whoever comes first makes it.
async fn control_plane_namespace(server: &ApiServer) {
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}";
    let args = ["apply", "--server-side", "-f", "-"];
    let applied = server.admin().kubectl(&args, namespace).await;
    applied.unwrap_or_else(|error| panic!("{error}"));
}
