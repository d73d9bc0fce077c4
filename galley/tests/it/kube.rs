//! Galley at a real API server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod definitions;
mod failure;
mod ingress;
mod many;
mod objects;
mod status;

use std::time::Duration;

use mesh_config::Config;
use mesh_testing::eventually;
use mesh_testing::kube::{Access, ApiServer};

use crate::harness::Galley;

/// Longer than anything takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// The shared server, with the definitions of all kinds.
async fn shared() -> &'static ApiServer {
    ApiServer::shared_with_kinds().await.unwrap()
}

/// Applies objects in a namespace. What was defined a moment ago may not be served yet.
async fn apply(server: &ApiServer, namespace: &str, yaml: &str) {
    let args = ["-n", namespace, "apply", "-f", "-"];
    eventually(PATIENCE, async || server.admin().kubectl(&args, yaml).await)
        .await
        .unwrap();
}

async fn delete(server: &ApiServer, namespace: &str, what: &str) {
    let mut args = vec!["-n", namespace, "delete", "--wait=false"];
    args.extend(what.split(' '));
    server.admin().kubectl(&args, "").await.unwrap();
}

/// Galley, as this user.
fn galley(access: &Access, more: &[&str]) -> Galley {
    galley_at(access, "127.0.0.1:0", more)
}

fn galley_at(access: &Access, address: &str, more: &[&str]) -> Galley {
    let kubeconfig = format!("--kubeconfig={}", access.kubeconfig().display());
    Galley::start_from(&kubeconfig, address, more)
}

fn gateway(name: &str, port: u16) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {{name: {name}}}
spec: {{servers: [{{hosts: ['*'], port: {{number: {port}, name: http, protocol: HTTP}}}}]}}
"
    )
}

/// Names of the objects of a namespace, of whatever there is.
fn names(configs: &[Config], namespace: &str) -> Vec<String> {
    let own = configs
        .iter()
        .filter(|config| &*config.meta.key.namespace == namespace);
    own.map(|config| config.meta.key.name.to_string()).collect()
}

fn there(namespace: &str, expected: &[&str]) -> impl Fn(&[Config]) -> bool {
    move |configs| names(configs, namespace) == expected
}
