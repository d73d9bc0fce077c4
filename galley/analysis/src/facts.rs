//! What is kept of an object: what other objects are checked against, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::istio::authentication::v1alpha1 as authentication;
use mesh_api::istio::authentication::v1alpha1::mutual_tls::Mode;
use mesh_api::istio::authentication::v1alpha1::peer_authentication_method::Params;
use mesh_api::istio::networking::v1alpha3 as networking;
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_api::k8s::io::api::core::v1::ServiceSpec;
use mesh_config::{Config, Host, Kind, Labels, Protocol, Str, Timestamp};

use crate::references;

/// Who may see a service by the annotation of its object.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// What is known of an object.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    Service(Service),
    Entry(Service),
    Rule(Rule),
    VirtualService(VirtualService),
    Gateway(Gateway),
    /// The labels of its workload selector.
    Sidecar(Labels),
    /// Whether pods get a sidecar.
    Namespace(bool),
    Pod(Arc<Labels>),
    Policy(Policy),
    /// That it exists.
    Name,
}

/// Something that can be called: a Service, or the hosts of a ServiceEntry.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) hosts: Vec<Host>,
    pub(crate) ports: BTreeSet<u32>,
    /// Labels of the pods of a Service.
    pub(crate) selector: Labels,
    /// Whether only its own namespace sees it.
    pub(crate) private: bool,
}

/// A DestinationRule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) host: Host,
    pub(crate) subsets: BTreeSet<Str>,
    /// Whether it calls the whole host without TLS.
    pub(crate) plain_text: bool,
}

/// A VirtualService.
#[derive(Clone, Debug)]
pub(crate) struct VirtualService {
    pub(crate) hosts: Vec<Host>,
    pub(crate) gateways: BTreeSet<Str>,
    pub(crate) http: bool,
    pub(crate) l4: bool,
    /// Whether one of its HTTP routes takes every request.
    pub(crate) takes_all: bool,
    pub(crate) private: bool,
    pub(crate) created: Timestamp,
}

/// A Gateway.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) selector: Labels,
    pub(crate) servers: Vec<Server>,
}

/// A server of a Gateway.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) port: u32,
    /// Where it listens, empty for all addresses.
    pub(crate) bind: Str,
    pub(crate) protocol: Option<Protocol>,
    /// Namespace (`*` for all) and host.
    pub(crate) hosts: Vec<(Str, Host)>,
}

/// An authentication policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Whether it asks every caller for mutual TLS.
    pub(crate) strict: bool,
    /// Short names of the services that it is for, with whether it is for some ports only; empty for all.
    pub(crate) targets: BTreeMap<Str, bool>,
}

// === impl Fact ===

impl Fact {
    /// What is kept of an object; nothing of kinds that are not looked at, and of content that does not decode.
    pub(crate) fn of(config: &Config, domain: &str) -> Option<Self> {
        let namespace = &*config.meta.key.namespace;
        let fact = match config.meta.key.kind {
            Kind::Service => Self::Service(Service::of(config, &config.decode().ok()?, domain)),
            Kind::ServiceEntry => Self::Entry(Service::of_entry(&config.decode().ok()?)),
            Kind::DestinationRule => Self::Rule(Rule::of(&config.decode().ok()?, namespace, domain)),
            Kind::VirtualService => {
                Self::VirtualService(VirtualService::of(config, &config.decode().ok()?, domain))
            }
            Kind::Gateway => Self::Gateway(Gateway::of(&config.decode().ok()?, namespace)),
            Kind::Sidecar => {
                let sidecar: networking::Sidecar = config.decode().ok()?;
                let selector = sidecar.workload_selector.unwrap_or_default();
                Self::Sidecar(Labels::from(&selector.labels))
            }
            Kind::Namespace => {
                let label = config.meta.labels.get("istio-injection");
                Self::Namespace(label.is_some_and(|value| value == "enabled"))
            }
            Kind::Pod => Self::Pod(Arc::new(Labels::from(&config.meta.labels))),
            Kind::Policy | Kind::MeshPolicy => Self::Policy(Policy::of(&config.decode().ok()?)),
            Kind::ServiceRole | Kind::Handler | Kind::Instance => Self::Name,
            _ => return None,
        };
        Some(fact)
    }

    /// The hosts by which it is found.
    pub(crate) fn hosts(&self) -> &[Host] {
        match self {
            Self::Service(service) | Self::Entry(service) => &service.hosts,
            Self::Rule(rule) => std::slice::from_ref(&rule.host),
            Self::VirtualService(object) => &object.hosts,
            _ => &[],
        }
    }
}

// === impl Service ===

impl Service {
    fn of(config: &Config, spec: &ServiceSpec, domain: &str) -> Self {
        let key = &config.meta.key;
        let ports = spec.ports.iter().filter_map(|port| port.port);
        let export_to = config.meta.annotations.get(EXPORT_TO);
        Self {
            hosts: vec![Host::new(format!("{}.{}.svc.{domain}", key.name, key.namespace))],
            ports: ports.filter_map(|port| u32::try_from(port).ok()).collect(),
            selector: Labels::from(&spec.selector),
            private: export_to.is_some_and(|namespaces| namespaces.trim() == "."),
        }
    }

    fn of_entry(entry: &networking::ServiceEntry) -> Self {
        Self {
            hosts: entry.hosts.iter().map(|host| Host::from(host.as_str())).collect(),
            ports: entry.ports.iter().map(|port| port.number).collect(),
            selector: Labels::default(),
            private: references::is_private(&entry.export_to),
        }
    }
}

// === impl Rule ===

impl Rule {
    pub(crate) fn of(rule: &networking::DestinationRule, namespace: &str, domain: &str) -> Self {
        let tls = rule
            .traffic_policy
            .as_ref()
            .and_then(|policy| policy.tls.as_ref());
        Self {
            host: Host::resolve(&rule.host, namespace, domain),
            subsets: rule
                .subsets
                .iter()
                .map(|subset| subset.name.as_str().into())
                .collect(),
            plain_text: tls.is_some_and(|tls| tls.mode == TlSmode::Disable as i32),
        }
    }
}

// === impl VirtualService ===

impl VirtualService {
    pub(crate) fn of(config: &Config, spec: &networking::VirtualService, domain: &str) -> Self {
        let namespace = &*config.meta.key.namespace;
        Self {
            hosts: spec
                .hosts
                .iter()
                .map(|host| Host::resolve(host, namespace, domain))
                .collect(),
            gateways: references::gateways(&spec.gateways, namespace),
            http: !spec.http.is_empty(),
            l4: !spec.tls.is_empty() || !spec.tcp.is_empty(),
            takes_all: spec.http.iter().any(|route| route.r#match.is_empty()),
            private: references::is_private(&spec.export_to),
            created: config.meta.created,
        }
    }
}

// === impl Gateway ===

impl Gateway {
    pub(crate) fn of(gateway: &networking::Gateway, namespace: &str) -> Self {
        let servers = gateway.servers.iter().map(|server| Server {
            port: server.port.as_ref().map_or(0, |port| port.number),
            bind: server.bind.as_str().into(),
            protocol: server.port.as_ref().and_then(|port| port.protocol.parse().ok()),
            hosts: server
                .hosts
                .iter()
                .map(|host| server_host(host, namespace))
                .collect(),
        });
        Self {
            selector: Labels::from(&gateway.selector),
            servers: servers.collect(),
        }
    }
}

fn server_host(text: &str, namespace: &str) -> (Str, Host) {
    match text.split_once('/') {
        None => ("*".into(), Host::from(text)),
        Some((".", host)) => (namespace.into(), Host::from(host)),
        Some((other, host)) => (other.into(), Host::from(host)),
    }
}

// === impl Server ===

impl Server {
    /// Whether both listen at the same place, if the same pods have them.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        (self.port, &self.bind) == (other.port, &other.bind)
    }

    /// Whether a VirtualService of a namespace with such a host can be bound to it.
    pub(crate) fn takes(&self, namespace: &str, host: &Host) -> bool {
        self.hosts.iter().any(|(allowed, own)| {
            (&**allowed == "*" || &**allowed == namespace) && (own.matches(host) || host.matches(own))
        })
    }
}

// === impl Policy ===

impl Policy {
    pub(crate) fn of(policy: &authentication::Policy) -> Self {
        let strict = policy.peers.iter().any(|peer| match &peer.params {
            Some(Params::Mtls(mtls)) => mtls.mode == Mode::Strict as i32,
            _ => false,
        });
        let targets = policy.targets.iter();
        Self {
            strict: strict && !policy.peer_is_optional,
            targets: targets
                .map(|target| (target.name.as_str().into(), !target.ports.is_empty()))
                .collect(),
        }
    }
}
