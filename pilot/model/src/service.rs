//! Services: what callers address (P2.1).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use mesh_config::{ConfigKey, Host, Kind, Labels, Port, Str, Timestamp};

use crate::Endpoint;

/// Names a service. A ServiceEntry makes one service for each combination of host and address (P4.5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId {
    /// Namespace of the object that defines the service.
    pub namespace: Str,
    /// Name of that object.
    pub name: Str,
    /// What callers say.
    pub host: Host,
    /// Which of the addresses that the object gives to the host, from 0: those of a ServiceEntry, or of the two families
    /// of a Service. What differs by nothing but this is one service with several addresses.
    pub index: u16,
    /// The registry that knows it, such as `Kubernetes` or `ServiceEntry`: several may have an object of this name.
    pub registry: Str,
}

/// A service of the mesh, or one outside that the mesh knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Names the service.
    pub id: ServiceId,
    /// Its virtual address.
    pub address: ServiceAddress,
    /// Its ports, in the order of their definition.
    pub ports: Vec<Port>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// The endpoints of a service whose names the proxy resolves ([`Resolution::Dns`]): they come with its definition.
    /// Empty for all others, whose endpoints change on their own ([`crate::EndpointIndex`]).
    pub endpoints: Vec<Endpoint>,
    /// Whether it lies outside the mesh: no sidecar, hence no mutual TLS.
    pub mesh_external: bool,
    /// Who may see it.
    pub export_to: Visibility,
    /// Identities that its endpoints may present, as SPIFFE ids.
    pub service_accounts: BTreeSet<Str>,
    /// Addresses at which it is reached from outside of its network, such as those of its load balancer.
    pub external_addresses: BTreeSet<IpAddr>,
    /// Labels of the defining object.
    pub labels: Labels,
    /// When it was created: the oldest wins a conflict (`R-N-12`).
    pub created: Timestamp,
}

/// The virtual address of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceAddress {
    /// None: headless services, and ServiceEntries that are recognised by host or port alone. 1.1 writes `0.0.0.0`.
    Unspecified,
    /// One address.
    Ip(IpAddr),
    /// A range, from a ServiceEntry.
    Cidr(IpNet),
}

/// How the endpoints of a service are found (P2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// The registry knows them; Envoy balances over them (EDS).
    ClientSide,
    /// The proxy resolves host names (STRICT_DNS).
    Dns,
    /// The caller has an address already (ORIGINAL_DST).
    Passthrough,
}

/// Who may see an object (`exportTo`, `R-N-6`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Visibility {
    /// Every namespace.
    #[default]
    Public,
    /// The namespace of the object only.
    Private,
}

// === impl Service ===

/// The registry whose services no object defines.
const CATALOG: &str = "Consul";

impl Service {
    /// The object that defines the service.
    pub fn object(&self) -> ConfigKey {
        let kind = if &*self.id.registry == "ServiceEntry" {
            Kind::ServiceEntry
        } else {
            Kind::Service
        };
        ConfigKey::new(kind, self.id.namespace.clone(), self.id.name.clone())
    }

    /// The object that defines the service; `None` where the catalog of a registry does, which holds no objects.
    pub fn definition(&self) -> Option<ConfigKey> {
        (&*self.id.registry != CATALOG).then(|| self.object())
    }

    /// The cluster that has the service; `None` for what is no cluster's (P4.1).
    pub fn cluster(&self) -> Option<&Str> {
        let registry = &self.id.registry;
        (&**registry != CATALOG && self.object().kind == Kind::Service).then_some(registry)
    }

    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Whether proxies of `namespace` may see the service.
    pub fn is_visible_in(&self, namespace: &str) -> bool {
        self.export_to == Visibility::Public || &*self.id.namespace == namespace
    }
}

// === impl ServiceAddress ===

impl ServiceAddress {
    /// The single address, when there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Unspecified | Self::Cidr(_) => None,
        }
    }
}

// === impl Visibility ===

impl Visibility {
    /// Reads `exportTo`: absent means the mesh-wide default; only the first entry counts (P15.1).
    pub fn from_export_to(export_to: &[String], default: Self) -> Self {
        match export_to.first().map(String::as_str) {
            Some(".") => Self::Private,
            Some(_) => Self::Public,
            None => default,
        }
    }
}
