//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::k8s::io::api::core::v1::{ServicePort, ServiceSpec};
use mesh_config::{Labels, Meta, Port, Protocol, Str};
use pilot_model::{
    Endpoint, EndpointAddress, Locality, Resolution, Service, ServiceAddress, ServiceId, Visibility,
};

use super::pods::PodObject;
use super::{KubeRegistry, object_name, spiffe_id};

/// Who may see a service (P4.2).
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// Service accounts of the namespace that the endpoints may run as.
const KUBERNETES_SERVICE_ACCOUNTS: &str = "alpha.istio.io/kubernetes-serviceaccounts";
/// The same, as full identities.
const CANONICAL_SERVICE_ACCOUNTS: &str = "alpha.istio.io/canonical-serviceaccounts";

/// A Service and what its endpoints and workloads need to know of it.
#[derive(Debug)]
pub(super) struct ServiceObject {
    pub(super) service: Service,
    /// Its addresses of the other family.
    further_addresses: Vec<IpAddr>,
    /// Whether the object leaves `exportTo` to the mesh-wide configuration.
    pub(super) exports_by_default: bool,
    /// `None` when the service selects no pods, as opposed to all of them.
    selector: Option<Labels>,
    /// Whether requests go to pods that are not ready, too.
    pub(super) publishes_not_ready: bool,
    /// At the positions of the ports of `service`.
    pub(super) target_ports: Vec<TargetPort>,
}

/// Where pods serve a service port.
#[derive(Debug)]
pub(super) enum TargetPort {
    Number(u16),
    /// The name of a container port, different from pod to pod.
    Name(String),
}

impl ServiceObject {
    pub(super) fn new(meta: &Meta, spec: &ServiceSpec, registry: &KubeRegistry) -> Self {
        let name = object_name(&meta.key);
        let host = registry.host(&name);
        let external_name = (spec.r#type() == "ExternalName").then(|| spec.external_name().to_owned());
        let (ports, target_ports): (Vec<Port>, Vec<TargetPort>) = spec.ports.iter().filter_map(port).unzip();

        let resolution = match (&external_name, spec.cluster_ip()) {
            (Some(_), _) => Resolution::Dns,
            (None, "None") => Resolution::Passthrough,
            (None, _) => Resolution::ClientSide,
        };
        // An external name is its only endpoint, and changes only with the service.
        let known_name = external_name.as_ref().filter(|name| !name.is_empty());
        let endpoints = known_name.map_or_else(Vec::new, |external_name| {
            let endpoint = |port: &Port| Endpoint {
                address: EndpointAddress::Dns(external_name.as_str().into(), port.number),
                service_port: port.name.clone(),
                labels: Labels::default(),
                uid: Str::default(),
                service_account: Str::default(),
                network: Str::default(),
                locality: Locality::default(),
                weight: 1,
            };
            ports.iter().map(endpoint).collect()
        });
        let export_to: Vec<String> = annotation_list(meta, EXPORT_TO).map(str::to_owned).collect();
        let service = Service {
            id: ServiceId {
                namespace: name.0,
                name: name.1,
                host,
                index: 0,
                registry: registry.registry.clone(),
            },
            address: spec
                .cluster_ip()
                .parse()
                .map_or(ServiceAddress::Unspecified, ServiceAddress::Ip),
            ports,
            resolution,
            endpoints,
            mesh_external: external_name.is_some(),
            export_to: Visibility::from_export_to(&export_to, registry.default_export_to),
            service_accounts: service_accounts(meta, &registry.trust_domain),
            external_addresses: external_addresses(spec),
            labels: Labels::from(&meta.labels),
            created: meta.created,
        };
        let mut further_addresses: Vec<IpAddr> = Vec::new();
        if let ServiceAddress::Ip(first) = service.address {
            for address in spec
                .cluster_i_ps
                .iter()
                .filter_map(|address| address.parse().ok())
            {
                if address != first && !further_addresses.contains(&address) {
                    further_addresses.push(address);
                }
            }
        }
        let selector = (!spec.selector.is_empty()).then(|| Labels::from(&spec.selector));
        Self {
            service,
            further_addresses,
            exports_by_default: export_to.is_empty(),
            selector,
            publishes_not_ready: spec.publish_not_ready_addresses(),
            target_ports,
        }
    }

    /// The service, once for each of its addresses.
    pub(super) fn services(&self) -> impl Iterator<Item = Service> {
        let further = (1..)
            .zip(&self.further_addresses)
            .map(|(index, address)| Service {
                id: ServiceId {
                    index,
                    ..self.service.id.clone()
                },
                address: ServiceAddress::Ip(*address),
                ..self.service.clone()
            });
        std::iter::once(self.service.clone()).chain(further)
    }

    /// Whether the service selects a pod of its namespace.
    pub(super) fn selects(&self, pod: &PodObject) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| selector.is_subset_of(&pod.labels))
    }
}

/// A port and its target; `None` when the number is out of range, which the API server does not let through.
fn port(port: &ServicePort) -> Option<(Port, TargetPort)> {
    let number = u16::try_from(port.port()).ok().filter(|number| *number != 0)?;
    let protocol = protocol(port);
    let target = match &port.target_port {
        Some(target) if !target.str_val().is_empty() => TargetPort::Name(target.str_val().to_owned()),
        Some(target) => match u16::try_from(target.int_val()) {
            Ok(target) if target != 0 => TargetPort::Number(target),
            _ => TargetPort::Number(number),
        },
        None => TargetPort::Number(number),
    };
    Some((
        Port {
            name: port.name().into(),
            number,
            protocol,
        },
        target,
    ))
}

/// What is spoken on a port: what its name announces (`R-S-6`), else what its `appProtocol` says, else TCP (`R-S-8`).
///
/// 1.1 knows names only, so a name that announces something wins.
fn protocol(port: &ServicePort) -> Protocol {
    let by_name = Protocol::of_kubernetes_port(port.name(), port.protocol());
    let announced = port.name().split('-').next().unwrap_or_default();
    if by_name != Protocol::Tcp || announced.eq_ignore_ascii_case("tcp") {
        return by_name;
    }
    match port.app_protocol() {
        "kubernetes.io/h2c" => Protocol::Http2,
        "kubernetes.io/ws" => Protocol::Http,
        "kubernetes.io/wss" => Protocol::Https,
        name => match name.parse() {
            Ok(Protocol::Udp) | Err(_) => Protocol::Tcp,
            Ok(protocol) => protocol,
        },
    }
}

fn service_accounts(meta: &Meta, trust_domain: &str) -> BTreeSet<Str> {
    let namespace = &meta.key.namespace;
    let kubernetes = annotation_list(meta, KUBERNETES_SERVICE_ACCOUNTS);
    let canonical = annotation_list(meta, CANONICAL_SERVICE_ACCOUNTS);
    kubernetes
        .map(|account| spiffe_id(trust_domain, namespace, account))
        .chain(canonical.map(Str::from))
        .collect()
}

/// Where the service is reached from outside of the cluster, as far as its specification says.
fn external_addresses(spec: &ServiceSpec) -> BTreeSet<IpAddr> {
    let addresses = spec.external_i_ps.iter().map(String::as_str);
    addresses
        .chain([spec.load_balancer_ip()])
        .filter_map(|address| address.parse().ok())
        .collect()
}

fn annotation_list<'a>(meta: &'a Meta, name: &str) -> impl Iterator<Item = &'a str> {
    let list = meta.annotations.get(name).map(String::as_str).unwrap_or_default();
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}
