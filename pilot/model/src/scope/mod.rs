//! What proxies of one namespace may see.

mod trim;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::{Host, Labels, Port, Str};

use crate::sidecar::Imports;
use crate::snapshot::{
    AuthenticationPolicy, AuthenticationPolicyTable, DestinationRuleTable, EnvoyFilterTable, Gateway,
    GatewayTable, RuleChain, ServiceTable, SidecarTable, Snapshot, VirtualService, VirtualServiceTable,
};
use crate::{
    Derived, EgressListener, IdentityTable, MESH_GATEWAY, NetworkTable, Rev, Service, Sidecar, Versioned,
    Visibility,
};

/// What proxies of one namespace may see, or the part of it that one Sidecar imports. `exportTo` and Sidecars are
/// followed here, once; generators never see anything else.
///
/// Most namespaces see the same services under the same rules. [`Self::differing_hosts`] names the hosts for which
/// this one does not, so that what is generated for everybody can be shared. What a Sidecar leaves over is shared by
/// its proxies only ([`Self::viewer`]).
#[derive(Clone, Debug)]
pub struct ScopedView {
    namespace: Str,
    domain: Str,
    mesh: Versioned<MeshConfig>,
    networks: Versioned<NetworkTable>,
    identities: Arc<IdentityTable>,
    services: Arc<ServiceTable>,
    virtual_services: Arc<VirtualServiceTable>,
    destination_rules: Arc<DestinationRuleTable>,
    gateways: Arc<GatewayTable>,
    sidecars: Arc<SidecarTable>,
    envoy_filters: Arc<EnvoyFilterTable>,
    authentication_policies: Arc<AuthenticationPolicyTable>,
    differing_hosts: Arc<BTreeSet<Host>>,
    /// Shared by all namespaces that see neither services nor VirtualServices of their own.
    serviceless_hosts: Arc<OnceLock<ServicelessHosts>>,
    derived: Arc<Derived>,
    derived_from_services: Arc<Derived>,
    has_own_virtual_services: bool,
    /// The Sidecar of the proxies.
    sidecar: Option<Versioned<Sidecar>>,
    /// Set when the Sidecar leaves anything out.
    trimmed: Option<Trimmed>,
}

/// What there is only where a Sidecar leaves something out.
#[derive(Clone, Debug)]
struct Trimmed {
    /// What the namespace sees without the Sidecar.
    whole: Arc<ScopedView>,
    imports: Arc<Imports>,
    egress: Arc<[Egress]>,
}

/// One egress listener of a Sidecar and what is found there.
#[derive(Clone, Debug)]
pub struct Egress {
    /// The listener.
    pub listener: EgressListener,
    /// What it imports.
    pub view: Arc<ScopedView>,
}

/// Whose view it is. Two views of one publication and one viewer are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Viewer {
    /// The namespace of the proxies.
    pub namespace: Str,
    /// The Sidecar that leaves something out.
    pub sidecar: Option<Rev>,
}

/// Hosts that VirtualServices name although no service has them, by the port on which they are reachable, each with
/// its VirtualServices in the order of [`ScopedView::mesh_virtual_services`].
pub type ServicelessHosts = BTreeMap<u16, BTreeMap<Host, Vec<Versioned<VirtualService>>>>;

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
            networks: snapshot.networks.clone(),
            identities: Arc::clone(&snapshot.identities),
            services: Arc::clone(&snapshot.services),
            virtual_services: Arc::clone(&snapshot.virtual_services),
            destination_rules: Arc::clone(&snapshot.destination_rules),
            gateways: Arc::clone(&snapshot.gateways),
            sidecars: Arc::clone(&snapshot.sidecars),
            envoy_filters: Arc::clone(&snapshot.envoy_filters),
            authentication_policies: Arc::clone(&snapshot.authentication_policies),
            differing_hosts: Arc::default(),
            serviceless_hosts: Arc::clone(&snapshot.public_serviceless_hosts),
            derived: Arc::clone(&snapshot.derived),
            derived_from_services: Arc::clone(&snapshot.derived_from_services),
            has_own_virtual_services: false,
            sidecar: None,
            trimmed: None,
        };
        view.differing_hosts = Arc::new(view.find_differing_hosts());
        view.has_own_virtual_services = view.find_own_virtual_services();
        if !view.is_plain() {
            view.serviceless_hosts = Arc::default();
        }
        view
    }

    /// The namespace.
    pub fn namespace(&self) -> &Str {
        &self.namespace
    }

    /// Whose view it is.
    pub fn viewer(&self) -> Viewer {
        let sidecar = self.trimmed.as_ref().and(self.sidecar.as_ref());
        Viewer {
            namespace: self.namespace.clone(),
            sidecar: sidecar.map(Versioned::rev),
        }
    }

    /// Whose services these are; `None` when they are those of everybody, under the rules of everybody.
    pub fn service_viewer(&self) -> Option<Viewer> {
        (self.trimmed.is_some() || !self.differing_hosts.is_empty()).then(|| self.viewer())
    }

    /// The Sidecar that the proxies have.
    pub fn sidecar(&self) -> Option<&Versioned<Sidecar>> {
        self.sidecar.as_ref()
    }

    /// The egress listeners of a Sidecar that leaves something out; `None` when all services are found on their ports.
    pub fn egress(&self) -> Option<&[Egress]> {
        self.trimmed.as_ref().map(|trimmed| &*trimmed.egress)
    }

    /// What the namespace sees without the Sidecar. What workloads receive does not depend on what they may send.
    pub fn whole(&self) -> &Self {
        self.trimmed.as_ref().map_or(self, |trimmed| &trimmed.whole)
    }

    /// DNS suffix of services, such as `cluster.local`.
    pub fn domain(&self) -> &Str {
        &self.domain
    }

    /// Mesh-wide configuration.
    pub fn mesh(&self) -> &Versioned<MeshConfig> {
        &self.mesh
    }

    /// The networks that the mesh spans.
    pub fn networks(&self) -> &Versioned<NetworkTable> {
        &self.networks
    }

    /// Who may answer for a host.
    pub fn identities(&self) -> &IdentityTable {
        &self.identities
    }

    /// The revisions of everything that the view was made from, except identities and networks, which few results
    /// depend on.
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
        let private = self
            .services
            .iter()
            .filter(|service| self.is_own_private(service));
        private.chain(
            self.services
                .iter()
                .filter(|service| service.export_to == Visibility::Public),
        )
    }

    /// The service that a host means to this namespace; private before public, then the oldest.
    pub fn service(&self, host: &str) -> Option<&Versioned<Service>> {
        let services = || self.services.by_host(host);
        services()
            .find(|service| self.is_own_private(service))
            .or_else(|| services().find(|service| service.export_to == Visibility::Public))
    }

    /// All visible services of a host, in the order of [`Self::services`].
    pub fn services_of(&self, host: &str) -> impl Iterator<Item = &Versioned<Service>> {
        let services = || self.services.by_host(host);
        let private = services().filter(|service| self.is_own_private(service));
        private.chain(services().filter(|service| service.export_to == Visibility::Public))
    }

    /// Whether some service has this address, visible or not.
    pub fn has_service_address(&self, ip: IpAddr) -> bool {
        self.services.has_address(ip)
    }

    /// The visible services that speak HTTP on a port, by host.
    pub fn http_services(&self, port: u16) -> impl Iterator<Item = &Versioned<Service>> {
        let visible =
            |service: &Service| service.export_to == Visibility::Public || self.is_own_private(service);
        self.services
            .on_http_port(port)
            .filter(move |service| visible(service))
    }

    /// The ports on which some service speaks HTTP, whether visible or not.
    pub fn http_ports(&self) -> impl Iterator<Item = u16> {
        self.services.http_ports()
    }

    /// The DestinationRules to follow when calling a service.
    pub fn rules(&self, service: &Service) -> Option<&RuleChain> {
        let id = &service.id;
        self.destination_rules.lookup(
            &self.namespace,
            &id.namespace,
            &id.host,
            &self.mesh.root_namespace,
        )
    }

    /// How many VirtualServices there are, visible or not.
    pub fn virtual_service_count(&self) -> usize {
        self.virtual_services.len()
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

    /// The VirtualServices bound to a Gateway whose `exportTo` covers the namespace of the Gateway (`R-N-7`), oldest
    /// first.
    pub fn bound_virtual_services<'a>(
        &'a self,
        gateway: &'a Gateway,
    ) -> impl Iterator<Item = &'a Versioned<VirtualService>> {
        let bound = self.virtual_services.by_gateway(&gateway.name);
        bound.filter(|object| object.is_visible_in(&gateway.key.namespace))
    }

    /// The VirtualServices whose HTTP rules sidecars follow for a host, in the order of
    /// [`Self::mesh_virtual_services`].
    pub fn mesh_http_rules(&self, host: &Host) -> Vec<&Versioned<VirtualService>> {
        let mut objects = self.virtual_services.mesh_http_rules(host);
        objects.retain(|object| object.is_visible_in(&self.namespace));
        objects.sort_by_key(|object| object.export_to == Visibility::Public);
        objects
    }

    /// The VirtualServices whose TLS and TCP rules sidecars follow for a host, in the order of
    /// [`Self::mesh_virtual_services`]; for a host with wildcard also those for hosts under it.
    pub fn mesh_l4_rules(&self, host: &Host) -> Vec<&Versioned<VirtualService>> {
        let mut objects = self.virtual_services.mesh_l4_rules(host);
        objects.retain(|object| object.is_visible_in(&self.namespace));
        objects.sort_by_key(|object| object.export_to == Visibility::Public);
        objects
    }

    /// The visible VirtualServices with TLS or TCP rules for sidecars, oldest first.
    pub fn mesh_l4_virtual_services(&self) -> impl Iterator<Item = &Versioned<VirtualService>> {
        self.virtual_services
            .mesh_l4()
            .filter(|object| object.is_visible_in(&self.namespace))
    }

    /// Hosts that visible VirtualServices name although no visible service has them (§5.16).
    ///
    /// They are reachable on the HTTP ports of the services that the same VirtualService names, else on port 80.
    pub fn serviceless_hosts(&self) -> &ServicelessHosts {
        self.serviceless_hosts
            .get_or_init(|| self.find_serviceless_hosts())
    }

    /// The distinct `sourceLabels` that HTTP matches of VirtualServices ask for, visible or not, sorted.
    pub fn source_selectors(&self) -> &[Labels] {
        self.virtual_services.source_selectors()
    }

    /// The distinct `sourceLabels` that TLS and TCP matches of VirtualServices ask for, visible or not, sorted.
    pub fn l4_source_selectors(&self) -> &[Labels] {
        self.virtual_services.l4_source_selectors()
    }

    /// The Gateways that a proxy with these labels executes, oldest first.
    pub fn gateways<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = &'a Versioned<Gateway>> {
        self.gateways.selecting(labels)
    }

    /// The EnvoyFilters, those for other workloads included.
    pub fn envoy_filters(&self) -> &EnvoyFilterTable {
        &self.envoy_filters
    }

    /// The authentication policy for a port of a service of `namespace`, whether or not the service is visible (`R-70`).
    ///
    /// Policies name services of the cluster by their short names; what other registries have is named by its host.
    pub fn authentication_policy(
        &self,
        namespace: &str,
        host: &Host,
        port: &Port,
    ) -> Option<&Versioned<AuthenticationPolicy>> {
        let host = host.as_str();
        let short = host
            .strip_suffix(&*self.domain)
            .and_then(|rest| rest.strip_suffix(".svc."))
            .and_then(|rest| rest.strip_suffix(namespace))
            .and_then(|rest| rest.strip_suffix('.'));
        self.authentication_policies
            .find(namespace, short.unwrap_or(host), port)
    }

    /// Whether a Gateway of this resolved name exists anywhere.
    pub fn has_gateway(&self, name: &str) -> bool {
        self.gateways.contains(name)
    }

    /// Results made from everything that is published; shared by all views of one publication that no Sidecar trims.
    pub fn derived(&self) -> &Derived {
        &self.derived
    }

    /// Results made from services, DestinationRules and mesh configuration; shared by all views that no Sidecar trims,
    /// and all publications in which they are the same. What a result is about must not be among
    /// [`Self::differing_hosts`].
    pub fn derived_from_services(&self) -> &Derived {
        &self.derived_from_services
    }

    /// Whether the proxies see exactly what those of a namespace see that has nothing of its own.
    pub fn is_plain(&self) -> bool {
        self.trimmed.is_none() && self.differing_hosts.is_empty() && !self.has_own_virtual_services
    }

    /// Hosts that mean another service here, or follow other rules, than in a namespace that has nothing of its own.
    /// Where a Sidecar leaves something out there are none: nothing is shared with others.
    pub fn differing_hosts(&self) -> &BTreeSet<Host> {
        &self.differing_hosts
    }

    /// Whether sidecars of the namespace see VirtualServices that others do not.
    pub fn has_own_virtual_services(&self) -> bool {
        self.has_own_virtual_services
    }

    fn is_own_private(&self, service: &Service) -> bool {
        service.export_to == Visibility::Private && service.id.namespace == self.namespace
    }

    fn find_own_virtual_services(&self) -> bool {
        let mut mesh = self.virtual_services.by_gateway(MESH_GATEWAY);
        mesh.any(|object| object.export_to == Visibility::Private && object.key.namespace == self.namespace)
    }

    fn find_differing_hosts(&self) -> BTreeSet<Host> {
        let private = self
            .services
            .iter()
            .filter(|service| self.is_own_private(service));
        let mut differing: BTreeSet<Host> = private.map(|service| service.id.host.clone()).collect();

        let root = &self.mesh.root_namespace;
        if *self.namespace == **root {
            return differing;
        }
        let differs = |service: &Service| {
            self.rules(service)
                != self
                    .destination_rules
                    .lookup_exported(&service.id.namespace, &service.id.host, root)
        };
        for host in self.destination_rules.own_hosts(&self.namespace) {
            if host.is_wildcard() {
                let covered = self
                    .services
                    .iter()
                    .filter(|service| service.id.host.is_subset_of(host));
                differing.extend(
                    covered
                        .filter(|service| differs(service))
                        .map(|service| service.id.host.clone()),
                );
            } else if self
                .services
                .by_host(host.as_str())
                .any(|service| differs(service))
            {
                differing.insert(host.clone());
            }
        }
        differing
    }

    fn find_serviceless_hosts(&self) -> ServicelessHosts {
        let mut found = ServicelessHosts::new();
        for object in self
            .mesh_virtual_services()
            .filter(|object| !object.spec.http.is_empty())
        {
            let mut ports = BTreeSet::new();
            let mut serviceless = Vec::new();
            for host in &object.hosts {
                let mut has_service = false;
                let mut add = |service: &Service| {
                    has_service = true;
                    let http = service.ports.iter().filter(|port| port.protocol.is_http());
                    ports.extend(http.map(|port| port.number));
                };
                if host.is_wildcard() {
                    let covered = self
                        .services()
                        .filter(|service| service.id.host.is_subset_of(host));
                    covered.for_each(|service| add(service));
                } else {
                    self.services_of(host.as_str()).for_each(|service| add(service));
                }
                if !has_service {
                    serviceless.push(host);
                }
            }
            if ports.is_empty() {
                ports.insert(DEFAULT_HTTP_PORT);
            }
            let is_imported = |host: &&Host| {
                let trimmed = self.trimmed.as_ref();
                trimmed.is_none_or(|trimmed| trimmed.imports.contains(&object.key.namespace, host))
            };
            for host in serviceless.into_iter().filter(is_imported) {
                for &port in &ports {
                    let objects = found.entry(port).or_default().entry(host.clone()).or_default();
                    if !objects.contains(object) {
                        objects.push(object.clone());
                    }
                }
            }
        }
        found
    }
}

/// Where hosts without a service are reachable when nothing else says so.
const DEFAULT_HTTP_PORT: u16 = 80;
