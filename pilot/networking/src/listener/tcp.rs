//! The filter chains of listeners that forward connections (P12.3).

use std::collections::{BTreeMap, HashMap, btree_map};
use std::sync::Arc;

use ipnet::IpNet;
use mesh_config::{ConfigKey, Protocol};
use pilot_model::Service;

use crate::l4::{Route, ServerName};

/// Where some of the connections to a listener go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TcpChain {
    /// Those to this range; `None`: to all addresses that no other chain has a range for.
    pub(super) range: Option<IpNet>,
    /// Those that announce one of these names in their TLS handshake, sorted; empty: all others.
    pub(super) server_names: Vec<ServerName>,
    /// What is spoken.
    pub(super) protocol: Protocol,
    /// Where they go; `None`: where the outbound traffic policy sends what belongs to no service.
    pub(super) route: Option<Arc<Route>>,
    /// The object that defines the service which they go to without any rule.
    pub(super) service: Option<ConfigKey>,
}

/// What the services on one address and port claim of its connections.
#[derive(Debug, Default)]
pub(super) struct TcpTable<'a> {
    by_range: BTreeMap<Option<IpNet>, BTreeMap<Option<ServerName>, Claim<'a>>>,
}

/// A service that wants connections.
#[derive(Clone, Debug)]
pub(super) struct Claim<'a> {
    pub(super) owner: &'a Service,
    pub(super) protocol: Protocol,
    pub(super) route: Arc<Route>,
}

// === impl TcpChain ===

impl TcpChain {
    /// Whether it takes whatever no other chain takes.
    pub(super) fn catches_all(&self) -> bool {
        self.range.is_none() && self.server_names.is_empty()
    }
}

// === impl Claim ===

impl Claim<'_> {
    /// The object that defines the service, where no rule says where connections go.
    fn service(&self) -> Option<ConfigKey> {
        self.owner.definition().filter(|_| self.route.rule.is_none())
    }
}

// === impl TcpTable ===

impl<'a> TcpTable<'a> {
    /// Gives connections to a service, unless another has them already: Envoy refuses two chains with the same match.
    pub(super) fn claim(
        &mut self,
        range: Option<IpNet>,
        server_name: Option<ServerName>,
        claim: &Claim<'a>,
    ) -> Result<(), &'a Service> {
        match self.by_range.entry(range).or_default().entry(server_name) {
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(claim.clone());
                Ok(())
            }
            // Another address of the same host, or the same rule.
            btree_map::Entry::Occupied(known) if known.get().route == claim.route => Ok(()),
            btree_map::Entry::Occupied(known) => Err(known.get().owner),
        }
    }

    /// The chains: those for ranges first, those without a name last.
    ///
    /// Envoy looks for the smallest range around an address and does not turn back, so a range that does not take
    /// everything gets the chains of the next wider one too: a rule for some names must not cut off the others. What is
    /// left in the end follows the outbound traffic policy.
    pub(super) fn into_chains(mut self) -> Vec<TcpChain> {
        self.by_range.entry(None).or_default();
        let mut ranges: Vec<Option<IpNet>> = self.by_range.keys().copied().collect();
        ranges.sort_by_key(|range| range.map(|range| range.prefix_len()));
        for (position, range) in ranges.iter().enumerate() {
            let wider = ranges[..position]
                .iter()
                .rev()
                .find(|wider| match (wider, range) {
                    (None, _) => true,
                    (Some(wider), Some(range)) => wider.contains(range),
                    (Some(_), None) => false,
                });
            if let Some(wider) = wider {
                self.inherit(*range, *wider);
            }
        }

        ranges.sort_by_key(|range| (range.is_none(), *range));
        let mut chains = Vec::new();
        for range in ranges {
            let Some(claims) = self.by_range.remove(&range) else {
                continue;
            };
            chains.append(&mut chains_of(range, claims));
        }
        chains
    }

    fn inherit(&mut self, range: Option<IpNet>, wider: Option<IpNet>) {
        let takes_all = |claims: &BTreeMap<_, _>| claims.contains_key(&None);
        let Some(own) = self.by_range.get(&range).filter(|own| !takes_all(own)) else {
            return;
        };
        let is_new = |name: &Option<ServerName>| match name {
            None => true,
            Some(bare) => {
                !own.contains_key(name) && !bare.wider().any(|wider| own.contains_key(&Some(wider)))
            }
        };
        let inherited: Vec<_> = self
            .by_range
            .get(&wider)
            .into_iter()
            .flatten()
            .filter(|(name, _)| is_new(name))
            .map(|(name, claim)| (name.clone(), claim.clone()))
            .collect();
        self.by_range.entry(range).or_default().extend(inherited);
    }
}

/// The chains for one range: one for each route, with all its names.
fn chains_of(range: Option<IpNet>, mut claims: BTreeMap<Option<ServerName>, Claim<'_>>) -> Vec<TcpChain> {
    let rest = claims.remove(&None);
    let mut chains: Vec<TcpChain> = Vec::with_capacity(claims.len() + 1);
    let mut by_route: HashMap<*const Route, usize> = HashMap::with_capacity(claims.len());
    for (name, claim) in claims {
        let position = *by_route.entry(Arc::as_ptr(&claim.route)).or_insert_with(|| {
            chains.push(TcpChain {
                range,
                server_names: Vec::new(),
                protocol: claim.protocol,
                service: claim.service(),
                route: Some(Arc::clone(&claim.route)),
            });
            chains.len() - 1
        });
        // Names arrive in order.
        chains[position].server_names.extend(name);
    }
    chains.push(TcpChain {
        range,
        server_names: Vec::new(),
        protocol: rest.as_ref().map_or(Protocol::Tcp, |claim| claim.protocol),
        service: rest.as_ref().and_then(Claim::service),
        route: rest.map(|claim| claim.route),
    });
    chains
}
