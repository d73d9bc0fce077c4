//! VirtualServices that were changed to lead where nothing is yet.

use std::collections::BTreeSet;
use std::fmt;

use mesh_config::{ConfigKey, Host, Str};

use super::named::{Named, destinations};
use super::{Declared, Holds};
use crate::snapshot::VirtualService;
use crate::{ChangeSet, Resolution, Service, Versioned};

/// A VirtualService that stays in its former form.
#[derive(Debug)]
pub(super) struct HeldRoute {
    in_force: Versioned<VirtualService>,
    /// What the declared form waits for, never empty.
    missing: BTreeSet<Missing>,
}

/// What a route names that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    /// No service has the host.
    Service(Host),
    /// The service has no such port.
    Port(Host, u32),
    /// No DestinationRule for the host declares the subset.
    Subset(Host, Str),
    /// Nobody has said yet where the service is: its object usually comes a moment before that of its endpoints.
    Endpoints(Host),
}

// === impl Holds ===

impl Holds {
    pub(super) fn settle_routes(&mut self, declared: &Declared<'_>, changes: &mut ChangeSet) {
        let mut former = std::mem::take(&mut self.former_routes);
        let keys: BTreeSet<ConfigKey> = former.keys().chain(self.routes.keys()).cloned().collect();
        for key in keys {
            let former = former.remove(&key).flatten();
            let in_force = self.routes.remove(&key).map(|held| held.in_force).or(former);
            let wanted = declared.virtual_services.get(&key);
            let missing = match (&in_force, wanted) {
                (Some(in_force), Some(wanted)) => newly_missing(in_force, wanted, declared),
                _ => BTreeSet::new(),
            };
            let next = if missing.is_empty() {
                wanted.cloned()
            } else {
                in_force.clone()
            };
            if next == in_force {
                // What proxies are configured by did not change.
                changes.configs.remove(&key);
            } else {
                self.named
                    .replace(&key, in_force.as_deref(), next.as_deref(), declared.domain);
                changes.configs.insert(key.clone());
            }
            if let Some(in_force) = in_force.filter(|_| !missing.is_empty()) {
                self.routes.insert(key, HeldRoute { in_force, missing });
            }
        }
    }
}

/// What the new form of a VirtualService would wait for. What its form in force lacks too is no reason to keep that.
fn newly_missing(old: &VirtualService, new: &VirtualService, declared: &Declared<'_>) -> BTreeSet<Missing> {
    let mut missing = missing(new, declared);
    if !missing.is_empty() {
        let already = self::missing(old, declared);
        missing.retain(|missing| !already.contains(missing));
    }
    missing
}

fn missing(object: &VirtualService, declared: &Declared<'_>) -> BTreeSet<Missing> {
    let named = destinations(object, declared.domain).into_iter();
    named.filter_map(|named| missing_of(named, declared)).collect()
}

fn missing_of(named: Named<'_>, declared: &Declared<'_>) -> Option<Missing> {
    let Named { host, subset, port } = named;
    let services: Vec<&Service> = declared
        .services
        .by_host(host.as_str())
        .map(|service| &**service)
        .collect();
    let is_known = |service: &&Service| !has_endpoints_of_its_own(service) || declared.has_endpoints(service);
    let lacks_port = |port| !services.iter().any(|service| has_port(service, port));
    if services.is_empty() {
        Some(Missing::Service(host))
    } else if let Some(port) = port.filter(|port| lacks_port(*port)) {
        Some(Missing::Port(host, port))
    } else if !subset.is_empty() && !declared.rules.is_declared(&host, subset) {
        Some(Missing::Subset(host, subset.into()))
    } else if !services.iter().any(is_known) {
        Some(Missing::Endpoints(host))
    } else {
        None
    }
}

fn has_port(service: &Service, number: u32) -> bool {
    service.ports.iter().any(|port| u32::from(port.number) == number)
}

/// Whether a registry tells the endpoints apart from the service.
fn has_endpoints_of_its_own(service: &Service) -> bool {
    service.resolution == Resolution::ClientSide && &*service.id.registry != "ServiceEntry"
}

// === impl Declared ===

impl Declared<'_> {
    /// Whether the registry of a service has said where its endpoints are, were it that there are none.
    fn has_endpoints(&self, service: &Service) -> bool {
        let known = self.endpoints.get(service.id.host.as_str());
        known.is_some_and(|known| known.shards().contains_key(&service.id.registry))
    }
}

// === impl HeldRoute ===

impl HeldRoute {
    pub(super) fn in_force(&self) -> &Versioned<VirtualService> {
        &self.in_force
    }

    pub(super) fn in_force_mut(&mut self) -> &mut Versioned<VirtualService> {
        &mut self.in_force
    }

    pub(super) fn waits_for_endpoints(&self, changed: &BTreeSet<Host>) -> bool {
        let mut missing = self.missing.iter();
        missing.any(|missing| matches!(missing, Missing::Endpoints(host) if changed.contains(host)))
    }

    /// Why it stays.
    pub(super) fn reason(&self) -> String {
        let missing: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        format!("stays as it was: {}", missing.join("; "))
    }
}

// === impl Missing ===

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(host) => write!(f, "no service has the host {host}"),
            Self::Port(host, port) => write!(f, "{host} has no port {port}"),
            Self::Subset(host, subset) => {
                write!(
                    f,
                    "subset {subset} of {host} is not declared by any DestinationRule"
                )
            }
            Self::Endpoints(host) => write!(f, "endpoints of {host} are not known yet"),
        }
    }
}
