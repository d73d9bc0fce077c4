//! Everything that follows from the engine's records, for those who need it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use mesh_runtime::Spawner;
use tokio::sync::watch;
use tracing::warn;

use super::{Engine, Gate};
use crate::mesh::cluster::{Cluster, RunningPod, address, core_files, node, with_status};
use crate::mesh::components::{self, Component};
use crate::mesh::dns::{DOMAIN, Zone};
use crate::mesh::folder::Folder;
use crate::mesh::kubernetes::{Replica, Written};
use crate::mesh::layout::Layout;
use crate::mesh::objects::Key;
use crate::mesh::pods::Phase;
use crate::mesh::proxy_rules::ForwardRule;
use crate::mesh::relay::{Relay, Target};
use crate::mesh::sockets::{Sockets, loopback};
use crate::mesh::state::{ComponentState, ContainerState, Ingress, PodState, ServiceState, State};

/// Port of Envoy's administration page inside a pod.
const ADMIN_PORT: u16 = 15000;

/// The ingress gateway's service, and its ports that lead out to the machine.
const INGRESS_SERVICE: &str = "istio-ingressgateway";
const INGRESS_PORTS: [i32; 3] = [80, 443, 31400];

/// What a relay leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RelayKey {
    /// A port of the ingress gateway's service.
    Ingress(i32),
    /// A port of a component.
    Component(Component, u16),
    /// The Envoy of a pod.
    Admin(Key),
}

/// Where relays lead at the moment: processes in the network to connect from, and addresses.
type Targets = Arc<RwLock<BTreeMap<RelayKey, Vec<(i32, SocketAddrV4)>>>>;

/// Where the engine's results go.
pub(crate) struct Outputs {
    pub(crate) zone: watch::Sender<Arc<Zone>>,
    pub(crate) rules: watch::Sender<Vec<ForwardRule>>,
    pub(crate) state: watch::Sender<Arc<State>>,
    pub(crate) gate: Gate,
    /// What Galley reads.
    pub(crate) folder: Folder,
    /// What an API server is to have, where there is one. Galley then reads nothing else.
    pub(crate) written: Option<watch::Sender<Arc<Written>>>,
    pub(crate) layout: Layout,
    pub(crate) sockets: Sockets,
    /// Process of the node.
    pub(crate) node: i32,
    pub(crate) spawner: Spawner,
    relays: BTreeMap<RelayKey, Relay>,
    targets: Targets,
    /// Ports of the machine that the ingress would like to have.
    ingress_ports: BTreeMap<i32, u16>,
}

// === impl Outputs ===

impl Outputs {
    #[expect(clippy::too_many_arguments, reason = "each is another place to write to")]
    pub(crate) fn new(
        zone: watch::Sender<Arc<Zone>>,
        rules: watch::Sender<Vec<ForwardRule>>,
        state: watch::Sender<Arc<State>>,
        gate: Gate,
        layout: Layout,
        sockets: Sockets,
        node: i32,
        spawner: Spawner,
        ingress_ports: BTreeMap<i32, u16>,
        written: Option<watch::Sender<Arc<Written>>>,
    ) -> Self {
        Self {
            zone,
            rules,
            state,
            gate,
            folder: Folder::new(layout.config()),
            written,
            layout,
            sockets,
            node,
            spawner,
            relays: BTreeMap::new(),
            targets: Targets::default(),
            ingress_ports,
        }
    }

    /// Starts the relays that do not exist yet, and ends those that are not wanted any more.
    async fn sync_relays(&mut self, wanted: BTreeMap<RelayKey, Vec<(i32, SocketAddrV4)>>) {
        self.relays.retain(|key, _| wanted.contains_key(key));
        for key in wanted.keys() {
            if self.relays.contains_key(key) {
                continue;
            }
            let preferred = match key {
                RelayKey::Ingress(port) => self.ingress_ports.get(port).copied(),
                _ => None,
            };
            let target = target(Arc::clone(&self.targets), key.clone());
            match Relay::start(preferred, self.sockets.clone(), target, &self.spawner).await {
                Ok(relay) => {
                    self.relays.insert(key.clone(), relay);
                }
                Err(error) => warn!(?key, %error, "cannot open a port for a relay"),
            }
        }
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    fn relay(&self, key: &RelayKey) -> Option<SocketAddrV4> {
        self.relays.get(key).map(Relay::address)
    }
}

/// The next target of a relay, in turns.
fn target(targets: Targets, key: RelayKey) -> Target {
    let turn = AtomicUsize::new(0);
    Arc::new(move || {
        let targets = targets.read().unwrap_or_else(PoisonError::into_inner);
        let list = targets.get(&key).filter(|list| !list.is_empty())?;
        Some(list[turn.fetch_add(1, Ordering::Relaxed) % list.len()])
    })
}

// === impl Engine ===

impl Engine {
    /// Derives everything from the records, and writes what has changed.
    pub(super) async fn publish(&mut self) {
        let running: Vec<RunningPod<'_>> = self
            .records
            .values()
            .map(|record| RunningPod {
                pod: record.identified(),
                address: record.address,
                status: &record.status,
                leaving: record.ending(),
            })
            .collect();
        let cluster = Cluster::compute(&self.reading.objects, &running);

        let zone = Arc::new(cluster.zone());
        send(&self.outputs.zone, zone);
        send(&self.outputs.rules, cluster.rules());
        if let Some(written) = &self.outputs.written {
            send(written, Arc::new(self.written(&cluster, &running)));
            drop(running);
        } else {
            let mut files = self.reading.for_galley.clone();
            files.extend(core_files(&self.reading.objects.namespaces, &cluster, &running));
            drop(running);
            if let Err(error) = self.outputs.folder.sync(files) {
                warn!(%error, "cannot write what Galley reads");
            }
        }
        self.outputs.sync_relays(self.relay_targets(&cluster)).await;

        let state = self.state(&cluster);
        let control_plane = state.components.iter().all(|component| component.ready);
        if control_plane {
            send(&self.outputs.gate, true);
        }
        self.report_problems(&state.problems);
        send(&self.outputs.state, Arc::new(state));
    }

    fn written(&self, cluster: &Cluster, running: &[RunningPod<'_>]) -> Written {
        let pods = running.iter().map(|pod| {
            let metadata = &pod.pod.metadata;
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let key = (part(&metadata.namespace), part(&metadata.name));
            (key, with_status(pod))
        });
        let lasting = self.records.iter().filter(|(_, record)| !record.ending());
        let replicas = lasting.map(|(key, record)| {
            let replica = Replica {
                ready: record.status.ready,
                updated: self.desired.pods.get(key) == Some(&record.pod),
            };
            (key.clone(), replica)
        });
        let users = &self.reading.objects;
        Written::new(
            pods,
            &replicas.collect(),
            users,
            &cluster.services,
            &cluster.endpoints,
            node(),
        )
    }

    fn relay_targets(&self, cluster: &Cluster) -> BTreeMap<RelayKey, Vec<(i32, SocketAddrV4)>> {
        let node = self.outputs.node;
        let mut wanted = BTreeMap::new();
        let ingress = (components::NAMESPACE.to_owned(), INGRESS_SERVICE.to_owned());
        if cluster.services.contains_key(&ingress) {
            for port in INGRESS_PORTS {
                let targets = cluster.targets(&ingress, port).into_iter();
                let targets = targets.map(|(address, port)| (node, SocketAddrV4::new(address, port)));
                wanted.insert(RelayKey::Ingress(port), targets.collect());
            }
        }
        for component in components::ALL {
            let record = self.records.get(&component.key());
            for port in component.ports() {
                let target = record.map(|record| (node, SocketAddrV4::new(record.address, port.target)));
                wanted.insert(
                    RelayKey::Component(component, port.number),
                    target.into_iter().collect(),
                );
            }
        }
        for (key, record) in &self.records {
            if record
                .status
                .containers
                .iter()
                .any(|container| container.name == "istio-proxy")
            {
                let target = record.status.sandbox.map(|pid| (pid, loopback(ADMIN_PORT)));
                wanted.insert(RelayKey::Admin(key.clone()), target.into_iter().collect());
            }
        }
        wanted
    }

    fn state(&self, cluster: &Cluster) -> State {
        let url = |scheme: &str, port| {
            let address = self.outputs.relay(&RelayKey::Ingress(port))?;
            Some(format!("{scheme}://{address}"))
        };
        let mut problems = self.reading.problems.clone();
        problems.extend(self.desired.problems.iter().cloned());
        problems.extend(
            self.unplanned
                .iter()
                .chain(&self.unscheduled)
                .map(|((ns, name), reason)| format!("Pod {ns}/{name}: {reason}")),
        );
        let components: Vec<ComponentState> = components::ALL
            .into_iter()
            .filter(|component| !self.settings.without.contains(component))
            .map(|component| self.component_state(component))
            .collect();
        let pods: Vec<PodState> = self
            .records
            .keys()
            .filter_map(|key| self.pod_state(key))
            .collect();
        let complete = self.desired.pods.keys().all(|key| {
            let record = self.records.get(key);
            record.is_some_and(|r| !r.stopping() && (r.status.ready || r.status.phase == Phase::Succeeded))
        });
        State {
            // Before the first reading there are not even namespaces.
            ready: complete
                && self.records.len() == self.desired.pods.len()
                && !self.reading.objects.namespaces.is_empty(),
            ingress: Ingress {
                http: url("http", 80),
                https: url("https", 443),
                tcp: self
                    .outputs
                    .relay(&RelayKey::Ingress(31400))
                    .map(|address| address.to_string()),
            },
            config_dir: self.outputs.layout.config(),
            kubeconfig: self.settings.kubernetes.clone(),
            components,
            pods,
            services: services(cluster),
            problems,
            gateways: self.reading.keys.iter().any(|key| key.kind == "Gateway"),
        }
    }

    fn component_state(&self, component: Component) -> ComponentState {
        let (namespace, name) = component.key();
        let record = self.records.get(&component.key());
        let container = record.and_then(|record| record.status.containers.first());
        let ports = component.ports().iter().filter_map(|port| {
            let address = self.outputs.relay(&RelayKey::Component(component, port.number))?;
            Some((port.name.to_owned(), address.port()))
        });
        ComponentState {
            name: component.name().to_owned(),
            pid: container.and_then(|container| container.command()),
            ports: ports.collect(),
            log: self
                .outputs
                .layout
                .container_log(&namespace, &name, component.container()),
            ready: record.is_some_and(|record| record.status.ready),
            restarts: container.map_or(0, |container| container.restarts),
        }
    }

    fn pod_state(&self, key: &Key) -> Option<PodState> {
        let (namespace, name) = key;
        let record = self.records.get(key)?;
        let status = &record.status;
        let log = |container: &str| self.outputs.layout.container_log(namespace, name, container);
        let containers: Vec<ContainerState> = status
            .containers
            .iter()
            .filter(|container| container.lasting)
            .map(|container| ContainerState {
                name: container.name.clone(),
                pid: container.command(),
                init: container.init(),
                ready: container.ready,
                restarts: container.restarts,
                log: log(&container.name),
            })
            .collect();
        let history = self.history.get(key);
        let admin = self.outputs.relay(&RelayKey::Admin(key.clone()));
        let phase = if record.stopping() {
            Phase::Terminating
        } else {
            status.phase
        };
        let mut pod = PodState {
            name: name.clone(),
            namespace: namespace.clone(),
            labels: record.identified().metadata.labels.unwrap_or_default(),
            ip: record.address,
            netns: status
                .sandbox
                .map(|pid| PathBuf::from(format!("/proc/{pid}/ns/net"))),
            pid: status.sandbox,
            admin: admin.map(|address| format!("http://{address}")),
            log: PathBuf::new(),
            phase: phase.as_str().to_owned(),
            ready: status.ready,
            message: match (status.message.is_empty(), history) {
                (true, Some(history)) => history.message.clone(),
                _ => status.message.clone(),
            },
            replaced: history.map_or(0, |history| history.replaced),
            containers,
        };
        pod.log = pod
            .main_container()
            .map(|container| container.log.clone())
            .unwrap_or_default();
        Some(pod)
    }

    /// Logs problems that are new.
    fn report_problems(&mut self, problems: &[String]) {
        for problem in problems {
            if !self.reported.contains(problem) {
                warn!("{problem}");
            }
        }
        self.reported = problems.iter().cloned().collect::<BTreeSet<_>>();
    }
}

fn services(cluster: &Cluster) -> Vec<ServiceState> {
    let services = cluster
        .services
        .iter()
        .map(|((namespace, name), service)| ServiceState {
            host: format!("{name}.{namespace}.svc.{DOMAIN}"),
            vip: address(service),
            ports: service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
                .map(|port| port.port)
                .collect(),
        });
    services.collect()
}

/// Tells whoever watches, if there is something new.
fn send<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let changed = *current != value;
        if changed {
            *current = value;
        }
        changed
    });
}
