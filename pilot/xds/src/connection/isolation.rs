//! Leaving out what the proxy rejects (pain 10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_config::ConfigKey;
use pilot_model::{Published, Rev};
use pilot_networking::{Origin, XdsType};

use super::Connection;
use crate::generator::ProxyContext;
use crate::wire::Wire;

/// How long publications wait for a search. Answers about one publication say little about another.
const SEARCH_TIME: Duration = Duration::from_secs(5);

impl<W: Wire> Connection<W> {
    /// Looks for the object behind a rejection.
    pub(super) fn on_rejected(&mut self, xds_type: XdsType, reason: &str) {
        let (Some(state), Some(published)) = (&self.state, &self.published) else {
            return;
        };
        let Some(subscription) = state.subscription(xds_type) else {
            return;
        };
        let mut candidates = Vec::new();
        for origin in subscription.blame(reason) {
            match origin {
                Origin::Object(object) => candidates.push(object),
                Origin::Host(host) => {
                    let services = published.snapshot.services.by_host(host.as_str());
                    candidates.extend(services.map(|service| service.object()));
                }
            }
        }
        let known = self.shared.verdicts.of(published);
        if !self.isolation.on_rejected(xds_type, reason, candidates, &known) {
            tracing::warn!(connection = self.id, %xds_type, "no object is known that could be left out");
            return;
        }
        self.search_until = Some(Instant::now() + SEARCH_TIME);
        self.leave_out();
    }

    /// Goes on with a search when the proxy has answered; returns whether there is something else to send.
    pub(super) fn isolate(&mut self) -> bool {
        let (Some(state), Some(xds_type)) = (&self.state, self.isolation.searches()) else {
            return false;
        };
        if !state.is_answered(xds_type) {
            return false;
        }
        let subscription = state.subscription(xds_type);
        let accepted = subscription.is_none_or(|subscription| subscription.report().last_error.is_empty());
        self.isolation.on_outcome(accepted);
        self.leave_out();
        true
    }

    /// When publications no longer wait for the running search.
    pub(super) fn end_of_search(&self) -> Option<Instant> {
        self.isolation
            .searches()
            .and(self.search_until)
            .filter(|_| self.is_outdated)
    }

    /// Whether a newer publication waits until the running search is done.
    pub(super) fn is_searching(&self) -> bool {
        let until = self.isolation.searches().and(self.search_until);
        until.is_some_and(|until| Instant::now() < until)
    }

    /// What the proxy is to be served of a publication.
    pub(super) fn allowed(&mut self, published: &Published) -> Published {
        self.isolation.on_publish(|object| version(published, object));
        published.without(&self.isolation.excluded())
    }

    /// Serves what is left when the objects in question are left out.
    fn leave_out(&mut self) {
        let (Some(published), Some(proxy)) = (&self.published, &self.proxy) else {
            return;
        };
        self.isolation.settle(|object| version(published, object));
        for object in self.isolation.guilty().keys() {
            self.shared.verdicts.add(object, version(published, object));
        }
        let left = published.without(&self.isolation.excluded());
        self.context = Some(ProxyContext::new(Arc::clone(proxy), left));
        if let Some(state) = &mut self.state {
            state.on_left_out();
        }
        self.shared.clients.isolate(self.id, self.isolation.guilty());
        if self.isolation.searches().is_none() {
            for (object, finding) in self.isolation.guilty() {
                tracing::error!(
                    proxy = %proxy.node_id, %object, xds_type = %finding.xds_type, reason = finding.reason,
                    "object is left out for a proxy that rejects it"
                );
            }
        }
    }
}

/// What a verdict about an object holds for.
pub(crate) type Version = (Option<Rev>, Rev);

fn version(published: &Published, object: &ConfigKey) -> Version {
    let snapshot = &published.snapshot;
    (snapshot.revision_of(object), snapshot.mesh.rev())
}

/// Objects that some proxy could not stand: the first to be suspected when another proxy rejects its configuration.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    objects: Mutex<BTreeMap<ConfigKey, Version>>,
}

// === impl Verdicts ===

impl Verdicts {
    fn add(&self, object: &ConfigKey, version: Version) {
        self.lock().insert(object.clone(), version);
    }

    /// Those that are the same still.
    fn of(&self, published: &Published) -> BTreeSet<ConfigKey> {
        let mut objects = self.lock();
        objects.retain(|object, known| version(published, object) == *known);
        objects.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConfigKey, Version>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
