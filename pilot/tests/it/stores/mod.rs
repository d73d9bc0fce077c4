//! Configuration that Pilot reads itself: from the API server, from files, and from several sources.

mod api_server;
mod failure;
mod ingress;
mod several;

use mesh_testing::eventually;
use mesh_testing::kube::{Access, ApiServer};
use serde_json::Value;

use crate::PATIENCE;
use crate::pilot::Pilot;

/// The shared server, with the definitions of all kinds.
async fn shared() -> &'static ApiServer {
    ApiServer::shared_with_kinds().await.unwrap()
}

/// A namespace of a server, and a Pilot that has nothing but what is in it.
struct Store<'a> {
    server: &'a ApiServer,
    namespace: String,
}

impl<'a> Store<'a> {
    async fn of(server: &'a ApiServer, name: &str) -> Self {
        let namespace = server.namespace(name).await.unwrap();
        Self { server, namespace }
    }

    /// Applies objects. What was defined a moment ago may not be served yet.
    async fn apply(&self, yaml: &str) {
        let args = ["-n", &self.namespace, "apply", "-f", "-"];
        eventually(PATIENCE, async || self.server.admin().kubectl(&args, yaml).await)
            .await
            .unwrap();
    }

    async fn kubectl(&self, args: &str) -> String {
        let args = ["-n", &self.namespace].into_iter().chain(args.split(' '));
        let args: Vec<_> = args.collect();
        self.server.admin().kubectl(&args, "").await.unwrap()
    }

    /// A Pilot whose only source is the API server. It may not be ready yet.
    async fn pilot(&self, mesh: &str, flags: &[&str]) -> Pilot {
        self.pilot_as(self.server.admin(), mesh, flags).await
    }

    async fn pilot_as(&self, access: &Access, mesh: &str, flags: &[&str]) -> Pilot {
        let kubeconfig = format!("--kubeconfig={}", access.kubeconfig().display());
        let namespace = format!("--appNamespace={}", self.namespace);
        let own = format!("--namespace={}", self.namespace);
        let gateways = format!("--ingressNamespace={}", self.namespace);
        let fixed = [&*kubeconfig, &*namespace, &*own, &*gateways].into_iter();
        let flags: Vec<&str> = fixed.chain(flags.iter().copied()).collect();
        Pilot::alone(mesh, &flags).await
    }

    /// The id of a sidecar of the namespace.
    fn sidecar(&self) -> String {
        let namespace = &self.namespace;
        format!("sidecar~10.9.0.1~sleep.{namespace}~{namespace}.svc.cluster.local")
    }
}

/// The names of the objects of a kind that are in force.
async fn in_force(pilot: &Pilot, kind: &str) -> Vec<String> {
    let objects = pilot.json("/debug/configz").await;
    let of_kind = objects.as_array().unwrap().iter();
    of_kind
        .filter(|object| object["kind"] == kind)
        .map(|object| object["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Waits until the objects in force of a kind are these.
async fn until_in_force(pilot: &Pilot, kind: &str, expected: &[&str]) {
    eventually(PATIENCE, async || {
        let found = in_force(pilot, kind).await;
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
    .unwrap_or_else(|found| panic!("{kind}: {found} instead of {expected:?}"));
}

/// Why an object is left out.
async fn left_out(pilot: &Pilot, object: &str) -> Option<String> {
    let status = pilot.json("/debug/push_status").await;
    let rejected = status["rejected"].as_array().unwrap().iter();
    let mut reasons = rejected.filter(|row| row["object"] == object);
    reasons.next().map(|row: &Value| row["reason"].to_string())
}

/// Waits until an object is left out for a reason in which this text stands.
async fn until_left_out(pilot: &Pilot, object: &str, text: &str) {
    eventually(PATIENCE, async || match left_out(pilot, object).await {
        Some(reason) if reason.contains(text) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap_or_else(|found| panic!("{object}: {found} instead of {text:?}"));
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
