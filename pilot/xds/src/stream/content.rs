//! What a response holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::Framed;
use mesh_config::Str;
use pilot_networking::XdsType;

use super::{Protocol, Subscription};
use crate::names::Names;
use crate::resource::{Difference, Encoded, ResourceSet, frame, frame_delta, same};

/// What is to be sent of one type.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) resources: Framed,
    /// Names of resources that are gone (delta).
    pub(super) removed: Vec<String>,
    /// What the response is about, as far as its rejection would leave the client's state in doubt.
    pub(super) names: Vec<Str>,
}

/// The way from what a client was sent to what it should have.
#[derive(Debug)]
pub(super) struct Transition<'a> {
    pub(super) protocol: Protocol,
    pub(super) xds_type: XdsType,
    pub(super) subscription: &'a Subscription,
    pub(super) sets: &'a [Arc<ResourceSet>],
    pub(super) differences: &'a [Arc<Difference>],
    /// Names whose resources stay with the client as they are.
    pub(super) frozen: &'a BTreeSet<Str>,
    /// Names of clusters that the client no longer needs (delta).
    pub(super) released: &'a [Str],
}

/// How sets differ from those that a client was sent. Nothing differs from nothing: a first response is whole anyway.
pub(super) fn differences(new: &[Arc<ResourceSet>], old: &[Arc<ResourceSet>]) -> Vec<Arc<Difference>> {
    if old.is_empty() {
        Vec::new()
    } else if new.len() == old.len() {
        new.iter()
            .zip(old)
            .map(|(new, old)| new.difference_from(old))
            .collect()
    } else {
        // All of a type became some, or the other way round.
        vec![merged(new).difference_from(&merged(old))]
    }
}

/// The named resources of all sets.
pub(super) fn only(xds_type: XdsType, sets: &[Arc<ResourceSet>], names: &Names) -> Arc<ResourceSet> {
    let items = names.iter().filter_map(|name| find(sets, name)).cloned();
    let failed = names.iter().filter(|name| is_failed(sets, name)).cloned();
    let set = ResourceSet::new(xds_type, items.collect(), Vec::new());
    Arc::new(set.with_failed(failed.collect()))
}

/// Puts the client's own resources where sets lack those that could not be built.
pub(super) fn keep_last_good(sets: &mut [Arc<ResourceSet>], sent: &[Arc<ResourceSet>]) {
    for set in sets.iter_mut().filter(|set| !set.failed().is_empty()) {
        let kept = set.failed().iter().filter_map(|name| find(sent, name));
        let items = set.items().iter().chain(kept).cloned().collect();
        *set = Arc::new(set.with_items(sorted(items)));
    }
}

/// Puts what the client was sent in the place of what is different now, except for what it rejected and wants anew.
/// Returns whether anything was different.
pub(super) fn keep_sent(sets: &mut [Arc<ResourceSet>], subscription: &Subscription) -> bool {
    let (sent, suspect) = (subscription.sent(), subscription.suspect());
    let kept = |item: &Arc<Encoded>| {
        find(sent, &item.name).filter(|known| !same(known, item) && !suspect.contains(&item.name))
    };
    let mut keeps = false;
    for set in sets {
        // Others have it as well: it is replaced only when it must be.
        if set.items().iter().any(|item| kept(item).is_some()) {
            let items = set.items().iter().map(|item| kept(item).unwrap_or(item));
            *set = Arc::new(set.with_items(items.cloned().collect()));
            keeps = true;
        }
    }
    keeps
}

pub(super) fn find<'a>(sets: &'a [Arc<ResourceSet>], name: &str) -> Option<&'a Arc<Encoded>> {
    sets.iter().find_map(|set| set.get(name))
}

/// Whether a resource should be there, but could not be built.
pub(super) fn is_failed(sets: &[Arc<ResourceSet>], name: &str) -> bool {
    sets.iter()
        .any(|set| set.failed().iter().any(|failed| &**failed == name))
}

fn merged(sets: &[Arc<ResourceSet>]) -> Arc<ResourceSet> {
    let xds_type = sets.first().map_or(XdsType::Cluster, |set| set.xds_type());
    let items = sets.iter().flat_map(|set| set.items()).cloned().collect();
    Arc::new(ResourceSet::new(xds_type, sorted(items), Vec::new()))
}

fn sorted(mut items: Vec<Arc<Encoded>>) -> Vec<Arc<Encoded>> {
    items.sort_by(|a, b| a.name.cmp(&b.name));
    items.dedup_by(|a, b| a.name == b.name);
    items
}

// === impl Transition ===

impl Transition<'_> {
    /// What to send; `None` when the client has everything already.
    pub(super) fn content(&self) -> Option<Content> {
        match self.protocol {
            Protocol::StateOfTheWorld if self.subscription.is_wildcard() => self.everything(),
            _ => self.what_differs(),
        }
    }

    /// Clusters and listeners of state of the world: what is missing in a response is gone.
    fn everything(&self) -> Option<Content> {
        let mut differences = self.differences.iter();
        // Clusters that are gone are held: their absence is sent later.
        let matters = differences.any(|difference| {
            !difference.changed.is_empty()
                || (!difference.removed.is_empty() && self.xds_type != XdsType::Cluster)
        });
        if !matters && !self.subscription.owes_response() {
            return None;
        }
        let mut resources = Framed::default();
        self.sets.iter().for_each(|set| resources.extend(set.framed()));
        let held = self.subscription.held_resources().values().flatten();
        resources.extend(&frame(self.xds_type, held));
        Some(Content {
            resources,
            ..Content::default()
        })
    }

    fn what_differs(&self) -> Option<Content> {
        let resent = self.resent();
        let removed = match self.protocol {
            Protocol::Delta => self.removed(&resent),
            Protocol::StateOfTheWorld => BTreeSet::new(),
        };
        let (names, resources) = match self.shared(&resent) {
            Some(shared) => shared,
            None => {
                let items = self.items(&resent);
                let names = items.iter().map(|item| item.name.clone()).collect();
                (names, self.frame(&items))
            }
        };
        if resources.is_empty() && removed.is_empty() && !self.subscription.owes_response() {
            return None;
        }
        Some(Content {
            resources,
            names: names.into_iter().chain(removed.iter().cloned()).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
        })
    }

    /// What the client rejected and is sent once more.
    ///
    /// A client that rejects a response may have taken parts of it or none. The parts are sent again together as soon
    /// as one of them changes, as only then there is hope; what is gone comes along with anything.
    fn resent(&self) -> BTreeSet<Str> {
        let suspect = self.subscription.suspect();
        if suspect.is_empty() {
            return BTreeSet::new();
        }
        let mut touched = self.differences.iter().flat_map(|difference| {
            let items = difference.changed.iter().chain(&difference.removed);
            items.map(|item| &item.name)
        });
        let is_touched = touched.any(|name| suspect.contains(name));
        let again = suspect
            .iter()
            .filter(|name| is_touched || find(self.sets, name).is_none());
        again.cloned().collect()
    }

    /// The response that other clients get as well, unless there is something special about this one.
    fn shared(&self, resent: &BTreeSet<Str>) -> Option<(Vec<Str>, Framed)> {
        let subscription = self.subscription;
        if !self.frozen.is_empty() || !resent.is_empty() {
            return None;
        }
        let mut names = Vec::new();
        let mut resources = Framed::default();
        if subscription.is_whole() {
            if !subscription.initial_versions().is_empty() {
                return None;
            }
            for set in self.sets {
                names.extend(set.items().iter().map(|item| item.name.clone()));
                resources.extend(match self.protocol {
                    Protocol::StateOfTheWorld => set.framed(),
                    Protocol::Delta => set.framed_delta(),
                });
            }
        } else {
            if !subscription.forced().is_empty() {
                return None;
            }
            for difference in self.differences {
                names.extend(difference.changed.iter().map(|item| item.name.clone()));
                resources.extend(match self.protocol {
                    Protocol::StateOfTheWorld => difference.framed(self.xds_type),
                    Protocol::Delta => difference.framed_delta(self.xds_type),
                });
            }
        }
        Some((names, resources))
    }

    /// The resources of a response that is this client's own, by name.
    fn items(&self, resent: &BTreeSet<Str>) -> Vec<Arc<Encoded>> {
        let subscription = self.subscription;
        let mut items: Vec<&Arc<Encoded>> = if subscription.is_whole() {
            let versions = subscription.initial_versions();
            let all = self.sets.iter().flat_map(|set| set.items());
            all.filter(|item| versions.get(&item.name) != Some(item.version()))
                .collect()
        } else {
            let changed = self.differences.iter().flat_map(|difference| &difference.changed);
            let named = subscription.forced().iter().chain(resent);
            changed
                .chain(named.filter_map(|name| find(self.sets, name)))
                .collect()
        };
        items.retain(|item| !self.frozen.contains(&item.name));
        items.sort_by(|a, b| a.name.cmp(&b.name));
        items.dedup_by(|a, b| a.name == b.name);
        items.into_iter().cloned().collect()
    }

    /// The names to report as gone: what the client has or asks for, and what is not there.
    fn removed(&self, resent: &BTreeSet<Str>) -> BTreeSet<Str> {
        let subscription = self.subscription;
        let mut removed: BTreeSet<Str> = if subscription.is_whole() {
            let known = subscription.initial_versions().keys();
            let known = known.chain(subscription.suspect());
            known.chain(subscription.names()).cloned().collect()
        } else {
            subscription.forced().iter().chain(resent).cloned().collect()
        };
        let gone = self.differences.iter().flat_map(|difference| &difference.removed);
        removed.extend(gone.map(|item| item.name.clone()));
        removed.retain(|name| {
            find(self.sets, name).is_none()
                && !is_failed(self.sets, name)
                && !subscription.held_resources().contains_key(name)
                && (subscription.wants(name) || resent.contains(name))
        });
        removed.extend(self.released.iter().cloned());
        removed
    }

    fn frame(&self, items: &[Arc<Encoded>]) -> Framed {
        match self.protocol {
            Protocol::StateOfTheWorld => frame(self.xds_type, items),
            Protocol::Delta => frame_delta(self.xds_type, items),
        }
    }
}
