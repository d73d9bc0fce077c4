//! What the stores have told, and nothing made of it (`spec 02` §9.5.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_config::{Config, ConfigError, ConfigKey};

/// One message of a store. Stores send them in batches.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreEvent {
    /// An object is new or has changed.
    Upsert(Config),
    /// An object is gone.
    Delete(ConfigKey),
    /// Everything that the store has and cannot read.
    Problems(Vec<ConfigError>),
    /// Everything that was there at the start has been told.
    Synced,
}

/// Objects by name.
pub type Objects = BTreeMap<ConfigKey, Arc<Config>>;

/// What the stores have told.
#[derive(Clone, Debug, Default)]
pub struct State {
    objects: Arc<Objects>,
    problems: Vec<ConfigError>,
    synced: bool,
}

// === impl State ===

impl State {
    /// Takes over an event; returns whether anything is different now.
    pub fn apply(&mut self, event: StoreEvent) -> bool {
        match event {
            StoreEvent::Upsert(config) => {
                let key = config.meta.key.clone();
                // Who writes the status of an object says nothing new.
                if self
                    .objects
                    .get(&key)
                    .is_some_and(|known| known.body == config.body)
                {
                    return false;
                }
                Arc::make_mut(&mut self.objects).insert(key, Arc::new(config));
                true
            }
            StoreEvent::Delete(key) => {
                self.objects.contains_key(&key) && Arc::make_mut(&mut self.objects).remove(&key).is_some()
            }
            StoreEvent::Problems(problems) => {
                let changed = self.problems != problems;
                self.problems = problems;
                changed
            }
            StoreEvent::Synced => !std::mem::replace(&mut self.synced, true),
        }
    }

    /// The objects that there are.
    #[must_use]
    pub fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// What the stores cannot read.
    #[must_use]
    pub fn problems(&self) -> &[ConfigError] {
        &self.problems
    }

    /// Whether everything that was there at the start is known.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }
}
