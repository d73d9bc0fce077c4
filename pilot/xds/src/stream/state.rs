//! All types of one stream, and the order in which they move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::Framed;
use mesh_config::Str;
use pilot_networking::XdsType;

use super::content::{Transition, differences, find, is_failed, keep_last_good, keep_sent, only};
use super::subscription::ANYTHING;
use super::{Protocol, Request, Step, Subscription};
use crate::names::Names;
use crate::resource::{Difference, Encoded, ResourceSet, same};

/// Gives the resources of a type for the names subscribed to, in sets that always come in the same order.
pub type Plan<'a> = dyn FnMut(XdsType, &Names) -> Vec<Arc<ResourceSet>> + 'a;

/// What a publication may have changed for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impact {
    /// Endpoints alone (P9.4).
    Endpoints,
    /// Anything.
    Everything,
}

/// A response to send.
#[derive(Debug)]
pub struct Outgoing {
    /// The type of its resources.
    pub xds_type: XdsType,
    /// Its version.
    pub version: String,
    /// Its nonce.
    pub nonce: String,
    /// The resources.
    pub resources: Framed,
    /// Names of resources that are gone (delta only).
    pub removed: Vec<String>,
}

/// What is left of what listeners and routes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Responses with clusters that are not answered.
    clusters: usize,
    /// Clusters whose endpoints the client has yet to ask for.
    unasked: usize,
    /// Responses with endpoints that are not answered.
    endpoints: usize,
}

/// What is known about a client, and what it gets next.
///
/// A publication moves through the types in the order of [`XdsType::ALL`]. Listeners and routes wait until the client
/// has acknowledged the clusters and their endpoints, so that no request is routed to a cluster that is not there yet
/// (P8.3). A cluster that leaves the plan stays with the client until the listeners and routes that could name it are
/// acknowledged: make before break. Until then no further publication is to be given to [`Self::on_publish`], unless its
/// endpoints alone are different: its clusters would have to be waited for as well, and so on.
#[derive(Debug)]
pub struct StreamState {
    protocol: Protocol,
    subscriptions: [Option<Subscription>; 4],
    /// Types that may have something to send.
    pending: [bool; 4],
    /// New clusters whose endpoints the client has yet to ask for.
    expected_endpoints: BTreeSet<Str>,
    /// Whether listeners and routes wait for the endpoints that are pending. What changes of endpoints alone later is
    /// sent and not waited for.
    owes_endpoints: bool,
    /// Nonce of the last response with endpoints for which listeners and routes wait.
    awaited_endpoints: String,
    /// Clusters to name as gone in the next response (delta).
    released: Vec<Str>,
    /// Whether waiting for clusters was given up until the next publication.
    impatient: bool,
    /// Clusters that the client rejected, each as the client had accepted it before. Nothing at the client can need one that
    /// it never had.
    refused: BTreeMap<Str, Option<Arc<Encoded>>>,
    nonces: u64,
}

// === impl StreamState ===

impl StreamState {
    /// The state of a stream that was just opened.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            subscriptions: [const { None }; 4],
            pending: [false; 4],
            expected_endpoints: BTreeSet::new(),
            owes_endpoints: false,
            awaited_endpoints: String::new(),
            released: Vec::new(),
            impatient: false,
            refused: BTreeMap::new(),
            nonces: 0,
        }
    }

    /// Takes over a request.
    pub fn on_request(&mut self, xds_type: XdsType, request: &Request) -> Step {
        let (protocol, slot) = (self.protocol, &mut self.subscriptions[xds_type as usize]);
        let step = match slot {
            Some(subscription) => subscription.on_request(request),
            None => Step::Respond,
        };
        let subscription = slot.get_or_insert_with(|| {
            let wildcard = matches!(xds_type, XdsType::Cluster | XdsType::Listener)
                && (protocol == Protocol::StateOfTheWorld
                    || request.subscribe.is_empty()
                    || request.subscribe.contains(ANYTHING));
            Subscription::new(protocol, wildcard, request)
        });
        self.pending[xds_type as usize] |= subscription.owes_response();
        match xds_type {
            XdsType::Endpoint => {
                // A cluster that is warmed waits for its endpoints, and nobody but the client knows which are.
                subscription.forget_initial_versions();
                self.owes_endpoints |= subscription.owes_response();
                let names = subscription.names();
                self.expected_endpoints.retain(|name| !names.contains(name));
            }
            // Endpoints of rejected clusters will never be asked for.
            XdsType::Cluster if matches!(step, Step::Nack(..)) => self.expected_endpoints.clear(),
            _ => {}
        }
        step
    }

    /// Notes that there is something new.
    pub fn on_publish(&mut self, impact: Impact) {
        match impact {
            Impact::Endpoints => self.pending[XdsType::Endpoint as usize] = true,
            Impact::Everything => self.everything_is_pending(),
        }
        self.impatient = false;
    }

    /// Notes that something else is served because the client rejected clusters. Those that it had not accepted before
    /// do not stay for its routes' sake, and others stay as it accepted them.
    pub fn on_left_out(&mut self) {
        if let Some(clusters) = &self.subscriptions[XdsType::Cluster as usize]
            && !clusters.report().last_error.is_empty()
        {
            let sent = clusters.sent().iter().flat_map(|set| set.items());
            let before = sent.map(|item| (item, find(clusters.accepted(), &item.name)));
            let refused = before.filter(|(item, before)| before.is_none_or(|before| !same(before, item)));
            self.refused = refused
                .map(|(item, before)| (item.name.clone(), before.cloned()))
                .collect();
        }
        self.on_publish(Impact::Everything);
    }

    /// Puts equal names in the place of those that the client asked for: a list that other streams share.
    pub fn share_names(&mut self, xds_type: XdsType, intern: impl FnOnce(&Names) -> Names) {
        if let Some(subscription) = &mut self.subscriptions[xds_type as usize] {
            subscription.share_names(intern);
        }
    }

    /// Makes the next responses whole, whether or not anything changed.
    pub fn resend_all(&mut self) {
        for subscription in self.subscriptions.iter_mut().flatten() {
            subscription.restart();
        }
        self.everything_is_pending();
    }

    /// What listeners or routes that are held back wait for; `None` when none are.
    pub fn waits_for(&self) -> Option<Waiting> {
        let mut types = [XdsType::Listener, XdsType::Route].into_iter();
        if !types.any(|xds_type| self.is_held_back(xds_type)) {
            return None;
        }
        let unanswered = |xds_type, nonce: Option<&str>| {
            self.subscription(xds_type)
                .map_or(0, |subscription| subscription.unanswered(nonce))
        };
        Some(Waiting {
            clusters: unanswered(XdsType::Cluster, None),
            unasked: self.expected_endpoints.len(),
            endpoints: unanswered(XdsType::Endpoint, Some(&self.awaited_endpoints)),
        })
    }

    /// Whether listeners or routes are held back until the client acknowledges its clusters.
    pub fn is_waiting_for_clusters(&self) -> bool {
        self.waits_for().is_some()
    }

    /// Stops holding listeners and routes back: the client does not answer.
    pub fn give_up_waiting(&mut self) {
        self.impatient = true;
        self.expected_endpoints.clear();
    }

    /// Whether something of what was published may be left to send.
    pub fn has_pending(&self) -> bool {
        self.pending.contains(&true)
    }

    /// Whether [`Self::advance`] has nothing to look at.
    pub fn is_idle(&self) -> bool {
        let mut types = XdsType::ALL.into_iter();
        let can_move = types.any(|xds_type| self.pending[xds_type as usize] && !self.is_held_back(xds_type));
        !can_move && !self.can_release()
    }

    /// Whether the client answered everything that it was sent, and nothing is left to send.
    pub fn is_settled(&self) -> bool {
        !self.has_pending()
            && !self.can_release()
            && !self.subscriptions.iter().flatten().any(Subscription::is_awaiting)
    }

    /// Whether the client has answered everything of a type that there is to send.
    pub fn is_answered(&self, xds_type: XdsType) -> bool {
        !self.pending[xds_type as usize]
            && self
                .subscription(xds_type)
                .is_none_or(|subscription| !subscription.is_awaiting())
    }

    /// The subscription of a type.
    pub fn subscription(&self, xds_type: XdsType) -> Option<&Subscription> {
        self.subscriptions[xds_type as usize].as_ref()
    }

    /// The next response, if there is one.
    pub fn advance(&mut self, version: &str, plan: &mut Plan<'_>) -> Option<Outgoing> {
        loop {
            for xds_type in XdsType::ALL {
                if let Some(outgoing) = self.advance_type(xds_type, version, plan) {
                    return Some(outgoing);
                }
            }
            if !self.can_release() {
                return None;
            }
            self.release();
        }
    }

    fn advance_type(&mut self, xds_type: XdsType, version: &str, plan: &mut Plan<'_>) -> Option<Outgoing> {
        if !self.pending[xds_type as usize] || self.is_held_back(xds_type) {
            return None;
        }
        self.pending[xds_type as usize] = false;
        let outgoing = self.respond(xds_type, version, plan);
        if xds_type == XdsType::Endpoint && std::mem::take(&mut self.owes_endpoints) {
            // Those that were on their way before count as well.
            let endpoints = self.subscription(XdsType::Endpoint);
            self.awaited_endpoints =
                endpoints.map_or_else(String::new, |endpoints| endpoints.report().nonce_sent.clone());
        }
        outgoing
    }

    /// The response of a type, unless the client has it all.
    fn respond(&mut self, xds_type: XdsType, version: &str, plan: &mut Plan<'_>) -> Option<Outgoing> {
        let subscription = self.subscription(xds_type)?;
        let mut sets = plan(xds_type, subscription.names());
        if !subscription.is_wildcard() && matches!(xds_type, XdsType::Cluster | XdsType::Listener) {
            sets = vec![only(xds_type, &sets, subscription.names())];
        }
        keep_last_good(&mut sets, subscription.sent());
        if xds_type == XdsType::Route && !self.impatient && self.clusters_are_unsettled() {
            // The client asked for some of them. The others wait, and so does what is new in those that it had.
            let keeps = keep_sent(&mut sets, subscription);
            self.pending[XdsType::Route as usize] = keeps;
        }
        let subscription = self.subscription(xds_type)?;
        let differences = differences(&sets, subscription.sent());

        let mut released = Vec::new();
        let mut frozen = BTreeSet::new();
        match xds_type {
            XdsType::Cluster => {
                self.hold_clusters(&sets, &differences);
                self.expect_endpoints(&sets, &differences);
                released = std::mem::take(&mut self.released);
                released.retain(|name| find(&sets, name).is_none());
            }
            // The plan knows held clusters no more and would take their endpoints away.
            XdsType::Endpoint => frozen = self.held_clusters(),
            XdsType::Listener | XdsType::Route => {}
        }

        let subscription = self.subscriptions[xds_type as usize].as_mut()?;
        let transition = Transition {
            protocol: self.protocol,
            xds_type,
            subscription,
            sets: &sets,
            differences: &differences,
            frozen: &frozen,
            released: &released,
        };
        let Some(content) = transition.content() else {
            subscription.on_unchanged(sets);
            return None;
        };
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        subscription.on_sent(sets, content.names, &nonce, version);
        Some(Outgoing {
            xds_type,
            version: version.to_owned(),
            nonce,
            resources: content.resources,
            removed: content.removed,
        })
    }

    /// Keeps the clusters that left the plan: the client's routes may still name them.
    fn hold_clusters(&mut self, sets: &[Arc<ResourceSet>], differences: &[Arc<Difference>]) {
        let Some(clusters) = self.subscriptions[XdsType::Cluster as usize].as_mut() else {
            return;
        };
        let refused = std::mem::take(&mut self.refused);
        let gone = differences.iter().flat_map(|difference| &difference.removed);
        let gone: Vec<_> = gone
            .map(|item| match refused.get(&item.name) {
                // What it rejected would be rejected again.
                Some(before) => (item.name.clone(), before.clone()),
                None => (item.name.clone(), Some(Arc::clone(item))),
            })
            .collect();
        if gone.iter().any(|(name, _)| refused.contains_key(name)) {
            // Not later but now: it is what the client is asked about.
            clusters.owe_response();
        }
        let brought = clusters
            .initial_versions()
            .keys()
            .map(|name| (name.clone(), None));
        let held = clusters
            .held_resources()
            .iter()
            .map(|(name, item)| (name.clone(), item.clone()));
        let mut held: BTreeMap<Str, Option<Arc<Encoded>>> = brought.chain(gone).chain(held).collect();
        held.retain(|name, _| {
            find(sets, name).is_none()
                && !is_failed(sets, name)
                && clusters.wants(name)
                && !refused.get(name).is_some_and(Option::is_none)
        });
        clusters.set_held(held);
    }

    /// Notes which endpoints must follow new and changed clusters.
    fn expect_endpoints(&mut self, sets: &[Arc<ResourceSet>], differences: &[Arc<Difference>]) {
        self.expected_endpoints
            .retain(|name| find(sets, name).is_some_and(|item| item.awaits_endpoints));
        let Some(endpoints) = self.subscriptions[XdsType::Endpoint as usize].as_mut() else {
            return;
        };
        let changed = differences.iter().flat_map(|difference| &difference.changed);
        let changed = changed.filter(|item| item.awaits_endpoints);
        for name in changed.map(|item| item.name.clone()) {
            if endpoints.names().contains(&name) {
                // Envoy warms a changed cluster anew and waits for its endpoints, without asking for them.
                endpoints.force(name);
                self.pending[XdsType::Endpoint as usize] = true;
                self.owes_endpoints = true;
            } else {
                self.expected_endpoints.insert(name);
            }
        }
    }

    fn everything_is_pending(&mut self) {
        self.pending = [true; 4];
        self.owes_endpoints = true;
    }

    /// Whether a type has something to send and waits for the clusters, as no request waits for it.
    fn is_held_back(&self, xds_type: XdsType) -> bool {
        !self.impatient
            && matches!(xds_type, XdsType::Listener | XdsType::Route)
            && self.pending[xds_type as usize]
            && self
                .subscription(xds_type)
                .is_some_and(|subscription| !subscription.owes_response())
            && self.clusters_are_unsettled()
    }

    /// Clusters and endpoints are on their way, or the client has yet to ask for endpoints.
    fn clusters_are_unsettled(&self) -> bool {
        let is_unanswered = |xds_type, nonce: Option<&str>| {
            self.subscription(xds_type)
                .is_some_and(|subscription| subscription.unanswered(nonce) > 0)
        };
        let clusters =
            self.subscription(XdsType::Cluster).is_some() && self.pending[XdsType::Cluster as usize];
        let endpoints = self.subscription(XdsType::Endpoint).is_some()
            && self.pending[XdsType::Endpoint as usize]
            && self.owes_endpoints;
        clusters
            || endpoints
            || is_unanswered(XdsType::Cluster, None)
            || is_unanswered(XdsType::Endpoint, Some(&self.awaited_endpoints))
            || !self.expected_endpoints.is_empty()
    }

    /// Whether clusters are held that nothing at the client names any more.
    fn can_release(&self) -> bool {
        let clusters = self.subscription(XdsType::Cluster);
        let is_behind = |xds_type| self.subscription(xds_type).is_some_and(Subscription::is_behind);
        !self.pending.contains(&true)
            && !self.subscriptions.iter().flatten().any(Subscription::is_awaiting)
            && !is_behind(XdsType::Listener)
            && !is_behind(XdsType::Route)
            && clusters.is_some_and(|clusters| clusters.held().next().is_some())
    }

    fn release(&mut self) {
        if let Some(clusters) = self.subscriptions[XdsType::Cluster as usize].as_mut() {
            if self.protocol == Protocol::Delta {
                self.released.extend(clusters.held().cloned());
            }
            clusters.set_held(BTreeMap::new());
            clusters.owe_response();
            self.pending[XdsType::Cluster as usize] = true;
        }
    }

    fn held_clusters(&self) -> BTreeSet<Str> {
        let clusters = self.subscription(XdsType::Cluster);
        clusters
            .iter()
            .flat_map(|clusters| clusters.held())
            .cloned()
            .collect()
    }
}
