//! A small mesh for unit tests.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::istio::authentication::v1alpha1::Policy;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3::{
    DestinationRule, EnvoyFilter, Gateway, Sidecar, Subset, VirtualService,
};
use mesh_config::{ConfigKey, Host, Kind, Labels, Meta, Port, Protocol, Timestamp};
use pilot_model::{
    Builder, Change, ConfigSpec, Endpoint, EndpointAddress, EndpointIndex, InterceptionMode, Locality, Proxy,
    ProxyType, ProxyVersion, Published, Resolution, ScopedView, Service, ServiceAddress, ServiceId,
    ServiceInstance, Visibility, Workload,
};
use prost_types::Duration;

/// Everything is published at once by [`Mesh::publish`].
pub(crate) struct Mesh {
    builder: Builder,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self::with(MeshConfig {
            root_namespace: "istio-system".to_owned(),
            ..MeshConfig::default()
        })
    }

    pub(crate) fn with(config: MeshConfig) -> Self {
        Self {
            builder: Builder::new("cluster.local", config),
        }
    }

    pub(crate) fn change(mut self, change: Change) -> Self {
        self.builder.apply(change);
        self
    }

    pub(crate) fn service(mut self, service: Service) -> Self {
        self.builder.apply(Change::Service(Box::new(service)));
        self
    }

    pub(crate) fn rule(self, namespace: &str, name: &str, rule: DestinationRule) -> Self {
        self.config(
            Kind::DestinationRule,
            namespace,
            name,
            ConfigSpec::DestinationRule(Box::new(rule)),
        )
    }

    pub(crate) fn gateway(self, namespace: &str, name: &str, gateway: Gateway) -> Self {
        self.config(
            Kind::Gateway,
            namespace,
            name,
            ConfigSpec::Gateway(Box::new(gateway)),
        )
    }

    pub(crate) fn sidecar(self, namespace: &str, name: &str, sidecar: Sidecar) -> Self {
        self.config(
            Kind::Sidecar,
            namespace,
            name,
            ConfigSpec::Sidecar(Box::new(sidecar)),
        )
    }

    pub(crate) fn virtual_service(self, namespace: &str, name: &str, rules: VirtualService) -> Self {
        self.config(
            Kind::VirtualService,
            namespace,
            name,
            ConfigSpec::VirtualService(Box::new(rules)),
        )
    }

    pub(crate) fn envoy_filter(self, namespace: &str, name: &str, envoy_filter: EnvoyFilter) -> Self {
        self.config(
            Kind::EnvoyFilter,
            namespace,
            name,
            ConfigSpec::EnvoyFilter(Box::new(envoy_filter)),
        )
    }

    /// The MeshPolicy.
    pub(crate) fn mesh_policy(self, spec: Policy) -> Self {
        self.config(
            Kind::MeshPolicy,
            "",
            "default",
            ConfigSpec::MeshPolicy(Box::new(spec)),
        )
    }

    pub(crate) fn endpoints(mut self, registry: &str, host: &str, endpoints: Vec<Endpoint>) -> Self {
        let endpoints = Some(endpoints);
        self.builder.apply(Change::Endpoints {
            registry: registry.into(),
            host: host.into(),
            endpoints,
        });
        self
    }

    pub(crate) fn publish(mut self) -> Published {
        self.builder.publish()
    }

    pub(crate) fn view(self, namespace: &str) -> Arc<ScopedView> {
        self.publish().snapshot.view(namespace)
    }

    pub(crate) fn view_and_endpoints(self, namespace: &str) -> (Arc<ScopedView>, Arc<EndpointIndex>) {
        let published = self.publish();
        (published.snapshot.view(namespace), published.endpoints)
    }

    fn config(mut self, kind: Kind, namespace: &str, name: &str, spec: ConfigSpec) -> Self {
        let meta = Meta {
            key: ConfigKey::new(kind, namespace, name),
            labels: Default::default(),
            annotations: Default::default(),
            created: Timestamp::default(),
            version: String::new(),
        };
        self.builder.apply(Change::Config(meta, spec));
        self
    }
}

/// A Kubernetes service `name.default`; the protocol of a port is what its name says.
pub(crate) fn service(name: &str, address: &str, ports: &[(&str, u16)]) -> Service {
    Service {
        id: ServiceId {
            namespace: "default".into(),
            name: name.into(),
            host: host(name),
            index: 0,
            registry: "Kubernetes".into(),
        },
        address: if address.is_empty() {
            ServiceAddress::Unspecified
        } else if address.contains('/') {
            ServiceAddress::Cidr(address.parse().expect("a range"))
        } else {
            ServiceAddress::Ip(address.parse().expect("an address"))
        },
        ports: ports.iter().map(|(name, number)| port(name, *number)).collect(),
        resolution: if address.is_empty() {
            Resolution::Passthrough
        } else {
            Resolution::ClientSide
        },
        endpoints: Vec::new(),
        mesh_external: false,
        export_to: Visibility::Public,
        service_accounts: Default::default(),
        external_addresses: Default::default(),
        labels: Labels::default(),
        created: Timestamp::default(),
    }
}

pub(crate) fn created(seconds: i64, service: Service) -> Service {
    Service {
        created: Timestamp { seconds, nanos: 0 },
        ..service
    }
}

pub(crate) fn host(name: &str) -> Host {
    format!("{name}.default.svc.cluster.local").into()
}

pub(crate) fn port(name: &str, number: u16) -> Port {
    Port {
        name: name.into(),
        number,
        protocol: Protocol::of_kubernetes_port(name, "TCP"),
    }
}

pub(crate) fn subset(name: &str, labels: &[(&str, &str)]) -> Subset {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Subset {
        name: name.to_owned(),
        labels,
        ..Subset::default()
    }
}

pub(crate) fn rule(name: &str) -> DestinationRule {
    DestinationRule {
        host: host(name).to_string(),
        ..DestinationRule::default()
    }
}

pub(crate) fn endpoint(address: &str, port_name: &str, version: &str) -> Endpoint {
    Endpoint {
        address: EndpointAddress::Ip(address.parse().expect("an address")),
        service_port: port_name.into(),
        labels: [("version", version)].into_iter().collect(),
        uid: "".into(),
        service_account: "".into(),
        network: "".into(),
        locality: Locality::default(),
        weight: 1,
    }
}

pub(crate) fn proxy(interception: InterceptionMode) -> Proxy {
    let ip: IpAddr = [10, 1, 0, 7].into();
    Proxy {
        node_id: "sidecar~10.1.0.7~pod.default~default.svc.cluster.local".into(),
        proxy_type: ProxyType::Sidecar,
        ips: vec![ip],
        id: "pod.default".into(),
        domain: "default.svc.cluster.local".into(),
        namespace: "default".into(),
        metadata: Default::default(),
        interception,
        locality: Locality::default(),
        version: ProxyVersion::default(),
    }
}

/// A workload that serves these ports: service, name and number of its port, target port.
pub(crate) fn workload(instances: &[(&str, &str, u16, u16)]) -> Workload {
    let instances = instances
        .iter()
        .map(|(service, name, number, target_port)| ServiceInstance {
            host: host(service),
            namespace: "default".into(),
            service_port: port(name, *number),
            target_port: *target_port,
        });
    Workload {
        namespace: "default".into(),
        instances: instances.collect(),
        ..Workload::default()
    }
}

pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}
