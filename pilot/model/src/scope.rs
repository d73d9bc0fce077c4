//! What proxies of one namespace may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Host, Labels, Str};

use crate::snapshot::{
    DestinationRuleTable, Gateway, GatewayTable, RuleChain, ServiceTable, Snapshot, VirtualService,
    VirtualServiceTable,
};
use crate::{MESH_GATEWAY, Rev, Service, Versioned, Visibility};

/// What proxies of one namespace may see. `exportTo` is decided here, once; generators never see anything else.
///
/// Most namespaces see the same services under the same rules. [`Self::differing_hosts`] names the hosts for which
/// this one does not, so that what is generated for everybody can be shared.
#[derive(Debug)]
pub struct ScopedView {
    namespace: Str,
    domain: Str,
    mesh: Versioned<MeshConfig>,
    services: Arc<ServiceTable>,
    virtual_services: Arc<VirtualServiceTable>,
    destination_rules: Arc<DestinationRuleTable>,
    gateways: Arc<GatewayTable>,
    differing_hosts: BTreeSet<Host>,
}

/// The revisions of everything that a view was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ViewRevs {
    /// Mesh-wide configuration.
    pub mesh: Rev,
    /// Services.
    pub services: Rev,
    /// VirtualServices.
    pub virtual_services: Rev,
    /// DestinationRules.
    pub destination_rules: Rev,
    /// Gateways.
    pub gateways: Rev,
}

// === impl ScopedView ===

impl ScopedView {
    pub(crate) fn new(snapshot: &Snapshot, namespace: &str) -> Self {
        let mut view = Self {
            namespace: namespace.into(),
            domain: snapshot.domain.clone(),
            mesh: snapshot.mesh.clone(),
            services: Arc::clone(&snapshot.services),
            virtual_services: Arc::clone(&snapshot.virtual_services),
            destination_rules: Arc::clone(&snapshot.destination_rules),
            gateways: Arc::clone(&snapshot.gateways),
            differing_hosts: BTreeSet::new(),
        };
        view.differing_hosts = view.find_differing_hosts();
        view
    }

    /// The namespace.
    pub fn namespace(&self) -> &Str {
        &self.namespace
    }

    /// DNS suffix of services, such as `cluster.local`.
    pub fn domain(&self) -> &Str {
        &self.domain
    }

    /// Mesh-wide configuration.
    pub fn mesh(&self) -> &Versioned<MeshConfig> {
        &self.mesh
    }

    /// The revisions of everything that the view was made from.
    pub fn revs(&self) -> ViewRevs {
        ViewRevs {
            mesh: self.mesh.rev(),
            services: self.services.rev(),
            virtual_services: self.virtual_services.rev(),
            destination_rules: self.destination_rules.rev(),
            gateways: self.gateways.rev(),
        }
    }

    /// The visible services: private ones of the namespace first, then public ones, oldest first (P15.1).
    pub fn services(&self) -> impl Iterator<Item = &Versioned<Service>> {
        let private = self.services.iter().filter(|service| self.is_own_private(service));
        private.chain(self.services.iter().filter(|service| service.export_to == Visibility::Public))
    }

    /// The service that a host means to this namespace; private before public, then the oldest.
    pub fn service(&self, host: &str) -> Option<&Versioned<Service>> {
        let services = || self.services.by_host(host);
        services()
            .find(|service| self.is_own_private(service))
            .or_else(|| services().find(|service| service.export_to == Visibility::Public))
    }

    /// The DestinationRules to follow when calling a service.
    pub fn rules(&self, service: &Service) -> Option<&RuleChain> {
        let id = &service.id;
        self.destination_rules.lookup(&self.namespace, &id.namespace, &id.host, &self.mesh.root_namespace)
    }

    /// The VirtualServices that apply to sidecars: private ones of the namespace first, then public, oldest first.
    pub fn mesh_virtual_services(&self) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.gateway_virtual_services(MESH_GATEWAY)
    }

    /// The visible VirtualServices bound to a gateway, in the order of [`Self::mesh_virtual_services`].
    pub fn gateway_virtual_services<'a>(
        &'a self,
        gateway: &'a str,
    ) -> impl Iterator<Item = &'a Versioned<VirtualService>> {
        let bound = || self.virtual_services.by_gateway(gateway);
        let private = bound().filter(|object| {
            object.export_to == Visibility::Private && object.key.namespace == self.namespace
        });
        private.chain(bound().filter(|object| object.export_to == Visibility::Public))
    }

    /// The Gateways that a proxy with these labels executes, oldest first.
    pub fn gateways<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Versioned<Gateway>> {
        self.gateways.selecting(labels)
    }

    /// Whether a Gateway of this resolved name exists anywhere.
    pub fn has_gateway(&self, name: &str) -> bool {
        self.gateways.contains(name)
    }

    /// Hosts that mean another service here, or follow other rules, than in a namespace that has nothing of its own.
    pub fn differing_hosts(&self) -> &BTreeSet<Host> {
        &self.differing_hosts
    }

    /// Whether sidecars of the namespace see VirtualServices that others do not.
    pub fn has_own_virtual_services(&self) -> bool {
        self.virtual_services.by_gateway(MESH_GATEWAY).any(|object| {
            object.export_to == Visibility::Private && object.key.namespace == self.namespace
        })
    }

    fn is_own_private(&self, service: &Service) -> bool {
        service.export_to == Visibility::Private && service.id.namespace == self.namespace
    }

    fn find_differing_hosts(&self) -> BTreeSet<Host> {
        let private = self.services.iter().filter(|service| self.is_own_private(service));
        let mut differing: BTreeSet<Host> = private.map(|service| service.id.host.clone()).collect();

        let root = &self.mesh.root_namespace;
        let own_rules = if *self.namespace == **root { None } else { self.destination_rules.own(&self.namespace) };
        let Some(own_rules) = own_rules else {
            return differing;
        };
        let differs = |service: &Service| {
            self.rules(service)
                != self.destination_rules.lookup_exported(&service.id.namespace, &service.id.host, root)
        };
        for host in own_rules.hosts() {
            if host.is_wildcard() {
                let covered = self.services.iter().filter(|service| service.id.host.is_subset_of(host));
                differing.extend(covered.filter(|service| differs(service)).map(|service| service.id.host.clone()));
            } else if self.services.by_host(host.as_str()).any(|service| differs(service)) {
                differing.insert(host.clone());
            }
        }
        differing
    }
}
