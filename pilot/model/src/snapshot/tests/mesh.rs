//! Short ways to say what a mesh holds.

use std::net::{IpAddr, SocketAddr};

use mesh_api::envoy::config::core::v3::Node;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3::{
    self, DestinationRule, Gateway, HttpRoute, IstioEgressListener, Subset, VirtualService,
};
use mesh_config::{ConfigKey, Host, Kind, Labels, Meta, Port, Protocol, Timestamp};

use crate::{
    Builder, Change, ConfigSpec, Endpoint, EndpointAddress, Locality, Proxy, Resolution, Service,
    ServiceAddress, ServiceId, Visibility, Workload,
};

pub(super) fn builder() -> Builder {
    Builder::new("cluster.local", mesh())
}

pub(super) fn mesh() -> MeshConfig {
    MeshConfig {
        root_namespace: "istio-system".to_owned(),
        ..MeshConfig::default()
    }
}

pub(super) fn apply(builder: &mut Builder, changes: impl IntoIterator<Item = Change>) {
    changes.into_iter().for_each(|change| builder.apply(change));
}

/// A service of Kubernetes with an HTTP port 80; `created` is its age in seconds.
pub(super) fn service(namespace: &str, name: &str, created: i64) -> Service {
    Service {
        id: ServiceId {
            namespace: namespace.into(),
            name: name.into(),
            host: format!("{name}.{namespace}.svc.cluster.local").into(),
            index: 0,
            registry: "Kubernetes".into(),
        },
        address: ServiceAddress::Unspecified,
        ports: vec![Port {
            name: "http".into(),
            number: 80,
            protocol: Protocol::Http,
        }],
        resolution: Resolution::ClientSide,
        endpoints: Vec::new(),
        mesh_external: false,
        export_to: Visibility::Public,
        service_accounts: [].into(),
        external_addresses: [].into(),
        labels: Labels::default(),
        created: at(created),
    }
}

pub(super) fn private(service: Service) -> Service {
    Service {
        export_to: Visibility::Private,
        ..service
    }
}

pub(super) fn with_host(service: Service, host: &str) -> Service {
    Service {
        id: ServiceId {
            host: host.into(),
            ..service.id
        },
        ..service
    }
}

pub(super) fn added(service: Service) -> Change {
    Change::Service(Box::new(service))
}

pub(super) fn endpoint(ip: &str) -> Endpoint {
    Endpoint {
        address: EndpointAddress::Ip(SocketAddr::new(address(ip), 8080)),
        service_port: "http".into(),
        labels: Labels::default(),
        uid: "".into(),
        service_account: "".into(),
        network: "".into(),
        locality: Locality::default(),
        weight: 1,
    }
}

pub(super) fn endpoints(registry: &str, host: &str, ips: Option<&[&str]>) -> Change {
    Change::Endpoints {
        registry: registry.into(),
        host: host.into(),
        endpoints: ips.map(|ips| ips.iter().map(|ip| endpoint(ip)).collect()),
    }
}

pub(super) fn workload(ip: &str, name: Option<&str>) -> Change {
    let workload = name.map(|name| {
        Box::new(Workload {
            name: name.into(),
            ..Workload::default()
        })
    });
    Change::Workload(address(ip), workload)
}

/// A VirtualService with one HTTP route; empty `export_to` and `gateways` mean that the fields are absent.
pub(super) fn virtual_service(
    namespace: &str,
    name: &str,
    hosts: &[&str],
    gateways: &[&str],
    export_to: &str,
) -> Change {
    let spec = VirtualService {
        hosts: strings(hosts),
        gateways: strings(gateways),
        http: vec![HttpRoute::default()],
        export_to: one(export_to),
        ..VirtualService::default()
    };
    config(
        Kind::VirtualService,
        namespace,
        name,
        ConfigSpec::VirtualService(Box::new(spec)),
    )
}

pub(super) fn destination_rule(namespace: &str, name: &str, host: &str, export_to: &str) -> Change {
    let spec = DestinationRule {
        host: host.to_owned(),
        export_to: one(export_to),
        subsets: vec![Subset {
            name: name.to_owned(),
            ..Subset::default()
        }],
        ..DestinationRule::default()
    };
    config(
        Kind::DestinationRule,
        namespace,
        name,
        ConfigSpec::DestinationRule(Box::new(spec)),
    )
}

pub(super) fn gateway(namespace: &str, name: &str, selector: &[(&str, &str)]) -> Change {
    let selector = selector
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let spec = Gateway {
        selector: selector.collect(),
        servers: vec![v1alpha3::Server::default()],
    };
    config(
        Kind::Gateway,
        namespace,
        name,
        ConfigSpec::Gateway(Box::new(spec)),
    )
}

/// An EnvoyFilter with one filter for workloads with these labels.
pub(super) fn envoy_filter(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Change {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let spec = v1alpha3::EnvoyFilter {
        workload_labels: labels.collect(),
        filters: vec![v1alpha3::envoy_filter::Filter::default()],
    };
    config(
        Kind::EnvoyFilter,
        namespace,
        name,
        ConfigSpec::EnvoyFilter(Box::new(spec)),
    )
}

/// A Sidecar with one egress listener for each list of hosts, the first without port, the others on ports from 9000.
/// No labels mean the whole namespace, no listener that everything is visible.
pub(super) fn sidecar(namespace: &str, name: &str, labels: &[(&str, &str)], hosts: &[&[&str]]) -> Change {
    let selector = (!labels.is_empty()).then(|| v1alpha3::WorkloadSelector {
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    });
    let egress = (9000..).zip(hosts).map(|(number, hosts)| IstioEgressListener {
        port: (number > 9000).then(|| v1alpha3::Port {
            number,
            protocol: "HTTP".to_owned(),
            name: "http".to_owned(),
        }),
        hosts: strings(hosts),
        ..IstioEgressListener::default()
    });
    let spec = v1alpha3::Sidecar {
        workload_selector: selector,
        egress: egress.collect(),
        ..v1alpha3::Sidecar::default()
    };
    config(
        Kind::Sidecar,
        namespace,
        name,
        ConfigSpec::Sidecar(Box::new(spec)),
    )
}

/// A sidecar of a namespace.
pub(super) fn proxy(namespace: &str) -> Proxy {
    let node = Node {
        id: format!("sidecar~10.0.0.1~pod.{namespace}~{namespace}.svc.cluster.local"),
        ..Node::default()
    };
    Proxy::from_node(&node).expect("valid")
}

/// A workload with labels.
pub(super) fn labelled(labels: &[(&str, &str)]) -> Workload {
    Workload {
        labels: labels.iter().copied().collect(),
        ..Workload::default()
    }
}

/// The same object, created at another time.
pub(super) fn created(seconds: i64, change: Change) -> Change {
    match change {
        Change::Config(meta, spec) => Change::Config(
            Meta {
                created: at(seconds),
                ..meta
            },
            spec,
        ),
        other => other,
    }
}

pub(super) fn gone(kind: Kind, namespace: &str, name: &str) -> Change {
    Change::ConfigGone(ConfigKey::new(kind, namespace, name))
}

pub(super) fn host(name: &str) -> Host {
    name.into()
}

pub(super) fn address(ip: &str) -> IpAddr {
    ip.parse().expect("an address")
}

fn config(kind: Kind, namespace: &str, name: &str, spec: ConfigSpec) -> Change {
    let meta = Meta {
        key: ConfigKey::new(kind, namespace, name),
        labels: [].into(),
        annotations: [].into(),
        created: Timestamp::default(),
        version: String::new(),
    };
    Change::Config(meta, spec)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn one(entry: &str) -> Vec<String> {
    [entry]
        .into_iter()
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}
