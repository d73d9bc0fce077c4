//! What registries tell the builder, and what the builder tells the push engine.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::istio::authentication::v1alpha1 as authentication;
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3;
use mesh_config::{ConfigKey, Host, Kind, Meta, Str};

use crate::{Endpoint, Networks, Service, ServiceId, Workload};

/// One fact from a source. Facts are whole: each replaces what was known of its object before.
#[derive(Clone, Debug)]
pub enum Change {
    /// Mesh-wide configuration.
    Mesh(Box<MeshConfig>),
    /// The networks that the mesh spans.
    Networks(Box<Networks>),
    /// A configuration object appeared or changed.
    Config(Meta, ConfigSpec),
    /// A configuration object is gone.
    ConfigGone(ConfigKey),
    /// A service appeared or changed.
    Service(Box<Service>),
    /// A service is gone from a registry.
    ServiceGone(ServiceId),
    /// The endpoints that a registry knows for a host; `None` when it no longer knows the host.
    Endpoints {
        /// Who knows them.
        registry: Str,
        /// The host.
        host: Host,
        /// All of them.
        endpoints: Option<Vec<Endpoint>>,
    },
    /// What is known about the workload behind an address; `None` when it is gone.
    Workload(IpAddr, Option<Box<Workload>>),
}

/// The content of a configuration object that proxies are configured by.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigSpec {
    /// How requests to a host are routed.
    VirtualService(Box<v1alpha3::VirtualService>),
    /// How to talk to a host.
    DestinationRule(Box<v1alpha3::DestinationRule>),
    /// What edge proxies listen to.
    Gateway(Box<v1alpha3::Gateway>),
    /// What proxies need to know.
    Sidecar(Box<v1alpha3::Sidecar>),
    /// Envoy filters that proxies get beside their own.
    EnvoyFilter(Box<v1alpha3::EnvoyFilter>),
    /// What callers of services of a namespace must show.
    Policy(Box<authentication::Policy>),
    /// What callers must show where no Policy says it.
    MeshPolicy(Box<authentication::Policy>),
}

/// What changed between two publications.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    /// Mesh-wide configuration.
    pub mesh: bool,
    /// The networks that the mesh spans.
    pub networks: bool,
    /// Configuration objects.
    pub configs: BTreeSet<ConfigKey>,
    /// Services.
    pub services: BTreeSet<ServiceId>,
    /// Hosts whose endpoints changed.
    pub endpoints: BTreeSet<Host>,
    /// Addresses whose workload changed.
    pub workloads: BTreeSet<IpAddr>,
    /// Hosts whose endpoints may present other identities than before, where a rule asks who they are.
    pub identities: BTreeSet<Host>,
}

// === impl ConfigSpec ===

impl ConfigSpec {
    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        match self {
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::Gateway(_) => Kind::Gateway,
            Self::Sidecar(_) => Kind::Sidecar,
            Self::EnvoyFilter(_) => Kind::EnvoyFilter,
            Self::Policy(_) => Kind::Policy,
            Self::MeshPolicy(_) => Kind::MeshPolicy,
        }
    }
}

// === impl ChangeSet ===

impl ChangeSet {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether only endpoints or workloads changed: the snapshot is the same as before (P9.4).
    pub fn is_incremental(&self) -> bool {
        !self.mesh
            && !self.networks
            && self.configs.is_empty()
            && self.services.is_empty()
            && self.identities.is_empty()
    }
}
