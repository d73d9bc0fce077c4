//! What the mesh tells the outside: `state.json`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The running mesh. Everything here can be used from the machine as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// All components and pods are ready.
    pub ready: bool,
    /// The way in.
    pub ingress: Ingress,
    /// What Galley reads. Generated: edit your own files.
    pub config_dir: PathBuf,
    /// For `kubectl --kubeconfig`, where the objects are in an API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The control plane.
    pub components: Vec<ComponentState>,
    /// All pods, those of the control plane included.
    pub pods: Vec<PodState>,
    /// All services.
    pub services: Vec<ServiceState>,
    /// Objects that were left out, and pods that cannot run: `file:line: object: reason`.
    pub problems: Vec<String>,
    /// Whether any Gateway exists, without which the ingress answers nobody.
    #[serde(skip)]
    pub gateways: bool,
}

/// The ports of the machine that lead to the ingress gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingress {
    /// URL of the gateway's port 80.
    pub http: Option<String>,
    /// URL of the gateway's port 443.
    pub https: Option<String>,
    /// `address:port` of the gateway's port 31400.
    pub tcp: Option<String>,
}

/// A process of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentState {
    /// Such as `pilot`.
    pub name: String,
    /// Its process; `None` while it is down.
    pub pid: Option<i32>,
    /// Ports of the machine's loopback address that lead to it, by the names of its service's ports.
    pub ports: BTreeMap<String, u16>,
    /// Its output.
    pub log: PathBuf,
    /// It answers that it is ready.
    pub ready: bool,
    /// How often it was restarted.
    pub restarts: u32,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address inside the mesh.
    pub ip: Ipv4Addr,
    /// File of its network namespace, for `nsenter --net=`.
    pub netns: Option<PathBuf>,
    /// The process that holds its namespaces, for `nsenter -t`.
    pub pid: Option<i32>,
    /// Its Envoy's administration page, from the machine.
    pub admin: Option<String>,
    /// Output of its application, or of its proxy if that is all it has.
    pub log: PathBuf,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Terminating`.
    pub phase: String,
    /// All its containers are ready.
    pub ready: bool,
    /// What is wrong, or was wrong before the pod was replaced.
    pub message: String,
    /// How often a pod of this name was replaced because it failed.
    pub replaced: u32,
    /// Its containers that last.
    pub containers: Vec<ContainerState>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// The process of its command; `None` while it does not run.
    pub pid: Option<i32>,
    /// The container's first process, whose namespaces are those of the container.
    pub init: Option<i32>,
    /// It is ready.
    pub ready: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// Its output.
    pub log: PathBuf,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Its full name.
    pub host: String,
    /// Its address; `None` if it has none of its own.
    pub vip: Option<Ipv4Addr>,
    /// Its ports.
    pub ports: Vec<i32>,
}

// === impl State ===

impl State {
    /// The pod with this name; `namespace/name` where names repeat.
    #[must_use]
    pub fn pod(&self, name: &str) -> Option<&PodState> {
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, name),
        };
        self.pods
            .iter()
            .find(|pod| pod.name == name && namespace.is_none_or(|namespace| pod.namespace == namespace))
    }

    /// A component by its name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentState> {
        self.components.iter().find(|component| component.name == name)
    }
}

impl State {
    /// A container of a pod; `None` is the main one.
    ///
    /// # Errors
    /// When there is no such pod or container; the message lists those that there are.
    pub fn find_container(&self, pod: &str, container: Option<&str>) -> Result<ContainerState> {
        let Some(found) = self.pod(pod) else {
            let names: Vec<_> = self.pods.iter().map(|pod| pod.name.as_str()).collect();
            bail!("pod {pod} does not exist; there are {}", names.join(", "));
        };
        let chosen = match container {
            Some(name) => found.container(name),
            None => found.main_container(),
        };
        chosen.cloned().with_context(|| {
            let names: Vec<_> = found
                .containers
                .iter()
                .map(|container| container.name.as_str())
                .collect();
            format!("pod {pod} has no such container; it has {}", names.join(", "))
        })
    }

    /// One line about everything that keeps the mesh from being ready.
    #[must_use]
    pub fn what_is_missing(&self) -> String {
        let mut parts: Vec<String> = self
            .pods
            .iter()
            .filter(|pod| !pod.ready && pod.phase != "Succeeded")
            .map(|pod| match pod.message.as_str() {
                "" => format!("{} is {}", pod.name, pod.phase),
                message => format!("{} is {} ({message})", pod.name, pod.phase),
            })
            .collect();
        parts.extend(self.problems.iter().cloned());
        if parts.is_empty() {
            "pods are missing".to_owned()
        } else {
            parts.join("; ")
        }
    }
}

// === impl PodState ===

impl PodState {
    /// A container by its name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerState> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The container that commands run in unless said otherwise: the application, else the first.
    #[must_use]
    pub fn main_container(&self) -> Option<&ContainerState> {
        self.containers
            .iter()
            .find(|container| container.name != "istio-proxy")
            .or(self.containers.first())
    }
}
