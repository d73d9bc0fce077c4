//! kubectl, and what Envoys hold, in a form that can be compared.

use anyhow::{Context as _, Result};
use e2e::mesh::Kubernetes;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use crate::support::TestMesh;

/// What changes without a change of configuration.
const VOLATILE: [&str; 3] = ["version_info", "last_updated", "client_status"];

/// The API server of a mesh.
pub(super) fn server(mesh: &TestMesh) -> &Kubernetes {
    mesh.mesh().kubernetes().expect("an API server")
}

/// Runs kubectl as the administrator.
pub(super) async fn kubectl(mesh: &TestMesh, args: &[&str]) -> String {
    server(mesh).admin().kubectl(args, "").await.expect("kubectl")
}

/// Changes a VirtualService of the weather application, as programs do.
pub(super) async fn patch(mesh: &TestMesh, name: &str, change: &Value) -> Result<()> {
    let client = server(mesh).admin().client().await?;
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1alpha3", "VirtualService");
    let rules: Api<DynamicObject> = Api::namespaced_with(client, "weather", &ApiResource::from_gvk(&kind));
    rules
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await?;
    Ok(())
}

/// The elements of a list; none where it is no list.
pub(super) fn nested(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Everything that Pilot gave to a pod's Envoy, endpoints too, in an order that does not depend on that of arrival.
pub(super) async fn configuration(mesh: &TestMesh, pod: &str) -> Result<Vec<String>> {
    let dump = mesh.admin(pod, "config_dump?include_eds").await?;
    let dump: Value = serde_json::from_str(&dump)?;
    let mut resources = Vec::new();
    for config in dump["configs"].as_array().context("a list")? {
        for (list, value) in config.as_object().into_iter().flatten() {
            if !list.starts_with("dynamic_") {
                continue;
            }
            for resource in nested(value) {
                let mut resource = resource.clone();
                settle(&mut resource);
                resources.push(format!("{list} {resource}"));
            }
        }
    }
    resources.sort();
    Ok(resources)
}

/// Takes away what differs from one Envoy to the next that has the same configuration.
fn settle(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for name in VOLATILE {
                object.remove(name);
            }
            object.values_mut().for_each(settle);
            if let Some(Value::Array(endpoints)) = object.get_mut("lb_endpoints") {
                endpoints.sort_by_key(ToString::to_string);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}
