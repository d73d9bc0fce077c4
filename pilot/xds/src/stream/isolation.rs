//! Finding the objects because of which a client rejects its configuration, and leaving out those alone (pain 10).
//!
//! Envoy rejects a response without always saying which part of it is bad. Which objects the parts were made from is
//! known, so halves of them are left out until the bad ones are found: about a dozen responses for a thousand objects.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{ConfigKey, Kind};
use pilot_model::Rev;
use pilot_networking::XdsType;

/// Responses that one search may take. What is not cleared by then stays left out.
const MAX_ROUNDS: u32 = 64;

/// The objects that are left out for one client.
#[derive(Debug, Default)]
pub struct Isolation {
    guilty: BTreeMap<ConfigKey, Finding>,
    search: Option<Search>,
    /// Rejections of other types that wait for the running search.
    later: BTreeMap<XdsType, (Vec<ConfigKey>, String)>,
}

/// Why an object is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The type of the resources that the client rejects.
    pub xds_type: XdsType,
    /// What the client says.
    pub reason: String,
    /// The version of the object, and of the mesh-wide configuration: with another the object is tried again.
    version: Option<(Option<Rev>, Rev)>,
}

/// A running search. The client accepts what is made without all objects in here, as far as is known.
#[derive(Debug)]
struct Search {
    xds_type: XdsType,
    reason: String,
    test: Test,
    /// Not looked at yet, left out meanwhile.
    waiting: Vec<ConfigKey>,
    rounds: u32,
}

/// What the client is asked.
#[derive(Debug)]
enum Test {
    /// Whether it accepts everything but these, which another client could not stand.
    Without(Vec<ConfigKey>, Vec<ConfigKey>),
    /// Whether it accepts these, of which nothing is known.
    All(Vec<ConfigKey>),
    /// Whether it accepts the first so many of these, at least one of which is bad.
    First(usize, Vec<ConfigKey>),
}

// === impl Isolation ===

impl Isolation {
    /// The objects to leave out now.
    pub fn excluded(&self) -> BTreeSet<ConfigKey> {
        let mut excluded: BTreeSet<ConfigKey> = self.guilty.keys().cloned().collect();
        if let Some(search) = &self.search {
            excluded.extend(search.waiting.iter().cloned());
            match &search.test {
                Test::Without(objects, _) => excluded.extend(objects.iter().cloned()),
                Test::All(_) => {}
                Test::First(count, objects) => excluded.extend(objects[*count..].iter().cloned()),
            }
        }
        excluded
    }

    /// The objects that the client cannot stand, and why.
    pub fn guilty(&self) -> &BTreeMap<ConfigKey, Finding> {
        &self.guilty
    }

    /// The type whose answers decide how the search goes on.
    pub fn searches(&self) -> Option<XdsType> {
        self.search.as_ref().map(|search| search.xds_type)
    }

    /// Takes over a rejection. `candidates` are the objects behind what is new in the response, `known` those that
    /// other clients rejected. Returns whether there is something to try.
    pub fn on_rejected(
        &mut self,
        xds_type: XdsType,
        reason: &str,
        mut candidates: Vec<ConfigKey>,
        known: &BTreeSet<ConfigKey>,
    ) -> bool {
        candidates.retain(|object| !self.guilty.contains_key(object));
        // What is made of a service alone is never bad, and without it its callers lose more than a route. Nor are the
        // routes of a Gateway without rules, while leaving it out closes its ports.
        let innocent = match xds_type {
            XdsType::Listener => Some(Kind::ServiceEntry),
            XdsType::Route => Some(Kind::Gateway),
            XdsType::Cluster | XdsType::Endpoint => None,
        };
        if xds_type == XdsType::Route {
            // It says which services callers see, and nothing about any: without it they would see all.
            candidates.retain(|object| object.kind != Kind::Sidecar);
        }
        if let Some(innocent) = innocent {
            let (services, others): (Vec<_>, Vec<_>) = candidates
                .into_iter()
                .partition(|object| rank(object.kind) <= rank(innocent));
            candidates = if others.is_empty() && self.guilty.is_empty() {
                services
            } else {
                others
            };
        }
        if candidates.is_empty() {
            return false;
        }
        if let Some(search) = &self.search {
            if search.xds_type != xds_type {
                self.later.insert(xds_type, (candidates, reason.to_owned()));
            }
            return false;
        }
        // The first half is tried first: services are hardly ever to blame.
        candidates.sort_by(|a, b| (rank(a.kind), a).cmp(&(rank(b.kind), b)));
        candidates.dedup();
        let (known, unknown): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|object| known.contains(object));
        let test = if known.is_empty() {
            Test::halves(unknown)
        } else {
            Test::Without(known, unknown)
        };
        self.search = Some(Search {
            xds_type,
            reason: reason.to_owned(),
            test,
            waiting: Vec::new(),
            rounds: 0,
        });
        self.conclude();
        true
    }

    /// Takes over how the client answered what was made without [`Self::excluded`].
    pub fn on_outcome(&mut self, accepted: bool) {
        let Some(search) = &mut self.search else {
            return;
        };
        search.rounds += 1;
        let test = std::mem::replace(&mut search.test, Test::All(Vec::new()));
        search.test = match (test, accepted) {
            (Test::Without(known, _), true) => Test::First(0, known),
            (Test::Without(known, unknown), false) => {
                search.waiting.extend(known);
                Test::halves(unknown)
            }
            (Test::All(_), true) => Test::All(Vec::new()),
            (Test::All(objects), false) => Test::halves(objects),
            (Test::First(count, mut objects), true) => Test::halves(objects.split_off(count)),
            (Test::First(count, mut objects), false) => {
                search.waiting.extend(objects.split_off(count));
                Test::halves(objects)
            }
        };
        if let Test::First(0, known) = &mut search.test {
            // Every one of them is bad for others, and the client accepts what is left.
            let known = std::mem::take(known);
            search.test = Test::All(Vec::new());
            self.condemn(known);
        }
        self.conclude();
    }

    /// Forgets findings about objects that are not the same any more. `version` gives those of an object and of the
    /// mesh-wide configuration.
    pub fn on_publish(&mut self, version: impl Fn(&ConfigKey) -> (Option<Rev>, Rev)) {
        self.guilty.retain(|object, finding| {
            let current = version(object);
            // A verdict is about the publication that the search ran in.
            current.0.is_some() && *finding.version.get_or_insert(current) == current
        });
    }

    /// Notes which versions of objects findings are about, as soon as they are made.
    pub fn settle(&mut self, version: impl Fn(&ConfigKey) -> (Option<Rev>, Rev)) {
        for (object, finding) in &mut self.guilty {
            finding.version.get_or_insert_with(|| version(object));
        }
    }

    /// Ends tests whose answer is known, and the search when nothing is left to be found.
    fn conclude(&mut self) {
        while let Some(search) = &mut self.search {
            let is_done = matches!(&search.test, Test::All(objects) if objects.is_empty());
            if search.rounds >= MAX_ROUNDS && !(is_done && search.waiting.is_empty()) {
                let mut left = std::mem::take(&mut search.waiting);
                match std::mem::replace(&mut search.test, Test::All(Vec::new())) {
                    Test::Without(objects, _) | Test::First(_, objects) => left.extend(objects),
                    Test::All(objects) => left.extend(objects),
                }
                self.condemn(left);
                continue;
            }
            match &mut search.test {
                Test::First(_, objects) if objects.len() == 1 => {
                    let objects = std::mem::take(objects);
                    search.test = Test::All(Vec::new());
                    self.condemn(objects);
                }
                Test::All(objects) | Test::First(_, objects) if objects.is_empty() => {
                    let waiting = std::mem::take(&mut search.waiting);
                    if !waiting.is_empty() {
                        search.test = Test::All(waiting);
                        return;
                    }
                    self.search = None;
                    let Some((xds_type, (objects, reason))) = self.later.pop_first() else {
                        return;
                    };
                    self.on_rejected(xds_type, &reason, objects, &BTreeSet::new());
                    return;
                }
                Test::Without(..) | Test::All(_) | Test::First(..) => return,
            }
        }
    }

    fn condemn(&mut self, objects: Vec<ConfigKey>) {
        let Some(search) = &self.search else {
            return;
        };
        for object in objects {
            let finding = Finding {
                xds_type: search.xds_type,
                reason: search.reason.clone(),
                version: None,
            };
            self.guilty.insert(object, finding);
        }
    }
}

impl Test {
    /// Whether the first half is good. A single object is bad without asking.
    fn halves(objects: Vec<ConfigKey>) -> Self {
        Self::First(objects.len() / 2, objects)
    }
}

/// The less, the less likely to be the bad one.
fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Service => 0,
        Kind::ServiceEntry => 1,
        Kind::Gateway => 2,
        Kind::DestinationRule => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(number: usize) -> ConfigKey {
        ConfigKey::new(Kind::VirtualService, "ns", format!("object-{number:04}"))
    }

    /// Plays a client that rejects everything with one of these. Returns what was found, and in how many responses.
    fn search(
        count: usize,
        bad: &BTreeSet<usize>,
        known: &BTreeSet<ConfigKey>,
    ) -> (BTreeSet<ConfigKey>, u32) {
        let mut isolation = Isolation::default();
        let all: Vec<ConfigKey> = (0..count).map(object).collect();
        assert_eq!(
            isolation.on_rejected(XdsType::Route, "bad", all, known),
            count > 0
        );
        let mut rounds = 0;
        while isolation.searches().is_some() {
            rounds += 1;
            assert!(rounds <= 2 * MAX_ROUNDS, "the search does not end");
            let excluded = isolation.excluded();
            let accepted = bad.iter().all(|&number| excluded.contains(&object(number)));
            isolation.on_outcome(accepted);
        }
        (isolation.excluded(), rounds)
    }

    #[test]
    fn one_among_a_thousand_is_found_in_a_dozen_responses() {
        for bad in [0, 1, 499, 500, 777, 999] {
            let (found, rounds) = search(1000, &[bad].into(), &BTreeSet::new());
            assert_eq!(found, [object(bad)].into());
            assert!(rounds <= 12, "{rounds}");
        }
    }

    #[test]
    fn what_another_client_could_not_stand_is_tried_first() {
        let known = [object(7)].into();
        assert_eq!(search(1000, &[7].into(), &known), ([object(7)].into(), 1));
        let (found, _) = search(1000, &[8].into(), &known);
        assert_eq!(found, [object(8)].into());
    }

    #[test]
    fn the_only_candidate_is_guilty_without_asking() {
        assert_eq!(search(1, &[0].into(), &BTreeSet::new()), ([object(0)].into(), 0));
        assert_eq!(search(0, &[].into(), &BTreeSet::new()), (BTreeSet::new(), 0));
    }

    #[test]
    fn too_many_bad_ones_are_left_out_with_what_could_not_be_cleared() {
        let bad: BTreeSet<usize> = (0..1000).filter(|number| number % 3 == 0).collect();
        let (found, rounds) = search(1000, &bad, &BTreeSet::new());
        assert_eq!(rounds, MAX_ROUNDS);
        assert!(bad.iter().all(|&number| found.contains(&object(number))));
        assert!(found.len() < 1000);
    }

    #[test]
    fn an_object_is_tried_again_when_it_changes() {
        let mut isolation = Isolation::default();
        isolation.on_rejected(XdsType::Cluster, "bad", vec![object(1)], &BTreeSet::new());
        let version = |rev: Option<Rev>| move |_: &ConfigKey| (rev, Rev::default());
        isolation.settle(version(Some(Rev::default())));
        isolation.on_publish(version(Some(Rev::default())));
        assert_eq!(isolation.excluded(), [object(1)].into());
        isolation.on_publish(version(None));
        assert_eq!(isolation.excluded(), BTreeSet::new());
    }

    #[test]
    fn another_type_waits_for_the_running_search() {
        let mut isolation = Isolation::default();
        let none = BTreeSet::new();
        isolation.on_rejected(XdsType::Route, "bad route", vec![object(1), object(2)], &none);
        isolation.on_rejected(XdsType::Cluster, "bad cluster", vec![object(3)], &none);
        assert_eq!(isolation.searches(), Some(XdsType::Route));
        // The first is good.
        isolation.on_outcome(true);
        assert_eq!(isolation.searches(), None);
        assert_eq!(isolation.excluded(), [object(2), object(3)].into());
        assert_eq!(isolation.guilty()[&object(3)].reason, "bad cluster");
    }

    proptest! {
        #[test]
        fn exactly_the_bad_ones_are_found(count in 1..300_usize, bad in prop::collection::btree_set(0..300_usize, 1..4)) {
            let bad: BTreeSet<usize> = bad.into_iter().map(|number| number % count).collect();
            let (found, _) = search(count, &bad, &BTreeSet::new());
            prop_assert_eq!(found, bad.into_iter().map(object).collect::<BTreeSet<_>>());
        }
    }
}
