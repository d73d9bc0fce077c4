//! Writes into the status of Ingresses where they can be reached (P5.5).

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::{
    Ingress, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use kube::Api;
use kube::api::ListParams;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::ingress;
use mesh_kube::{Client, Event, Leadership, ObjectName, Watch, WatchOptions, patch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// The addresses are looked at again after so long.
const REFRESH: Duration = Duration::from_secs(60);
/// Changes are gathered for so long.
const QUIET: Duration = Duration::from_secs(1);
/// The label of the pods through whose nodes Ingresses are reached where no Service is named.
const GATEWAYS: &str = "app=ingressgateway";

/// Keeps the status of Ingresses.
#[derive(Clone, Debug)]
pub struct IngressStatusOptions {
    /// Namespace of the gateways and of their Service (`K8S_INGRESS_NS`).
    pub gateways: String,
    /// Ingresses of this namespace only.
    pub namespace: Option<String>,
    /// How Ingresses are followed.
    pub watch: WatchOptions,
}

/// What the leader knows.
struct Leader<'a, M> {
    client: &'a Client,
    options: &'a IngressStatusOptions,
    mesh: &'a M,
    ingresses: BTreeMap<ObjectName, Ingress>,
}

/// Writes for as long as it leads. `mesh` is the mesh configuration in force.
///
/// What cannot be written now is tried again; one Ingress never keeps another from being looked at.
pub async fn keep<C>(
    client: Client,
    options: IngressStatusOptions,
    mut leadership: Leadership,
    mesh: impl Fn() -> Option<C> + Send + Sync,
) where
    C: std::ops::Deref<Target = MeshConfig> + Send,
{
    loop {
        leadership.gained().await;
        let leader = Leader {
            client: &client,
            options: &options,
            mesh: &mesh,
            ingresses: BTreeMap::new(),
        };
        tokio::select! {
            () = leader.lead() => {}
            () = leadership.lost() => {}
        }
    }
}

// === impl Leader ===

impl<M, C> Leader<'_, M>
where
    M: Fn() -> Option<C> + Send + Sync,
    C: std::ops::Deref<Target = MeshConfig> + Send,
{
    /// Never ends.
    async fn lead(mut self) {
        let api = match &self.options.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut watch: Watch<Ingress> = Watch::new(api, self.options.watch.clone());
        let mut refresh = interval(REFRESH);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing is written before all Ingresses are known, as their number says nothing, but their order in a list does.
        let mut synced = false;
        let mut due = None;
        loop {
            tokio::select! {
                event = watch.next() => {
                    match event {
                        Event::Applied(name, ingress) => drop(self.ingresses.insert(name, ingress)),
                        Event::Deleted(name) => drop(self.ingresses.remove(&name)),
                        Event::Rejected(..) => {}
                        Event::Synced => synced = true,
                    }
                    due = due.or_else(|| Some(Instant::now() + QUIET));
                }
                _ = refresh.tick() => due = Some(Instant::now()),
                () = until(due), if synced => {
                    due = None;
                    if let Err(error) = self.write().await {
                        let error = mesh_runtime::error_chain(&error);
                        tracing::warn!(error, "cannot tell where Ingresses are reached, their status stays");
                    }
                }
            }
        }
    }

    /// Writes the status of every Ingress of ours that has another one.
    async fn write(&self) -> kube::Result<()> {
        let Some(mesh) = (self.mesh)() else {
            return Ok(());
        };
        let ours = self.ingresses.iter().filter(|(_, ingress)| {
            let annotations = ingress.metadata.annotations.as_ref();
            let class = ingress.spec.as_ref();
            let class = class.and_then(|spec| spec.ingress_class_name.as_deref());
            ingress::is_of_class(&mesh, annotations.unwrap_or(&BTreeMap::new()), class)
        });
        let ours: Vec<_> = ours.collect();
        if ours.is_empty() {
            return Ok(());
        }
        let service = mesh.ingress_service.clone();
        drop(mesh);
        let points = points(&self.addresses(&service).await?);
        for (name, ingress) in ours {
            if current(ingress) == points {
                continue;
            }
            let status = IngressStatus {
                load_balancer: Some(IngressLoadBalancerStatus {
                    ingress: Some(points.clone()),
                }),
            };
            let api: Api<Ingress> = Api::namespaced(self.client.clone(), &name.namespace);
            match patch::status(&api, &name.name, &status).await {
                Ok(_) => tracing::debug!(ingress = %name, "status is written"),
                Err(error) => tracing::warn!(ingress = %name, %error, "cannot write the status"),
            }
        }
        Ok(())
    }

    /// The addresses of the gateways: those of their Service; without one, of the nodes that they run on.
    async fn addresses(&self, service: &str) -> kube::Result<BTreeSet<String>> {
        let namespace = &self.options.gateways;
        if !service.is_empty() {
            let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
            if let Some(service) = services.get_opt(service).await? {
                return Ok(addresses_of(&service));
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = pods.list(&ListParams::default().labels(GATEWAYS)).await?;
        let names: BTreeSet<String> = pods
            .items
            .into_iter()
            .filter(|pod| {
                let status = pod.status.as_ref();
                status.and_then(|status| status.phase.as_deref()) == Some("Running")
            })
            .filter_map(|pod| pod.spec?.node_name)
            .collect();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let mut addresses = BTreeSet::new();
        for name in names {
            let node = nodes.get_opt(&name).await?;
            let of_node = node.and_then(|node| node.status?.addresses);
            let external = of_node.into_iter().flatten();
            let external = external.filter(|address| address.type_ == "ExternalIP");
            addresses.extend(external.map(|address| address.address));
        }
        Ok(addresses)
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => future::pending().await,
    }
}

/// Where a Service is reached from outside.
fn addresses_of(service: &Service) -> BTreeSet<String> {
    let spec = service.spec.as_ref();
    if let Some(spec) = spec
        && spec.type_.as_deref() == Some("ExternalName")
    {
        return spec.external_name.iter().cloned().collect();
    }
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let balancer = balancer.into_iter().flatten();
    let balancer = balancer.filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone()));
    let external = spec.and_then(|spec| spec.external_ips.as_ref());
    balancer
        .chain(external.into_iter().flatten().cloned())
        .filter(|address| !address.is_empty())
        .collect()
}

/// The addresses as a status has them, in order.
fn points(addresses: &BTreeSet<String>) -> Vec<IngressLoadBalancerIngress> {
    let point = |address: &String| {
        let is_ip = address.parse::<IpAddr>().is_ok();
        IngressLoadBalancerIngress {
            ip: is_ip.then(|| address.clone()),
            hostname: (!is_ip).then(|| address.clone()),
            ports: None,
        }
    };
    addresses.iter().map(point).collect()
}

/// What the status of an Ingress says.
fn current(ingress: &Ingress) -> Vec<IngressLoadBalancerIngress> {
    let status = ingress.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.clone());
    points.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn p5_5_a_service_is_reached_at_its_balancer_its_external_addresses_or_its_name() {
        let cases: [(Value, Value); 4] = [
            (
                json!({ "spec": { "type": "LoadBalancer", "externalIPs": ["10.0.0.9"] },
                        "status": { "loadBalancer": { "ingress": [{ "ip": "10.0.0.10" }, { "hostname": "a.example.com" }] } } }),
                json!([{ "ip": "10.0.0.10" }, { "ip": "10.0.0.9" }, { "hostname": "a.example.com" }]),
            ),
            (
                json!({ "spec": { "type": "ExternalName", "externalName": "lb.example.com", "externalIPs": ["10.0.0.9"] } }),
                json!([{ "hostname": "lb.example.com" }]),
            ),
            (json!({ "spec": { "type": "ClusterIP" } }), json!([])),
            (json!({}), json!([])),
        ];
        for (service, expected) in cases {
            let service: Service = serde_json::from_value(service).unwrap();
            let found = serde_json::to_value(points(&addresses_of(&service))).unwrap();
            assert_eq!(found, expected);
        }
    }
}
