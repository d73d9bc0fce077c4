//! All types of one stream, and the order in which they move.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::Framed;
use mesh_config::Str;
use pilot_networking::XdsType;

use super::{Protocol, Request, Step, Subscription};
use crate::resource::{Difference, Encoded, ResourceSet, frame, frame_delta};

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

/// What is known about a client, and what it gets next.
///
/// A publication moves through the types in the order of [`XdsType::ALL`]. Listeners and routes wait until the client
/// has acknowledged the clusters and their endpoints, so that no request is routed to a cluster that is not there yet
/// (P8.3). A cluster that leaves the plan stays with the client until the listeners and routes that could name it are
/// acknowledged: make before break.
#[derive(Debug)]
pub struct StreamState {
    protocol: Protocol,
    subscriptions: [Option<Subscription>; 4],
    /// Types that may have something to send.
    pending: [bool; 4],
    /// New clusters whose endpoints the client has yet to ask for.
    expected_endpoints: BTreeSet<Str>,
    /// Clusters to name as gone in the next delta response.
    released: Vec<Arc<Encoded>>,
    /// Whether waiting for clusters was given up until the next publication.
    impatient: bool,
    nonces: u64,
}

/// What is to be sent of one type.
struct Content {
    resources: Framed,
    removed: Vec<String>,
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
            released: Vec::new(),
            impatient: false,
            nonces: 0,
        }
    }

    /// Takes over a request.
    pub fn on_request(&mut self, xds_type: XdsType, request: &Request) -> Step {
        let step = match &mut self.subscriptions[xds_type as usize] {
            Some(subscription) => subscription.on_request(request),
            slot => {
                let wildcard = matches!(xds_type, XdsType::Cluster | XdsType::Listener)
                    && (self.protocol == Protocol::StateOfTheWorld
                        || request.subscribe.is_empty()
                        || request.subscribe.iter().any(|name| name == "*"));
                *slot = Some(Subscription::new(self.protocol, wildcard, request));
                Step::Respond
            }
        };
        match (&step, xds_type) {
            // Endpoints of rejected clusters will never be asked for.
            (Step::Nack(..), XdsType::Cluster) => self.expected_endpoints.clear(),
            (Step::Respond, _) => self.pending[xds_type as usize] = true,
            _ => {}
        }
        if let Some(endpoints) = &self.subscriptions[XdsType::Endpoint as usize] {
            self.expected_endpoints
                .retain(|name| !endpoints.names().contains(name));
        }
        step
    }

    /// Notes that everything may have changed.
    pub fn on_publish(&mut self) {
        self.pending = [true; 4];
        self.impatient = false;
    }

    /// Makes the next responses whole, whether or not anything changed.
    pub fn resend_all(&mut self) {
        for subscription in self.subscriptions.iter_mut().flatten() {
            subscription.restart();
        }
        self.pending = [true; 4];
    }

    /// Whether listeners or routes are held back until the client acknowledges its clusters.
    pub fn is_waiting_for_clusters(&self) -> bool {
        !self.impatient
            && (self.pending[XdsType::Listener as usize] || self.pending[XdsType::Route as usize])
            && self.clusters_are_unsettled()
    }

    /// Stops holding listeners and routes back: the client does not answer.
    pub fn give_up_waiting(&mut self) {
        self.impatient = true;
    }

    /// Whether anything is to be looked at by [`Self::advance`].
    pub fn is_idle(&self) -> bool {
        !self.pending.contains(&true) && !self.can_release()
    }

    /// Whether the client acknowledged everything that it was sent.
    pub fn is_settled(&self) -> bool {
        self.is_idle() && !self.subscriptions.iter().flatten().any(Subscription::is_awaiting)
    }

    /// The subscription of a type.
    pub fn subscription(&self, xds_type: XdsType) -> Option<&Subscription> {
        self.subscriptions[xds_type as usize].as_ref()
    }

    /// The next response, if there is one. `plan` gives the resources of a type for the names subscribed to.
    pub fn advance(
        &mut self,
        version: &str,
        plan: &mut dyn FnMut(XdsType, &BTreeSet<Str>) -> Vec<Arc<ResourceSet>>,
    ) -> Option<Outgoing> {
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

    fn advance_type(
        &mut self,
        xds_type: XdsType,
        version: &str,
        plan: &mut dyn FnMut(XdsType, &BTreeSet<Str>) -> Vec<Arc<ResourceSet>>,
    ) -> Option<Outgoing> {
        if !self.pending[xds_type as usize] {
            return None;
        }
        let owes = match self.subscription(xds_type) {
            Some(subscription) => subscription.owes_response(),
            None => {
                self.pending[xds_type as usize] = false;
                return None;
            }
        };
        let follows_clusters = matches!(xds_type, XdsType::Listener | XdsType::Route);
        if follows_clusters && !owes && !self.impatient && self.clusters_are_unsettled() {
            return None;
        }
        self.pending[xds_type as usize] = false;

        let subscription = self.subscription(xds_type)?;
        let mut sets = plan(xds_type, subscription.names());
        if !subscription.is_wildcard() && matches!(xds_type, XdsType::Cluster | XdsType::Listener) {
            sets = vec![only(xds_type, &sets, subscription.names())];
        }
        let content = self.content(xds_type, &sets);
        let subscription = self.subscriptions[xds_type as usize].as_mut()?;
        let Some(content) = content else {
            subscription.on_unchanged(sets);
            return None;
        };
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        subscription.on_sent(sets, &nonce, version);
        Some(Outgoing {
            xds_type,
            version: version.to_owned(),
            nonce,
            resources: content.resources,
            removed: content.removed,
        })
    }

    /// What to send so that the client holds `sets`; `None` when it does already.
    fn content(&mut self, xds_type: XdsType, sets: &[Arc<ResourceSet>]) -> Option<Content> {
        let subscription = self.subscriptions[xds_type as usize].as_ref()?;
        let first = subscription.sent().is_empty();
        let differences: Vec<Arc<Difference>> = if first {
            Vec::new()
        } else {
            sets.iter()
                .zip(subscription.sent())
                .map(|(new, old)| new.difference_from(old))
                .collect()
        };
        if xds_type == XdsType::Cluster {
            self.follow_clusters(sets, &differences);
        }
        match self.protocol {
            Protocol::StateOfTheWorld => self.sotw_content(xds_type, sets, &differences),
            Protocol::Delta => self.delta_content(xds_type, sets, &differences),
        }
    }

    fn sotw_content(
        &self,
        xds_type: XdsType,
        sets: &[Arc<ResourceSet>],
        differences: &[Arc<Difference>],
    ) -> Option<Content> {
        let subscription = self.subscription(xds_type)?;
        let mut resources = Framed::default();
        let whole = subscription.sent().is_empty();
        if subscription.is_wildcard() {
            let changed = differences
                .iter()
                .any(|difference| !difference.changed.is_empty());
            let removed = differences
                .iter()
                .any(|difference| !difference.removed.is_empty());
            // Clusters that are gone are held, see `follow_clusters`: their absence is sent later.
            let matters = changed || (removed && xds_type != XdsType::Cluster);
            if !matters && !subscription.owes_response() {
                return None;
            }
            sets.iter().for_each(|set| resources.extend(set.framed()));
            resources.extend(&frame(xds_type, subscription.held()));
        } else if whole {
            sets.iter().for_each(|set| resources.extend(set.framed()));
        } else {
            let held = self.held_names();
            if subscription.forced().is_empty() && held.is_empty() {
                differences
                    .iter()
                    .for_each(|difference| resources.extend(difference.framed(xds_type)));
            } else {
                resources = frame(xds_type, changed(subscription, sets, differences, &held).iter());
            }
            if resources.is_empty() && !subscription.owes_response() {
                return None;
            }
        }
        Some(Content {
            resources,
            removed: Vec::new(),
        })
    }

    fn delta_content(
        &mut self,
        xds_type: XdsType,
        sets: &[Arc<ResourceSet>],
        differences: &[Arc<Difference>],
    ) -> Option<Content> {
        let released = if xds_type == XdsType::Cluster {
            std::mem::take(&mut self.released)
        } else {
            Vec::new()
        };
        let subscription = self.subscription(xds_type)?;
        let (changed, mut removed): (Vec<Arc<Encoded>>, Vec<String>) = if subscription.sent().is_empty() {
            let held = subscription.initial_versions();
            let items = || sets.iter().flat_map(|set| set.items());
            let changed = items()
                .filter(|item| held.get(&item.name) != Some(&item.version))
                .cloned()
                .collect();
            let gone = held
                .keys()
                .filter(|name| !sets.iter().any(|set| set.get(name).is_some()));
            (changed, gone.map(ToString::to_string).collect())
        } else {
            let removed = differences.iter().flat_map(|difference| &difference.removed);
            let matters = |name: &Str| {
                xds_type != XdsType::Cluster
                    && (subscription.is_wildcard() || subscription.names().contains(name))
            };
            let removed = removed
                .filter(|item| matters(&item.name))
                .map(|item| item.name.to_string())
                .collect();
            (
                changed(subscription, sets, differences, &self.held_names()),
                removed,
            )
        };
        removed.extend(released.iter().map(|item| item.name.to_string()));
        if changed.is_empty() && removed.is_empty() && !subscription.owes_response() {
            return None;
        }
        Some(Content {
            resources: frame_delta(xds_type, changed.iter()),
            removed,
        })
    }

    /// Draws the consequences of a change of clusters: which endpoints must follow, which clusters are held.
    fn follow_clusters(&mut self, sets: &[Arc<ResourceSet>], differences: &[Arc<Difference>]) {
        let has_routes = [XdsType::Listener, XdsType::Route]
            .into_iter()
            .any(|t| self.subscription(t).is_some());
        if let Some(clusters) = self.subscriptions[XdsType::Cluster as usize].as_mut() {
            let gone = differences.iter().flat_map(|difference| &difference.removed);
            let mut held: Vec<Arc<Encoded>> = clusters.held().iter().chain(gone).cloned().collect();
            held.retain(|item| !sets.iter().any(|set| set.get(&item.name).is_some()));
            held.sort_by(|a, b| a.name.cmp(&b.name));
            held.dedup_by(|a, b| a.name == b.name);
            if has_routes {
                clusters.set_held(held);
            } else {
                self.released.extend(held);
                clusters.owe_response_if(!self.released.is_empty());
            }
        }
        if let Some(endpoints) = self.subscriptions[XdsType::Endpoint as usize].as_mut() {
            for difference in differences {
                let eds = difference.changed.iter().filter(|item| item.awaits_endpoints);
                for item in eds {
                    if difference.added.contains(&item.name) && !endpoints.names().contains(&item.name) {
                        self.expected_endpoints.insert(item.name.clone());
                    } else {
                        // Envoy warms a changed cluster anew and waits for its endpoints, without asking for them.
                        endpoints.force([item.name.clone()]);
                        self.pending[XdsType::Endpoint as usize] = true;
                    }
                }
            }
        }
    }

    /// Clusters and endpoints are on their way, or the client has yet to ask for endpoints.
    fn clusters_are_unsettled(&self) -> bool {
        let moving = |xds_type: XdsType| {
            self.subscription(xds_type)
                .is_some_and(|subscription| subscription.is_awaiting() || self.pending[xds_type as usize])
        };
        moving(XdsType::Cluster) || moving(XdsType::Endpoint) || !self.expected_endpoints.is_empty()
    }

    /// Whether clusters are held that nothing names any more.
    fn can_release(&self) -> bool {
        let has_held = self
            .subscription(XdsType::Cluster)
            .is_some_and(|clusters| !clusters.held().is_empty());
        let awaiting = || self.subscriptions.iter().flatten().any(Subscription::is_awaiting);
        has_held && !self.pending.contains(&true) && !awaiting()
    }

    fn release(&mut self) {
        if let Some(clusters) = self.subscriptions[XdsType::Cluster as usize].as_mut() {
            if self.protocol == Protocol::Delta {
                self.released.extend(clusters.held().iter().cloned());
            }
            clusters.set_held(Vec::new());
            clusters.owe_response_if(true);
            self.pending[XdsType::Cluster as usize] = true;
        }
    }

    fn held_names(&self) -> BTreeSet<Str> {
        let clusters = self.subscription(XdsType::Cluster);
        clusters
            .iter()
            .flat_map(|clusters| clusters.held())
            .map(|item| item.name.clone())
            .collect()
    }
}

/// Changed and forced resources, each once. Endpoints of held clusters stay as the client has them: the plan knows
/// the cluster no more and would take its endpoints away.
fn changed(
    subscription: &Subscription,
    sets: &[Arc<ResourceSet>],
    differences: &[Arc<Difference>],
    held: &BTreeSet<Str>,
) -> Vec<Arc<Encoded>> {
    let forced = subscription
        .forced()
        .iter()
        .filter_map(|name| sets.iter().find_map(|set| set.get(name)));
    let mut changed: Vec<Arc<Encoded>> = differences
        .iter()
        .flat_map(|difference| &difference.changed)
        .chain(forced)
        .cloned()
        .collect();
    changed.retain(|item| !held.contains(&item.name));
    changed.sort_by(|a, b| a.name.cmp(&b.name));
    changed.dedup_by(|a, b| a.name == b.name);
    changed
}

/// The named resources of all sets.
fn only(xds_type: XdsType, sets: &[Arc<ResourceSet>], names: &BTreeSet<Str>) -> Arc<ResourceSet> {
    let items = names
        .iter()
        .filter_map(|name| sets.iter().find_map(|set| set.get(name)))
        .cloned()
        .collect();
    Arc::new(ResourceSet::new(xds_type, items, Vec::new()))
}
