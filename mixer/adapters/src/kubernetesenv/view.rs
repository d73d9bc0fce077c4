//! What is read of Pods. The rest of them is skipped while they arrive.

use std::borrow::Cow;
use std::net::IpAddr;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::Deserialize;

/// A Pod as far as we read it. Metadata alone would not do: addresses are in the status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodView {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

/// What is kept of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub(super) labels: Vec<(String, String)>,
    pub(super) controller: Option<Reference>,
    pub(super) service_account: Option<String>,
    /// Names of containers, and the ports that they expose.
    pub(super) containers: Vec<(String, Vec<i64>)>,
    /// The first one is its address, others are of the other family.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) host: Option<IpAddr>,
    /// Its addresses are those of its node.
    pub(super) host_network: bool,
    /// Others may have its addresses.
    pub(super) ended: bool,
}

/// What controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    service_account_name: Option<String>,
    host_network: Option<bool>,
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    container_port: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Address>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: String,
}

/// The reference to what controls an object.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<Reference> {
    let mut owners = metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    let OwnerReference {
        api_version,
        kind,
        name,
        ..
    } = owner.clone();
    Some(Reference {
        api_version,
        kind,
        name,
    })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

// === impl PodView ===

impl PodView {
    pub(super) fn into_facts(self) -> PodFacts {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let more = status.pod_ips.iter().flatten().map(|address| address.ip.as_str());
        let mut addresses = Vec::new();
        for address in status
            .pod_ip
            .as_deref()
            .into_iter()
            .chain(more)
            .filter_map(address)
        {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let containers = spec.containers.into_iter().map(|container| {
            let ports = container.ports.into_iter().flatten();
            (container.name, ports.map(|port| port.container_port).collect())
        });
        PodFacts {
            controller: controller(&metadata),
            labels: metadata.labels.into_iter().flatten().collect(),
            service_account: spec.service_account_name.filter(|name| !name.is_empty()),
            containers: containers.collect(),
            addresses,
            host: status.host_ip.as_deref().and_then(address),
            host_network: spec.host_network == Some(true),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        }
    }
}

impl Resource for PodView {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
