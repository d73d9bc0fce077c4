//! Authentication policies, and which of them holds for a port of a service (spec 03, §7.1).

use std::collections::BTreeMap;

use mesh_api::istio::authentication::v1alpha1::mutual_tls::Mode;
use mesh_api::istio::authentication::v1alpha1::peer_authentication_method::Params;
use mesh_api::istio::authentication::v1alpha1::{Policy, PortSelector, port_selector};
use mesh_config::{ConfigKey, Kind, Meta, Port, Str, Timestamp};

use crate::Versioned;

/// A Policy, or the MeshPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthenticationPolicy {
    /// Names the object.
    pub key: ConfigKey,
    /// When it was created.
    pub created: Timestamp,
    /// Its content, as written.
    pub spec: Policy,
    /// Whether a proxy rejected what it asks for. What would need certificates must not be served without them.
    pub is_rejected: bool,
}

/// Which connections a policy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerMode {
    /// Whatever comes.
    PlainText,
    /// Those with a certificate of the mesh, and those that do without.
    Permissive,
    /// Those with a certificate of the mesh.
    Strict,
}

/// All policies, by namespace.
#[derive(Debug, Default)]
pub struct AuthenticationPolicyTable {
    /// That of the mesh.
    mesh: Option<Versioned<AuthenticationPolicy>>,
    namespaces: BTreeMap<Str, NamespacePolicies>,
}

/// The policies of one namespace.
#[derive(Debug, Default)]
struct NamespacePolicies {
    /// Those that name services, oldest first.
    targeted: Vec<Versioned<AuthenticationPolicy>>,
    /// The oldest that is for the whole namespace.
    general: Option<Versioned<AuthenticationPolicy>>,
}

// === impl AuthenticationPolicy ===

impl AuthenticationPolicy {
    pub(super) fn new(meta: &Meta, spec: Policy) -> Self {
        Self {
            key: meta.key.clone(),
            created: meta.created,
            spec,
            is_rejected: false,
        }
    }

    /// Which connections it takes: the first peer that is about certificates says so. One that says nothing is
    /// `mtls: {}`, which is STRICT (`R-73`).
    pub fn peer_mode(&self) -> PeerMode {
        let modes = self.spec.peers.iter().filter_map(|peer| match &peer.params {
            None => Some(Mode::Strict),
            Some(Params::Mtls(mtls)) => Some(mtls.mode()),
            Some(Params::Jwt(_)) => None,
        });
        match modes.into_iter().next() {
            None => PeerMode::PlainText,
            Some(Mode::Permissive) => PeerMode::Permissive,
            Some(Mode::Strict) => PeerMode::Strict,
        }
    }

    /// What is left of it for a proxy that rejected it.
    pub(super) fn rejected(&self) -> Self {
        Self {
            is_rejected: true,
            ..self.clone()
        }
    }

    /// Whether it names a port of a service (`R-72`).
    fn targets(&self, service: &str, port: &Port) -> bool {
        let is_meant = |selector: &PortSelector| match &selector.port {
            Some(port_selector::Port::Number(number)) => *number == u32::from(port.number),
            Some(port_selector::Port::Name(name)) => **name == *port.name,
            None => false,
        };
        self.spec.targets.iter().any(|target| {
            target.name == service && (target.ports.is_empty() || target.ports.iter().any(is_meant))
        })
    }
}

// === impl AuthenticationPolicyTable ===

impl AuthenticationPolicyTable {
    pub(super) fn new<'a>(objects: impl IntoIterator<Item = &'a Versioned<AuthenticationPolicy>>) -> Self {
        let mut all: Vec<_> = objects.into_iter().cloned().collect();
        all.sort_by(|a, b| (a.created, &a.key).cmp(&(b.created, &b.key)));
        let mut table = Self::default();
        for object in all {
            if object.key.kind == Kind::MeshPolicy {
                table.mesh.get_or_insert(object);
                continue;
            }
            let namespace = table.namespaces.entry(object.key.namespace.clone()).or_default();
            if object.spec.targets.is_empty() {
                namespace.general.get_or_insert(object);
            } else {
                namespace.targeted.push(object);
            }
        }
        table
    }

    /// All that anybody could be subject to.
    pub fn iter(&self) -> impl Iterator<Item = &Versioned<AuthenticationPolicy>> {
        let namespaces = self.namespaces.values();
        let of_namespaces =
            namespaces.flat_map(|namespace| namespace.targeted.iter().chain(&namespace.general));
        self.mesh.iter().chain(of_namespaces)
    }

    /// The one policy for a port of a service, which is given by its short name: of those that target it the oldest, else
    /// that of its namespace, else that of the mesh (`R-70`). Policies are never merged.
    pub fn find(
        &self,
        namespace: &str,
        service: &str,
        port: &Port,
    ) -> Option<&Versioned<AuthenticationPolicy>> {
        let own = self.namespaces.get(namespace);
        own.and_then(|own| {
            let mut targeted = own.targeted.iter();
            targeted
                .find(|object| object.targets(service, port))
                .or(own.general.as_ref())
        })
        .or(self.mesh.as_ref())
    }
}
