//! From what the watches tell to events; pure.

use std::collections::BTreeMap;

use mesh_config::{ConfigKey, Kind};
use mesh_kube::Event as WatchEvent;

use super::read::{Outcome, named, unreadable};
use crate::event::{Event, Problem};

/// What is wrong with which object, and which watches have not told everything yet.
#[derive(Debug)]
pub(super) struct Tally {
    /// Kinds whose first list is not complete.
    waiting: usize,
    problems: BTreeMap<ConfigKey, Problem>,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(watches: usize) -> Self {
        Self {
            waiting: watches,
            problems: BTreeMap::new(),
        }
    }

    /// Takes what happened, in its order. What comes of it is published together.
    pub(super) fn take(
        &mut self,
        happened: impl IntoIterator<Item = (Kind, WatchEvent<Outcome>)>,
    ) -> Vec<Event> {
        let (mut events, mut synced, mut worse_or_better) = (Vec::new(), false, false);
        for (kind, event) in happened {
            match event {
                WatchEvent::Applied(name, Ok(config)) => {
                    worse_or_better |= self.problems.remove(&named(kind, &name)).is_some();
                    events.push(Event::Upsert(config));
                }
                WatchEvent::Applied(name, Err(errors)) => {
                    worse_or_better = true;
                    let problem = Problem {
                        kind: Some(kind),
                        errors,
                    };
                    self.problems.insert(named(kind, &name), problem);
                }
                WatchEvent::Rejected(name, reason) => {
                    worse_or_better = true;
                    let key = named(kind, &name);
                    let problem = Problem {
                        kind: Some(kind),
                        errors: vec![unreadable(&key, reason)],
                    };
                    self.problems.insert(key, problem);
                }
                WatchEvent::Deleted(name) => {
                    let key = named(kind, &name);
                    worse_or_better |= self.problems.remove(&key).is_some();
                    events.push(Event::Delete(key));
                }
                WatchEvent::Synced => {
                    self.waiting = self.waiting.saturating_sub(1);
                    synced |= self.waiting == 0;
                }
            }
        }
        if worse_or_better {
            // Before the sync, so that who waits for it sees both.
            events.push(Event::Problems(self.problems.values().cloned().collect()));
        }
        if synced {
            events.push(Event::FullSync);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::{Config, ConfigError, Meta, Timestamp};
    use mesh_kube::ObjectName;

    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName {
            namespace: "weather".to_owned(),
            name: name.to_owned(),
        }
    }

    fn config(name: &str) -> Config {
        Config {
            meta: Meta {
                key: ConfigKey::new(Kind::Gateway, "weather", name),
                labels: [].into(),
                annotations: [].into(),
                created: Timestamp::default(),
                version: "1".to_owned(),
            },
            body: mesh_api::Any::default(),
        }
    }

    fn errors(reason: &str) -> Vec<ConfigError> {
        vec![unreadable(
            &ConfigKey::new(Kind::Gateway, "weather", "a"),
            reason.to_owned(),
        )]
    }

    fn problem(reason: &str) -> Problem {
        Problem {
            kind: Some(Kind::Gateway),
            errors: errors(reason),
        }
    }

    #[test]
    fn t18_the_sync_is_told_once_after_the_last_watch() {
        let mut tally = Tally::new(2);
        assert_eq!(tally.take([(Kind::Gateway, WatchEvent::Synced)]), []);
        let last = [
            (Kind::Sidecar, WatchEvent::Synced),
            (Kind::Gateway, WatchEvent::Applied(name("a"), Ok(config("a")))),
        ];
        assert_eq!(tally.take(last), [Event::Upsert(config("a")), Event::FullSync]);
        assert_eq!(tally.take([]), []);
    }

    #[test]
    fn pain_10_a_bad_object_is_a_problem_and_no_event_of_its_own() {
        let mut tally = Tally::new(1);
        let gateway = |event| [(Kind::Gateway, event)];
        let bad = tally.take(gateway(WatchEvent::Applied(name("a"), Err(errors("bad")))));
        assert_eq!(bad, [Event::Problems(vec![problem("bad")])]);
        let worse = tally.take(gateway(WatchEvent::Rejected(name("a"), "worse".to_owned())));
        assert_eq!(worse, [Event::Problems(vec![problem("worse")])]);
        let good = tally.take(gateway(WatchEvent::Applied(name("a"), Ok(config("a")))));
        assert_eq!(good, [Event::Upsert(config("a")), Event::Problems(vec![])]);
        // What it was before stays until it is gone.
        tally.take(gateway(WatchEvent::Applied(name("a"), Err(errors("bad")))));
        let gone = tally.take(gateway(WatchEvent::Deleted(name("a"))));
        let key = ConfigKey::new(Kind::Gateway, "weather", "a");
        assert_eq!(gone, [Event::Delete(key), Event::Problems(vec![])]);
    }
}
