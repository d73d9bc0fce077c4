//! From what the watches tell to events; pure.

use std::collections::BTreeMap;

use mesh_config::{ConfigKey, Kind};
use mesh_kube::Event as WatchEvent;
use tokio::sync::watch;

use super::read::{Object, named, unreadable};
use super::reporter::DueTable;
use super::status::Due;
use crate::event::{Event, Problem};

/// What is wrong with which object, and which watches have not told everything yet.
#[derive(Debug)]
pub(super) struct Tally {
    /// Kinds whose first list is not complete.
    waiting: usize,
    problems: BTreeMap<ConfigKey, Problem>,
    /// What the statuses of objects do not say yet.
    due: watch::Sender<DueTable>,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(watches: usize, due: watch::Sender<DueTable>) -> Self {
        Self {
            waiting: watches,
            problems: BTreeMap::new(),
            due,
        }
    }

    /// Takes what happened, in its order. What comes of it is published together.
    pub(super) fn take(
        &mut self,
        happened: impl IntoIterator<Item = (Kind, WatchEvent<Object>)>,
    ) -> Vec<Event> {
        let (mut events, mut synced, mut worse_or_better) = (Vec::new(), false, false);
        for (kind, event) in happened {
            match event {
                WatchEvent::Applied(name, Object { outcome, seen }) => {
                    let key = named(kind, &name);
                    let errors = outcome.as_ref().err().map_or(&[][..], Vec::as_slice);
                    self.note(&key, seen.and_then(|seen| seen.due(errors)));
                    match outcome {
                        Ok(config) => {
                            worse_or_better |= self.problems.remove(&key).is_some();
                            events.push(Event::Upsert(config));
                        }
                        Err(errors) => {
                            worse_or_better = true;
                            let problem = Problem {
                                kind: Some(kind),
                                namespace: Some(key.namespace.clone()),
                                errors,
                            };
                            self.problems.insert(key, problem);
                        }
                    }
                }
                WatchEvent::Rejected(name, reason) => {
                    worse_or_better = true;
                    let key = named(kind, &name);
                    let problem = Problem {
                        kind: Some(kind),
                        namespace: Some(key.namespace.clone()),
                        errors: vec![unreadable(&key, reason)],
                    };
                    self.problems.insert(key, problem);
                }
                WatchEvent::Deleted(name) => {
                    let key = named(kind, &name);
                    self.note(&key, None);
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

    /// Notes what an object's status has to say, if anything.
    fn note(&self, key: &ConfigKey, due: Option<Due>) {
        self.due.send_if_modified(|table| match due {
            Some(due) => {
                table.insert(key.clone(), due);
                true
            }
            None => table.remove(key).is_some(),
        });
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

    fn good(name: &str) -> Object {
        Object {
            outcome: Ok(config(name)),
            seen: None,
        }
    }

    fn bad(reason: &str) -> Object {
        Object {
            outcome: Err(errors(reason)),
            seen: None,
        }
    }

    fn problem(reason: &str) -> Problem {
        Problem {
            kind: Some(Kind::Gateway),
            namespace: Some("weather".into()),
            errors: errors(reason),
        }
    }

    #[test]
    fn t18_the_sync_is_told_once_after_the_last_watch() {
        let mut tally = Tally::new(2, watch::Sender::default());
        assert_eq!(tally.take([(Kind::Gateway, WatchEvent::Synced)]), []);
        let last = [
            (Kind::Sidecar, WatchEvent::Synced),
            (Kind::Gateway, WatchEvent::Applied(name("a"), good("a"))),
        ];
        assert_eq!(tally.take(last), [Event::Upsert(config("a")), Event::FullSync]);
        assert_eq!(tally.take([]), []);
    }

    #[test]
    fn pain_10_a_bad_object_is_a_problem_and_no_event_of_its_own() {
        let mut tally = Tally::new(1, watch::Sender::default());
        let gateway = |event| [(Kind::Gateway, event)];
        let told = tally.take(gateway(WatchEvent::Applied(name("a"), bad("bad"))));
        assert_eq!(told, [Event::Problems(vec![problem("bad")])]);
        let worse = tally.take(gateway(WatchEvent::Rejected(name("a"), "worse".to_owned())));
        assert_eq!(worse, [Event::Problems(vec![problem("worse")])]);
        let repaired = tally.take(gateway(WatchEvent::Applied(name("a"), good("a"))));
        assert_eq!(repaired, [Event::Upsert(config("a")), Event::Problems(vec![])]);
        // What it was before stays until it is gone.
        tally.take(gateway(WatchEvent::Applied(name("a"), bad("bad"))));
        let gone = tally.take(gateway(WatchEvent::Deleted(name("a"))));
        let key = ConfigKey::new(Kind::Gateway, "weather", "a");
        assert_eq!(gone, [Event::Delete(key), Event::Problems(vec![])]);
    }
}
