//! Short ways to say what a mesh holds.

use std::net::{IpAddr, SocketAddr};

use mesh_api::envoy::config::core::v3::Node;
use mesh_api::istio::authentication::v1alpha1::Policy;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3::port_selector::Port;
use mesh_api::istio::networking::v1alpha3::{
    self, Destination, DestinationRule, Gateway, HttpRoute, HttpRouteDestination, IstioEgressListener,
    PortSelector, RouteDestination, Subset, TcpRoute, TlsRoute, VirtualService,
};
use mesh_config::{ConfigKey, Host, Kind, Labels, Meta, Protocol, Timestamp};

use crate::{
    Builder, Change, ConfigSpec, Endpoint, EndpointAddress, Locality, Proxy, Published, Resolution, Service,
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
        ports: vec![mesh_config::Port {
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

pub(super) fn destination_rule_of(namespace: &str, name: &str, spec: DestinationRule) -> Change {
    config(
        Kind::DestinationRule,
        namespace,
        name,
        ConfigSpec::DestinationRule(Box::new(spec)),
    )
}

/// A VirtualService of namespace `weather` for a host of its own name, with one route: of HTTP, or of TCP or TLS where
/// the first destination says so, as in `tcp:forecast`. Destinations are `host`, `host/subset` or `host:port`, with
/// `*weight` behind where that is not an equal share.
pub(super) fn route_of(name: &str, to: &[&str]) -> Change {
    let (protocol, first) = match to.first().and_then(|first| first.split_once(':')) {
        Some((protocol @ ("tcp" | "tls"), first)) => (protocol, Some(first)),
        _ => ("http", to.first().copied()),
    };
    let shares = first.into_iter().chain(to.iter().skip(1).copied()).map(|to| {
        let (to, weight) = to.split_once('*').unwrap_or((to, "1"));
        let (to, subset) = to.split_once('/').unwrap_or((to, ""));
        let (host, port) = to.split_once(':').unwrap_or((to, ""));
        let port = port.parse().ok().map(|number| PortSelector {
            port: Some(Port::Number(number)),
        });
        let destination = Destination {
            host: host.to_owned(),
            subset: subset.to_owned(),
            port,
        };
        (Some(destination), weight.parse().expect("a weight"))
    });
    let l4 = || {
        let shares = shares.clone();
        let share = |(destination, weight)| RouteDestination { destination, weight };
        shares.map(share).collect()
    };
    let mut spec = VirtualService {
        hosts: strings(&[name]),
        ..VirtualService::default()
    };
    match protocol {
        "tcp" => spec.tcp.push(TcpRoute {
            route: l4(),
            ..TcpRoute::default()
        }),
        "tls" => spec.tls.push(TlsRoute {
            route: l4(),
            ..TlsRoute::default()
        }),
        _ => spec.http.push(HttpRoute {
            route: shares
                .map(|(destination, weight)| HttpRouteDestination {
                    destination,
                    weight,
                    ..HttpRouteDestination::default()
                })
                .collect(),
            ..HttpRoute::default()
        }),
    }
    config(
        Kind::VirtualService,
        "weather",
        name,
        ConfigSpec::VirtualService(Box::new(spec)),
    )
}

/// The same VirtualService with a mirror.
pub(super) fn mirrored(change: Change, host: &str) -> Change {
    match change {
        Change::Config(meta, ConfigSpec::VirtualService(mut spec)) => {
            for route in &mut spec.http {
                route.mirror = Some(Destination {
                    host: host.to_owned(),
                    ..Destination::default()
                });
            }
            Change::Config(meta, ConfigSpec::VirtualService(spec))
        }
        other => other,
    }
}

/// Where the HTTP routes of a VirtualService in force lead, as [`route_of`] says it.
pub(super) fn destinations(published: &Published, name: &str) -> Vec<String> {
    let mut objects = published.snapshot.virtual_services.iter();
    let object = objects
        .find(|object| &*object.key.name == name)
        .expect("in force");
    let shares = object.spec.http.iter().flat_map(|route| &route.route);
    shares
        .map(|share| {
            let destination = share.destination.as_ref().expect("a destination");
            let mut to = destination.host.clone();
            if let Some(Port::Number(number)) = destination.port.as_ref().and_then(|port| port.port.as_ref())
            {
                to += &format!(":{number}");
            }
            if !destination.subset.is_empty() {
                to += &format!("/{}", destination.subset);
            }
            if share.weight != 1 {
                to += &format!("*{}", share.weight);
            }
            to
        })
        .collect()
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

/// A Policy; `age` is when it was created.
pub(super) fn authentication_policy(namespace: &str, name: &str, age: i64, spec: Policy) -> Change {
    created(
        age,
        config(Kind::Policy, namespace, name, ConfigSpec::Policy(Box::new(spec))),
    )
}

/// The MeshPolicy.
pub(super) fn mesh_policy(spec: Policy) -> Change {
    config(
        Kind::MeshPolicy,
        "",
        "default",
        ConfigSpec::MeshPolicy(Box::new(spec)),
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
