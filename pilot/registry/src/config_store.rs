//! The objects of all sources, merged (P5.6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::{Config, ConfigKey, Kind, Meta};

/// Objects as the sources have them. Where several have the same object, the first source wins.
#[derive(Debug, Default)]
pub struct ConfigStore {
    /// By kind and source: what the source said last.
    states: BTreeMap<(Kind, usize), BTreeMap<ConfigKey, Arc<Config>>>,
    /// What is in force.
    merged: Arc<BTreeMap<ConfigKey, Arc<Config>>>,
}

/// One object became different.
#[derive(Clone, Debug)]
pub enum ConfigEvent {
    /// It appeared.
    Added(Arc<Config>),
    /// It changed.
    Set(Arc<Config>),
    /// It is gone.
    Gone(Meta),
}

// === impl ConfigEvent ===

impl ConfigEvent {
    /// The object.
    pub fn key(&self) -> &ConfigKey {
        match self {
            Self::Added(config) | Self::Set(config) => &config.meta.key,
            Self::Gone(meta) => &meta.key,
        }
    }
}

// === impl ConfigStore ===

impl ConfigStore {
    /// Replaces everything that a source said of a kind; returns what is different now.
    pub fn replace(&mut self, source: usize, kind: Kind, objects: Vec<Config>) -> Vec<ConfigEvent> {
        let known = self.states.remove(&(kind, source)).unwrap_or_default();
        let mut state: BTreeMap<ConfigKey, Arc<Config>> = BTreeMap::new();
        for object in objects {
            // An object that stays the same stays shared.
            let object = match known.get(&object.meta.key) {
                Some(same) if **same == object => Arc::clone(same),
                _ => Arc::new(object),
            };
            state.insert(object.meta.key.clone(), object);
        }
        let touched: BTreeSet<ConfigKey> = known.keys().chain(state.keys()).cloned().collect();
        self.states.insert((kind, source), state);
        touched.into_iter().filter_map(|key| self.merge(key)).collect()
    }

    /// Takes over what is different in what a source says of a kind; returns what is different in force.
    pub fn change(
        &mut self,
        source: usize,
        kind: Kind,
        changed: Vec<Config>,
        gone: &[ConfigKey],
    ) -> Vec<ConfigEvent> {
        let state = self.states.entry((kind, source)).or_default();
        let mut touched = BTreeSet::new();
        for key in gone {
            if state.remove(key).is_some() {
                touched.insert(key.clone());
            }
        }
        for object in changed {
            let key = object.meta.key.clone();
            if state.get(&key).is_none_or(|known| **known != object) {
                state.insert(key.clone(), Arc::new(object));
                touched.insert(key);
            }
        }
        touched.into_iter().filter_map(|key| self.merge(key)).collect()
    }

    /// What is in force.
    pub fn objects(&self) -> &Arc<BTreeMap<ConfigKey, Arc<Config>>> {
        &self.merged
    }

    fn merge(&mut self, key: ConfigKey) -> Option<ConfigEvent> {
        let mut sources = self.states.range((key.kind, 0)..=(key.kind, usize::MAX));
        let winner = sources.find_map(|(_, state)| state.get(&key)).cloned();
        match (winner, self.merged.get(&key)) {
            (Some(winner), Some(known)) if Arc::ptr_eq(&winner, known) || winner == *known => None,
            (Some(winner), known) => {
                let event = if known.is_none() {
                    ConfigEvent::Added
                } else {
                    ConfigEvent::Set
                };
                Arc::make_mut(&mut self.merged).insert(key, Arc::clone(&winner));
                Some(event(winner))
            }
            (None, Some(_)) => {
                let gone = Arc::make_mut(&mut self.merged).remove(&key)?;
                Some(ConfigEvent::Gone(gone.meta.clone()))
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::Any;
    use mesh_config::Timestamp;

    use super::*;

    fn config(name: &str, version: &str) -> Config {
        let meta = Meta {
            key: ConfigKey::new(Kind::Gateway, "ns", name),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created: Timestamp::default(),
            version: version.into(),
        };
        Config {
            meta,
            body: Any::default(),
        }
    }

    fn told(events: Vec<ConfigEvent>) -> Vec<String> {
        events
            .into_iter()
            .map(|event| match event {
                ConfigEvent::Added(config) | ConfigEvent::Set(config) => {
                    format!("{}={}", config.meta.key.name, config.meta.version)
                }
                ConfigEvent::Gone(meta) => format!("-{}", meta.key.name),
            })
            .collect()
    }

    #[test]
    fn a_full_state_becomes_the_events_that_lead_to_it() {
        let mut store = ConfigStore::default();
        assert_eq!(
            told(store.replace(0, Kind::Gateway, vec![config("a", "1"), config("b", "1")])),
            ["a=1", "b=1"]
        );
        assert_eq!(
            told(store.replace(0, Kind::Gateway, vec![config("a", "1"), config("b", "2")])),
            ["b=2"]
        );
        assert_eq!(
            told(store.replace(0, Kind::Gateway, vec![config("b", "2"), config("c", "1")])),
            ["-a", "c=1"]
        );
        assert!(store.replace(0, Kind::VirtualService, Vec::new()).is_empty());
    }

    #[test]
    fn changes_are_the_events_that_lead_to_them() {
        let mut store = ConfigStore::default();
        store.replace(0, Kind::Gateway, vec![config("a", "1"), config("b", "1")]);
        let key = |name| ConfigKey::new(Kind::Gateway, "ns", name);
        let changed = vec![config("a", "1"), config("c", "1")];
        assert_eq!(
            told(store.change(0, Kind::Gateway, changed, &[key("b"), key("never")])),
            ["-b", "c=1"]
        );
        // Dropped and there again.
        assert!(
            store
                .change(0, Kind::Gateway, vec![config("c", "1")], &[key("c")])
                .is_empty()
        );
        assert_eq!(
            told(store.replace(0, Kind::Gateway, vec![config("c", "1")])),
            ["-a"],
            "a full state counts from what changes made of the one before"
        );
    }

    #[test]
    fn p5_6_the_first_source_that_has_an_object_wins() {
        let mut store = ConfigStore::default();
        store.replace(1, Kind::Gateway, vec![config("a", "second")]);
        assert_eq!(
            told(store.replace(0, Kind::Gateway, vec![config("a", "first")])),
            ["a=first"]
        );
        assert!(
            store
                .replace(1, Kind::Gateway, vec![config("a", "third")])
                .is_empty()
        );
        assert_eq!(told(store.replace(0, Kind::Gateway, Vec::new())), ["a=third"]);
        assert_eq!(told(store.replace(1, Kind::Gateway, Vec::new())), ["-a"]);
    }
}
