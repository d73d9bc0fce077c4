//! Filters that users put beside our own (EnvoyFilter, P12.6).

mod extension;
mod insert;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use ipnet::IpNet;
use mesh_api::istio::networking::v1alpha3::envoy_filter::listener_match::{ListenerProtocol, ListenerType};
use mesh_api::istio::networking::v1alpha3::envoy_filter::{Filter, ListenerMatch};
use mesh_config::Labels;
use pilot_model::{EnvoyFilter, EnvoyFilterTable, Rev, ScopedView, Versioned, Warning, WarningKind};

use self::extension::Place;
use self::resolve::Resolved;

/// The filters that one listener gets, in the order in which they are inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct UserFilters(Arc<[UserFilter]>);

/// One filter of an EnvoyFilter.
///
/// What it was resolved to follows from the object, so that only the object is compared.
#[derive(Clone, Debug)]
pub(crate) struct UserFilter {
    object: Versioned<EnvoyFilter>,
    /// Its place in the object.
    index: usize,
    resolved: Arc<Resolved>,
}

/// The EnvoyFilters of one workload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selected {
    filters: Vec<UserFilter>,
    /// What was left out, whatever the listener.
    pub(crate) warnings: Vec<Warning>,
}

/// What conditions of EnvoyFilters are about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) listener_type: ListenerType,
    /// The port of the service or server.
    pub(crate) port: u16,
    /// The name of that port.
    pub(crate) port_name: &'a str,
    /// Where the listener is; `None` for a Unix socket.
    pub(crate) address: Option<IpAddr>,
    /// What its filter chains are.
    pub(crate) chains: Chains,
}

/// What the filter chains of a listener are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chains {
    /// Whether there is one with an HTTP connection manager.
    pub(crate) http: bool,
    /// Whether there is one without.
    pub(crate) tcp: bool,
}

/// The EnvoyFilters of a publication, resolved.
#[derive(Debug, Default)]
struct ResolvedObjects(OnceLock<BTreeMap<Rev, ResolvedObject>>);

/// What became of each filter of an object.
#[derive(Debug)]
struct ResolvedObject {
    filters: Vec<(usize, Arc<Resolved>)>,
    warnings: Vec<Warning>,
}

// === impl Selected ===

impl Selected {
    /// The EnvoyFilters for the proxy of a workload with these labels.
    pub(crate) fn new(view: &ScopedView, labels: &Labels) -> Self {
        let table = view.envoy_filters();
        Self::of(view, table.selecting(labels))
    }

    /// These EnvoyFilters, oldest first.
    pub(crate) fn of<'a>(
        view: &ScopedView,
        objects: impl IntoIterator<Item = &'a Versioned<EnvoyFilter>>,
    ) -> Self {
        let mut objects = objects.into_iter().peekable();
        let mut selected = Self::default();
        if objects.peek().is_none() {
            return selected;
        }
        let resolved = view.envoy_filters().derived().get::<ResolvedObjects>();
        let resolved = resolved.of(view.envoy_filters());
        for object in objects {
            let Some(of_object) = resolved.get(&object.rev()) else {
                continue;
            };
            selected.warnings.extend_from_slice(&of_object.warnings);
            let filters = of_object.filters.iter().map(|(index, resolved)| UserFilter {
                object: object.clone(),
                index: *index,
                resolved: Arc::clone(resolved),
            });
            selected.filters.extend(filters);
        }
        selected
    }

    /// Those that a listener gets.
    pub(crate) fn on(&mut self, target: Target<'_>) -> UserFilters {
        let mut on = Vec::new();
        for filter in &self.filters {
            let Some(spec) = filter.spec() else { continue };
            let conditions = spec.listener_match.as_ref();
            if !conditions.is_none_or(|conditions| target.meets(conditions)) {
                continue;
            }
            if target.chains.take(spec) {
                on.push(filter.clone());
            } else if filter.resolved.place == Place::Http && conditions.is_some_and(is_aimed) {
                self.warnings.push(filter.warning(
                    "is left out of listeners without HTTP: it can only stand in an HTTP connection manager",
                ));
            }
        }
        UserFilters(on.into())
    }
}

/// Whether conditions are about single listeners, so that the author expects something of each.
fn is_aimed(conditions: &ListenerMatch) -> bool {
    conditions.listener_protocol() == ListenerProtocol::Tcp
        || conditions.listener_protocol() == ListenerProtocol::All
            && (conditions.port_number != 0
                || !conditions.port_name_prefix.is_empty()
                || !conditions.address.is_empty())
}

// === impl Target ===

impl Target<'_> {
    /// Whether a listener meets all conditions except that on the protocol.
    fn meets(&self, conditions: &ListenerMatch) -> bool {
        let ListenerMatch {
            port_number,
            port_name_prefix,
            address,
            ..
        } = conditions;
        (*port_number == 0 || *port_number == u32::from(self.port))
            && has_prefix(self.port_name, port_name_prefix)
            && (conditions.listener_type() == ListenerType::Any
                || conditions.listener_type() == self.listener_type)
            && (address.is_empty() || address.iter().any(|address| self.is_within(address)))
    }

    fn is_within(&self, address: &str) -> bool {
        let Some(own) = self.address else { return false };
        match address.parse::<IpAddr>() {
            Ok(ip) => ip == own,
            Err(_) => address.parse::<IpNet>().is_ok_and(|range| range.contains(&own)),
        }
    }
}

/// Whether a text starts with another, in upper or lower case.
fn has_prefix(text: &str, prefix: &str) -> bool {
    let start = text.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

// === impl Chains ===

impl Chains {
    pub(crate) const HTTP: Self = Self {
        http: true,
        tcp: false,
    };
    pub(crate) const TCP: Self = Self {
        http: false,
        tcp: true,
    };

    /// Those of a listener for one protocol.
    pub(crate) fn of(is_http: bool) -> Self {
        if is_http { Self::HTTP } else { Self::TCP }
    }

    /// Whether a filter goes into any of them.
    fn take(self, filter: &Filter) -> bool {
        (self.http && takes(true, filter)) || (self.tcp && takes(false, filter))
    }
}

/// Whether a filter goes into a chain that is HTTP or is not.
fn takes(is_http: bool, filter: &Filter) -> bool {
    let conditions = filter.listener_match.as_ref();
    let protocol = conditions.map_or(ListenerProtocol::All, ListenerMatch::listener_protocol);
    let is_wanted = match protocol {
        ListenerProtocol::All => true,
        ListenerProtocol::Http => is_http,
        ListenerProtocol::Tcp => !is_http,
    };
    is_wanted && (is_http || Place::of(filter) == Some(Place::Network))
}

// === impl ResolvedObjects ===

impl ResolvedObjects {
    fn of(&self, table: &EnvoyFilterTable) -> &BTreeMap<Rev, ResolvedObject> {
        self.0.get_or_init(|| {
            table
                .iter()
                .map(|object| (object.rev(), ResolvedObject::new(object)))
                .collect()
        })
    }
}

// === impl ResolvedObject ===

impl ResolvedObject {
    fn new(object: &EnvoyFilter) -> Self {
        let mut resolved = Self {
            filters: Vec::with_capacity(object.spec.filters.len()),
            warnings: Vec::new(),
        };
        for (index, filter) in object.spec.filters.iter().enumerate() {
            match resolve::resolve(filter) {
                Ok(filter) => resolved.filters.push((index, Arc::new(filter))),
                Err(fault) => resolved.warnings.push(Warning {
                    object: object.key.clone(),
                    kind: WarningKind::Unsupported,
                    reason: format!("filters[{index}].{fault}; the filter is left out"),
                }),
            }
        }
        resolved
    }
}

// === impl UserFilters ===

impl UserFilters {
    /// The objects that they are from.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &EnvoyFilter> {
        self.0.iter().map(|filter| &*filter.object)
    }
}

// === impl UserFilter ===

impl UserFilter {
    fn spec(&self) -> Option<&Filter> {
        self.object.spec.filters.get(self.index)
    }

    fn warning(&self, finding: impl std::fmt::Display) -> Warning {
        Warning {
            object: self.object.key.clone(),
            kind: WarningKind::Unsupported,
            reason: format!("filters[{}]: filter {} {finding}", self.index, self.resolved.name),
        }
    }
}

impl PartialEq for UserFilter {
    fn eq(&self, other: &Self) -> bool {
        (&self.object, self.index) == (&other.object, other.index)
    }
}

impl Eq for UserFilter {}

impl Hash for UserFilter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.object, self.index).hash(state);
    }
}
