//! Objects from YAML, and what the registries make of them as lines of text.

use mesh_config::{Config, ConfigKey, Kind, Labels, Meta, decode, yaml};
use pilot_model::{
    Builder, ChangeSet, Endpoint, EndpointAddress, Published, Service, ServiceAddress, Visibility,
};

use crate::Platform;
use crate::config_store::ConfigEvent;
use crate::consul::Instance;
use crate::kube::KubeEvent;
use crate::registries::Registries;

/// Registries and the builder behind them.
pub(crate) struct World {
    pub(crate) registries: Registries,
    builder: Builder,
}

/// The objects of a YAML text.
pub(crate) fn objects(text: &str) -> Vec<Config> {
    yaml::documents("test.yaml", text)
        .into_iter()
        .map(|document| decode::object(&document.expect("YAML")).expect("a valid object"))
        .collect()
}

pub(crate) fn object(text: &str) -> Config {
    let [object] = <[Config; 1]>::try_from(objects(text)).expect("one object");
    object
}

/// A service of namespace `weather`; `spec` is the rest of its YAML, one indented line after another.
pub(crate) fn service(name: &str, spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: weather}}, spec: {spec}}}")
}

/// A pod of namespace `weather` with one container that names the ports `http` (3002) and `admin`.
pub(crate) fn pod(name: &str, ip: &str, labels: &str, more: Pod<'_>) -> String {
    let Pod {
        phase,
        node,
        created,
        account,
        admin,
    } = more;
    format!(
        "{{apiVersion: v1, kind: Pod,
          metadata: {{name: {name}, namespace: weather, labels: {labels}, creationTimestamp: '{created}'}},
          spec: {{nodeName: '{node}', serviceAccountName: '{account}',
            containers: [{{name: app, ports: [{{name: http, containerPort: 3002}}, {{name: admin, containerPort: {admin}}}]}}]}},
          status: {{phase: {phase}, podIP: '{ip}'}}}}"
    )
}

/// What pods rarely say.
#[derive(Clone, Copy)]
pub(crate) struct Pod<'a> {
    pub(crate) phase: &'a str,
    pub(crate) node: &'a str,
    pub(crate) created: &'a str,
    pub(crate) account: &'a str,
    pub(crate) admin: u16,
}

impl Default for Pod<'_> {
    fn default() -> Self {
        Self {
            phase: "Running",
            node: "",
            created: "2019-04-01T10:00:00Z",
            account: "",
            admin: 9000,
        }
    }
}

/// Endpoints of namespace `weather`; `subsets` in YAML.
pub(crate) fn endpoints(name: &str, subsets: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Endpoints, metadata: {{name: {name}, namespace: weather}}, subsets: {subsets}}}"
    )
}

pub(crate) fn node(name: &str, labels: &str) -> String {
    format!("{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {labels}}}, spec: {{}}}}")
}

pub(crate) fn service_entry(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: ServiceEntry,
          metadata: {{name: {name}, namespace: weather}}, spec: {spec}}}"
    )
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of_platforms(&[Platform::Kubernetes])
    }

    pub(crate) fn of_platforms(platforms: &[Platform]) -> Self {
        Self {
            registries: Registries::of(platforms, "cluster.local", "cluster.local", Visibility::Public),
            builder: Builder::new("cluster.local", Default::default()),
        }
    }

    /// A world that was told these objects in this order.
    pub(crate) fn of(texts: impl IntoIterator<Item = String>) -> Self {
        let mut world = Self::new();
        texts.into_iter().for_each(|text| world.set(&text));
        world.publish();
        world
    }

    pub(crate) fn set(&mut self, text: &str) {
        for config in objects(text) {
            self.set_config(config);
        }
    }

    pub(crate) fn set_config(&mut self, config: Config) {
        self.apply(&ConfigEvent::Set(config.into()));
    }

    /// The instances of a service of the Consul catalog.
    pub(crate) fn set_consul(&mut self, service: &str, instances: Vec<Instance>) {
        for change in self.registries.apply_consul(service, instances) {
            self.builder.apply(change);
        }
    }

    /// What the API server of our own cluster says.
    pub(crate) fn take(&mut self, event: KubeEvent) {
        for change in self.registries.apply_kube(event) {
            self.builder.apply(change);
        }
    }

    /// What the API server of another cluster says to a follower.
    pub(crate) fn take_remote(&mut self, cluster: &str, incarnation: u64, event: KubeEvent) {
        for change in self.registries.apply_remote(&cluster.into(), incarnation, event) {
            self.builder.apply(change);
        }
    }

    /// The mesh-wide default of `exportTo`.
    pub(crate) fn set_default_export_to(&mut self, default: Visibility) {
        for change in self.registries.set_default_export_to(default) {
            self.builder.apply(change);
        }
    }

    pub(crate) fn remove(&mut self, kind: Kind, name: &str) {
        let namespace = if kind == Kind::Node { "" } else { "weather" };
        self.remove_key(ConfigKey::new(kind, namespace, name));
    }

    pub(crate) fn remove_key(&mut self, key: ConfigKey) {
        let meta = Meta {
            key,
            labels: [].into(),
            annotations: [].into(),
            created: Default::default(),
            version: String::new(),
        };
        self.apply(&ConfigEvent::Gone(meta));
    }

    /// What changed since the last time.
    pub(crate) fn publish(&mut self) -> ChangeSet {
        ChangeSet::clone(&self.builder.publish().changes)
    }

    pub(crate) fn published(&mut self) -> Published {
        self.builder.publish()
    }

    /// `host address resolution ports`.
    pub(crate) fn services(&mut self) -> Vec<String> {
        let published = self.published();
        published
            .snapshot
            .services
            .iter()
            .map(|service| describe_service(service))
            .collect()
    }

    /// The service of an object in namespace `weather`.
    pub(crate) fn service(&mut self, name: &str) -> Service {
        let published = self.published();
        let mut services = published.snapshot.services.iter();
        let service = services
            .find(|service| &*service.id.name == name)
            .expect("the service exists");
        Service::clone(service)
    }

    /// `port address labels` of a host; `None` when nobody knows the host.
    pub(crate) fn endpoints(&mut self, host: &str) -> Option<Vec<String>> {
        let published = self.published();
        let known = published.endpoints.get(host)?;
        Some(known.iter().map(describe_endpoint).collect())
    }

    /// The endpoints of the service `name` of namespace `weather`.
    pub(crate) fn endpoints_of(&mut self, name: &str) -> Vec<Endpoint> {
        let published = self.published();
        let known = published
            .endpoints
            .get(&format!("{name}.weather.svc.cluster.local"));
        known
            .into_iter()
            .flat_map(|known| known.iter().cloned())
            .collect()
    }

    /// `namespace/name labels` and one line `host:port->target` for each instance; `None` when nothing is known.
    pub(crate) fn workload(&mut self, ip: &str) -> Option<Vec<String>> {
        let published = self.published();
        let workload = published.workloads.get(ip.parse().expect("an address"))?;
        let mut lines = vec![format!(
            "{}/{} {}",
            workload.namespace,
            workload.name,
            describe_labels(&workload.labels)
        )];
        lines.extend(workload.instances.iter().map(|instance| {
            format!(
                "{}:{}->{}",
                instance.host, instance.service_port.number, instance.target_port
            )
        }));
        Some(lines)
    }

    /// Everything, for comparison with another world.
    pub(crate) fn content(&mut self) -> Vec<String> {
        let published = self.published();
        let services = published.snapshot.services.iter();
        let services = services.map(|service| format!("{:?}", **service));
        let endpoints = published.endpoints.iter();
        let endpoints = endpoints.map(|(host, known)| format!("{host} {:?}", **known));
        let workloads = published
            .workloads
            .iter()
            .map(|(ip, workload)| format!("{ip} {workload:?}"));
        services.chain(endpoints).chain(workloads).collect()
    }

    pub(crate) fn apply(&mut self, event: &ConfigEvent) {
        for change in self.registries.apply(event) {
            self.builder.apply(change);
        }
    }
}

pub(crate) fn describe_service(service: &Service) -> String {
    let address = match service.address {
        ServiceAddress::Unspecified => "-".to_owned(),
        ServiceAddress::Ip(ip) => ip.to_string(),
        ServiceAddress::Cidr(net) => net.to_string(),
    };
    let ports: Vec<String> = service
        .ports
        .iter()
        .map(|port| format!("{}:{}/{}", port.name, port.number, port.protocol))
        .collect();
    format!(
        "{} {address} {:?} {}",
        service.id.host,
        service.resolution,
        ports.join(",")
    )
}

pub(crate) fn describe_endpoint(endpoint: &Endpoint) -> String {
    let address = match &endpoint.address {
        EndpointAddress::Ip(address) => address.to_string(),
        EndpointAddress::Dns(name, port) => format!("{name}:{port}"),
        EndpointAddress::Unix(path) => format!("unix:{path}"),
    };
    format!(
        "{} {address} {}",
        endpoint.service_port,
        describe_labels(&endpoint.labels)
    )
}

fn describe_labels(labels: &Labels) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if labels.is_empty() {
        "-".to_owned()
    } else {
        labels.join(",")
    }
}
