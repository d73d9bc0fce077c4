//! What is known of the pods of a cluster.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use mixer_attribute::{StringMap, Text};
use mixer_template::KubernetesSide;

use super::view::{PodFacts, Reference};

/// How UIDs of pods begin.
pub(super) const UID: &str = "kubernetes://";

/// Controllers between a pod and its workload: more are no chain that anybody makes.
const LONGEST_CHAIN: usize = 8;

/// Pods by what they are asked for, and controllers that have controllers.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By UID.
    pods: HashMap<Arc<str>, Arc<Pod>>,
    /// Those that have an address of their own.
    by_address: HashMap<IpAddr, Arc<Pod>>,
    /// Those that have the address of their node.
    on_nodes: HashMap<IpAddr, Vec<Arc<Pod>>>,
    kins: HashSet<Arc<Kin>>,
    /// What controls a controller, by its key.
    controllers: HashMap<Arc<str>, Arc<Controller>>,
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// The pod with this UID.
    Uid(std::borrow::Cow<'a, str>),
    /// The pod at this address.
    Address(IpAddr),
}

#[derive(Debug)]
struct Pod {
    /// `kubernetes://<name>.<namespace>`
    uid: Arc<str>,
    /// All but the first one.
    more_addresses: Box<[IpAddr]>,
    address: Option<IpAddr>,
    host: Option<IpAddr>,
    ended: bool,
    kin: Arc<Kin>,
}

/// What pods of one controller have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kin {
    namespace: Arc<str>,
    service_account: Option<Arc<str>>,
    labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    containers: Box<[Container]>,
    host_network: bool,
    controller: Option<Arc<Controller>>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Container {
    name: Arc<str>,
    ports: Box<[i64]>,
}

/// Something that controls pods, or what controls pods.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Controller {
    /// Of one that may have a controller itself.
    key: Option<Arc<str>>,
    workload: Workload,
}

/// A workload as attributes have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Workload {
    uid: Arc<str>,
    name: Arc<str>,
    owner: Arc<str>,
}

/// Kinds of controllers that may have a controller themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// Of a Deployment, and of what others have in its place.
    ReplicaSet,
    /// Of a DeploymentConfig.
    ReplicationController,
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    /// A side of a request: its UID counts, and its address where there is none. A UID may be an address, too, and
    /// `pod.namespace` or `namespace/pod`.
    pub(super) fn new(uid: &'a str, address: Option<IpAddr>) -> Option<Self> {
        if uid.is_empty() {
            let address = address?.to_canonical();
            return (!address.is_unspecified()).then_some(Self::Address(address));
        }
        if let Ok(address) = uid.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        Some(Self::Uid(if uid.starts_with(UID) {
            uid.into()
        } else if let Some((namespace, name)) = uid.split_once('/') {
            format!("{UID}{name}.{namespace}").into()
        } else {
            format!("{UID}{uid}").into()
        }))
    }
}

// === impl Known ===

impl Known {
    /// A pod is new or has changed.
    pub(super) fn insert(&mut self, namespace: &str, name: &str, facts: PodFacts) {
        let kin = self.kin(namespace, &facts);
        let mut addresses = facts.addresses.into_iter();
        let pod = Arc::new(Pod {
            uid: uid(namespace, name),
            address: addresses.next(),
            more_addresses: addresses.collect(),
            host: facts.host,
            ended: facts.ended,
            kin,
        });
        if let Some(before) = self.pods.insert(Arc::clone(&pod.uid), Arc::clone(&pod)) {
            self.forget(before);
        }
        if pod.ended {
            return;
        }
        for address in pod.addresses() {
            if pod.kin.host_network {
                self.on_nodes.entry(address).or_default().push(Arc::clone(&pod));
            } else {
                self.by_address.insert(address, Arc::clone(&pod));
            }
        }
    }

    /// A pod is gone.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(pod) = self.pods.remove(&uid(namespace, name)) {
            self.forget(pod);
        }
    }

    /// A controller that may have one itself is new or has changed.
    pub(super) fn insert_controller(
        &mut self,
        kind: Between,
        namespace: &str,
        name: &str,
        controller: Option<&Reference>,
    ) {
        match controller {
            Some(reference) => {
                let controller = Arc::new(Controller::new(namespace, reference));
                self.controllers.insert(kind.key(namespace, name), controller);
            }
            None => self.remove_controller(kind, namespace, name),
        }
    }

    /// Such a controller is gone.
    pub(super) fn remove_controller(&mut self, kind: Between, namespace: &str, name: &str) {
        self.controllers.remove(&kind.key(namespace, name));
    }

    /// What is known of a pod; `port` is asked of the called one.
    pub(super) fn find(&self, wanted: &Wanted<'_>, port: Option<i64>) -> Option<KubernetesSide> {
        let pod = match wanted {
            Wanted::Uid(uid) => self.pods.get(&**uid),
            Wanted::Address(address) => {
                self.by_address
                    .get(address)
                    .or_else(|| match self.on_nodes.get(address)?.as_slice() {
                        [pod] => Some(pod),
                        // Any would be a guess.
                        _ => None,
                    })
            }
        }?;
        Some(self.side(pod, port))
    }

    fn side(&self, pod: &Pod, port: Option<i64>) -> KubernetesSide {
        let kin = &*pod.kin;
        let shared = |text: &Arc<str>| Some(Text::from(Arc::clone(text)));
        let container = port.and_then(|port| {
            let mut containers = kin.containers.iter();
            containers.find(|container| container.ports.contains(&port))
        });
        let workload = match &kin.controller {
            Some(controller) => self.root(controller).clone(),
            None => Workload::of_pod(&kin.namespace, pod.name()),
        };
        KubernetesSide {
            pod_uid: shared(&pod.uid),
            pod_ip: pod.address,
            pod_name: Some(Text::from(pod.name().to_owned())),
            container_name: container.and_then(|container| shared(&container.name)),
            labels: (!kin.labels.is_empty()).then(|| StringMap::from(Arc::clone(&kin.labels))),
            namespace: shared(&kin.namespace),
            service_account_name: kin.service_account.as_ref().and_then(shared),
            host_ip: pod.host,
            workload_uid: Some(workload.uid.into()),
            workload_name: Some(workload.name.into()),
            workload_namespace: shared(&kin.namespace),
            owner: Some(workload.owner.into()),
        }
    }

    /// The workload at the end of the chain of controllers, as far as it is known.
    fn root<'a>(&'a self, controller: &'a Controller) -> &'a Workload {
        let mut last = controller;
        for _ in 0..LONGEST_CHAIN {
            let next = last.key.as_ref().and_then(|key| self.controllers.get(key));
            match next {
                Some(next) => last = next,
                None => break,
            }
        }
        &last.workload
    }

    /// What a pod has in common with others, kept once.
    fn kin(&mut self, namespace: &str, facts: &PodFacts) -> Arc<Kin> {
        let labels = facts.labels.iter();
        let containers = facts.containers.iter().map(|(name, ports)| Container {
            name: name.as_str().into(),
            ports: ports.as_slice().into(),
        });
        let controller = facts.controller.as_ref();
        let kin = Kin {
            namespace: namespace.into(),
            service_account: facts.service_account.as_deref().map(Arc::from),
            labels: Arc::new(
                labels
                    .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                    .collect(),
            ),
            containers: containers.collect(),
            host_network: facts.host_network,
            controller: controller.map(|reference| Arc::new(Controller::new(namespace, reference))),
        };
        if let Some(known) = self.kins.get(&kin) {
            return Arc::clone(known);
        }
        let kin = Arc::new(kin);
        self.kins.insert(Arc::clone(&kin));
        kin
    }

    /// Takes a pod that was replaced, or is gone, from where it can be found.
    fn forget(&mut self, pod: Arc<Pod>) {
        for address in pod.addresses() {
            if self
                .by_address
                .get(&address)
                .is_some_and(|known| Arc::ptr_eq(known, &pod))
            {
                self.by_address.remove(&address);
            }
            if let Some(pods) = self.on_nodes.get_mut(&address) {
                pods.retain(|known| !Arc::ptr_eq(known, &pod));
                if pods.is_empty() {
                    self.on_nodes.remove(&address);
                }
            }
        }
        let kin = Arc::clone(&pod.kin);
        drop(pod);
        // The set's own, and this one.
        if Arc::strong_count(&kin) == 2 {
            self.kins.remove(&kin);
        }
    }
}

fn uid(namespace: &str, name: &str) -> Arc<str> {
    format!("{UID}{name}.{namespace}").into()
}

// === impl Pod ===

impl Pod {
    fn name(&self) -> &str {
        // Namespaces have no dots.
        let full = self.uid.strip_prefix(UID).unwrap_or_default();
        full.rsplit_once('.').map_or(full, |(name, _)| name)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.address
            .into_iter()
            .chain(self.more_addresses.iter().copied())
    }
}

// === impl Controller ===

impl Controller {
    fn new(namespace: &str, reference: &Reference) -> Self {
        let Reference {
            api_version,
            kind,
            name,
        } = reference;
        let plural = kind.to_lowercase();
        Self {
            key: Between::find(kind).map(|kind| kind.key(namespace, name)),
            workload: Workload {
                uid: Workload::uid(namespace, name),
                name: name.as_str().into(),
                owner: format!("kubernetes://apis/{api_version}/namespaces/{namespace}/{plural}s/{name}")
                    .into(),
            },
        }
    }
}

// === impl Workload ===

impl Workload {
    /// Of a pod that nothing controls.
    fn of_pod(namespace: &str, name: &str) -> Self {
        Self {
            uid: Self::uid(namespace, name),
            name: name.into(),
            owner: format!("/api/v1/namespaces/{namespace}/pods/{name}").into(),
        }
    }

    fn uid(namespace: &str, name: &str) -> Arc<str> {
        format!("istio://{namespace}/workloads/{name}").into()
    }
}

// === impl Between ===

impl Between {
    pub(super) fn find(kind: &str) -> Option<Self> {
        match kind {
            "ReplicaSet" => Some(Self::ReplicaSet),
            "ReplicationController" => Some(Self::ReplicationController),
            _ => None,
        }
    }

    fn key(self, namespace: &str, name: &str) -> Arc<str> {
        format!("{self:?}/{namespace}/{name}").into()
    }
}
