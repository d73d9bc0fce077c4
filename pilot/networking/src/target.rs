//! Where the routes of VirtualServices lead (P13.3, `R-VS-12` to `R-VS-14`).

use mesh_api::istio::networking::v1alpha3::Destination;
use mesh_api::istio::networking::v1alpha3::port_selector::Port;
use mesh_config::{Host, Labels, Protocol, Str};
use pilot_model::{Resolution, RuleChain, ScopedView, VirtualService, Warning, WarningKind};

use crate::destination;
use crate::name::BLACK_HOLE_CLUSTER;

/// Where calls arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// [`pilot_model::MESH_GATEWAY`], or the resolved name of a Gateway.
    pub(crate) gateway: &'a str,
    pub(crate) port: u16,
    /// The `sourceLabels` in use that the callers satisfy, sorted.
    pub(crate) source_selectors: &'a [Labels],
}

/// Resolves the destinations of one VirtualService at a place, and notes what is wrong with them.
pub(crate) struct Resolver<'a> {
    view: &'a ScopedView,
    object: &'a VirtualService,
    port: u16,
    /// What calls without a usable destination get, for findings.
    consequence: &'static str,
    /// The hosts that were asked for.
    pub(crate) hosts: Vec<Host>,
    /// What is wrong with the object.
    pub(crate) warnings: Vec<Warning>,
}

/// What a destination means.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) cluster: Str,
    /// The port, when it can be one.
    pub(crate) port: Option<u16>,
    /// The DestinationRules of the service.
    pub(crate) rules: Option<&'a RuleChain>,
    /// Whether the cluster forwards to the address that the caller asked for.
    pub(crate) is_passthrough: bool,
}

/// A destination and the part of the calls that it gets.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    /// Position in the list of the route; `None` when the route has no usable destination.
    pub(crate) position: Option<usize>,
    pub(crate) target: Target<'a>,
    /// At least 1.
    pub(crate) weight: u32,
}

/// Keeps the sum of any number of weights that fit into a message within 32 bits.
const MAX_WEIGHT: i32 = 10_000;

// === impl Place ===

impl Place<'_> {
    /// Whether the callers carry these labels, as far as anything asks for them.
    pub(crate) fn satisfies(&self, labels: &Labels) -> bool {
        self.source_selectors.binary_search(labels).is_ok()
    }
}

// === impl Resolver ===

impl<'a> Resolver<'a> {
    /// A resolver for calls that arrive on a port.
    pub(crate) fn new(
        view: &'a ScopedView,
        object: &'a VirtualService,
        port: u16,
        consequence: &'static str,
    ) -> Self {
        Self {
            view,
            object,
            port,
            consequence,
            hosts: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The destinations of the route `field`, such as `http[0]`, each with its weight; never none.
    pub(crate) fn shares<'d>(
        &mut self,
        field: &str,
        route: impl ExactSizeIterator<Item = (Option<&'d Destination>, i32)>,
    ) -> Vec<Share<'a>> {
        // A weight of 0 takes a destination out, unless it is the only one (`R-VS-12`).
        let is_only = route.len() == 1;
        let mut shares = Vec::with_capacity(route.len());
        for (index, (destination, weight)) in route.enumerate() {
            let weight = if is_only {
                100
            } else {
                weight.clamp(0, MAX_WEIGHT).unsigned_abs()
            };
            if weight == 0 {
                continue;
            }
            let Some(destination) = destination else {
                let reason = format!(
                    "{field}.route[{index}].destination: missing, {}",
                    self.consequence
                );
                self.warn(WarningKind::Unsupported, reason);
                shares.push(Share {
                    position: None,
                    target: Target::black_hole(),
                    weight,
                });
                continue;
            };
            let target = self.target(destination, self.consequence, || {
                format!("{field}.route[{index}].destination")
            });
            shares.push(Share {
                position: Some(index),
                target,
                weight,
            });
        }
        if shares.is_empty() {
            let reason = format!("{field}.route: no destination has a weight, {}", self.consequence);
            self.warn(WarningKind::Unsupported, reason);
            shares.push(Share::black_hole());
        }
        shares
    }

    /// What a destination means.
    ///
    /// One that does not exist keeps its name, so that calls fail and the reason can be seen (`R-VS-14`).
    pub(crate) fn target(
        &mut self,
        destination: &Destination,
        consequence: &str,
        field: impl Fn() -> String,
    ) -> Target<'a> {
        let view = self.view;
        let host = self.object.destination(&destination.host, view.domain());
        self.hosts.push(host.clone());
        let subset = &destination.subset;
        let mut services = view.services_of(host.as_str()).peekable();
        let service = services.peek().copied();
        // A service has no port that carries only datagrams as far as a proxy is concerned.
        let mut ports: Vec<u16> = services
            .flat_map(|service| &service.ports)
            .filter(|port| port.protocol != Protocol::Udp)
            .map(|port| port.number)
            .collect();
        ports.sort_unstable();
        ports.dedup();

        let port = match destination.port.as_ref().and_then(|port| port.port.as_ref()) {
            Some(Port::Number(number)) => *number,
            Some(Port::Name(name)) => {
                let reason = format!(
                    "{}.port.name: {name:?}, only numbers are supported, {consequence}",
                    field()
                );
                self.warn(WarningKind::UnknownPort, reason);
                return Target::black_hole();
            }
            // The only port, else the one on which the call arrived (`R-VS-13`).
            None => match ports[..] {
                [only] => only.into(),
                _ => self.port.into(),
            },
        };

        let rules = service.and_then(|service| view.rules(service));
        if service.is_none() {
            let reason = format!(
                "{}.host: no visible service has the host {host}, {consequence}",
                field()
            );
            self.warn(WarningKind::UnknownHost, reason);
        } else if !ports.iter().any(|&known| u32::from(known) == port) {
            let reason = format!("{}.port: {host} has no port {port}, {consequence}", field());
            self.warn(WarningKind::UnknownPort, reason);
        } else if !subset.is_empty()
            && rules.is_none_or(|rules| destination::find_subset(rules, subset).is_none())
        {
            let reason = format!(
                "{}.subset: no DestinationRule of {host} has {subset:?}, {consequence}",
                field()
            );
            self.warn(WarningKind::UnknownSubset, reason);
        }
        Target {
            cluster: format!("outbound|{port}|{subset}|{host}").into(),
            port: u16::try_from(port).ok(),
            rules,
            is_passthrough: service.is_some_and(|service| service.resolution == Resolution::Passthrough),
        }
    }

    /// Notes a finding about the object.
    pub(crate) fn warn(&mut self, kind: WarningKind, reason: String) {
        self.warnings.push(Warning {
            object: self.object.key.clone(),
            kind,
            reason,
        });
    }
}

// === impl Target ===

impl Target<'_> {
    fn black_hole() -> Self {
        Self {
            cluster: BLACK_HOLE_CLUSTER.into(),
            port: None,
            rules: None,
            is_passthrough: false,
        }
    }
}

// === impl Share ===

impl Share<'_> {
    /// All calls go nowhere.
    pub(crate) fn black_hole() -> Self {
        Self {
            position: None,
            target: Target::black_hole(),
            weight: 1,
        }
    }
}
