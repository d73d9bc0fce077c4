//! What all files say together, and what changes about it.
//!
//! No files are touched here: the catalog is told what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use mesh_config::{ConfigError, ConfigKey, Timestamp};

use super::read::{Contents, Object};
use crate::event::{Event, Problem};

/// All objects by file, and who wins where two claim the same name.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    files: BTreeMap<Arc<Path>, FileEntry>,
    /// Every definition of an object, the one that counts first.
    claims: BTreeMap<ConfigKey, BTreeMap<Place, Object>>,
    /// Objects with more than one definition.
    contested: BTreeSet<ConfigKey>,
    /// What was told last: the version, and when the object was first seen.
    told: BTreeMap<ConfigKey, Told>,
    /// Objects whose definitions have changed since the last events.
    touched: BTreeSet<ConfigKey>,
}

/// Where a definition stands: file and place in it.
type Place = (Arc<Path>, usize);

#[derive(Debug, Default)]
struct FileEntry {
    keys: Vec<ConfigKey>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Told {
    version: String,
    first_seen: Timestamp,
}

// === impl Catalog ===

impl Catalog {
    /// Takes what a file says now.
    pub(super) fn set(&mut self, path: &Path, contents: Contents) {
        let Contents {
            mut objects,
            problems,
            broken,
            foreign: _,
        } = contents;
        if broken {
            objects.extend(self.former(path, &objects, &problems));
        }
        self.forget_objects(path);
        let path: Arc<Path> = path.into();
        let keys = objects
            .iter()
            .map(|object| object.config.meta.key.clone())
            .collect();
        for (place, object) in objects.into_iter().enumerate() {
            let key = object.config.meta.key.clone();
            self.claims
                .entry(key.clone())
                .or_default()
                .insert((path.clone(), place), object);
            self.touch(key);
        }
        self.files.insert(path, FileEntry { keys, problems });
    }

    /// Keeps the objects of a file that cannot be read, or was never read, and notes why.
    pub(super) fn set_unreadable(&mut self, path: &Path, problem: Problem) {
        self.files.entry(path.into()).or_default().problems = vec![problem];
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, path: &Path) {
        self.forget_objects(path);
        self.files.remove(path);
    }

    /// Number of objects that the file holds.
    pub(super) fn object_count(&self, path: &Path) -> usize {
        self.files.get(path).map_or(0, |file| file.keys.len())
    }

    /// What has changed since the last call. Objects without a time of creation were created `now` if they are new.
    pub(super) fn events(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let winner = self.claims.get(&key).and_then(|claims| claims.values().next());
            let Some(Object { config, .. }) = winner else {
                if self.told.remove(&key).is_some() {
                    events.push(Event::Delete(key));
                }
                continue;
            };
            let told = self.told.get(&key);
            if told.is_some_and(|told| told.version == config.meta.version) {
                continue;
            }
            let first_seen = told.map_or(now, |told| told.first_seen);
            let mut config = config.clone();
            if config.meta.created == Timestamp::default() {
                config.meta.created = first_seen;
            }
            self.told.insert(
                key,
                Told {
                    version: config.meta.version.clone(),
                    first_seen,
                },
            );
            events.push(Event::Upsert(config));
        }
        events
    }

    /// Everything that is wrong now.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .files
            .values()
            .flat_map(|file| &file.problems)
            .cloned()
            .collect();
        for key in &self.contested {
            let mut claims = self.claims.get(key).into_iter().flat_map(BTreeMap::values);
            let Some(first) = claims.next() else { continue };
            problems.extend(claims.map(|object| duplicate(key, first, object)));
        }
        problems
    }

    /// Former objects of a file that is not readable in all its parts: those that it does not speak of any more.
    fn former(&self, path: &Path, objects: &[Object], problems: &[Problem]) -> Vec<Object> {
        let Some(file) = self.files.get(path) else {
            return Vec::new();
        };
        let mut spoken_of: BTreeSet<_> = objects
            .iter()
            .map(|object| object.config.meta.key.to_string())
            .collect();
        spoken_of.extend(
            problems
                .iter()
                .flat_map(|problem| &problem.errors)
                .map(|error| error.object.clone()),
        );
        let path: Arc<Path> = path.into();
        let kept = file
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| !spoken_of.contains(&key.to_string()));
        kept.filter_map(|(place, key)| self.claims.get(key)?.get(&(path.clone(), place)).cloned())
            .collect()
    }

    fn forget_objects(&mut self, path: &Path) {
        let Some((path, file)) = self.files.get_key_value(path) else {
            return;
        };
        let path = path.clone();
        for (place, key) in file.keys.clone().into_iter().enumerate() {
            if let Some(claims) = self.claims.get_mut(&key) {
                claims.remove(&(path.clone(), place));
                if claims.is_empty() {
                    self.claims.remove(&key);
                }
            }
            self.touch(key);
        }
    }

    fn touch(&mut self, key: ConfigKey) {
        if self.claims.get(&key).is_some_and(|claims| claims.len() > 1) {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(&key);
        }
        self.touched.insert(key);
    }
}

fn duplicate(key: &ConfigKey, first: &Object, object: &Object) -> Problem {
    let error = ConfigError {
        location: Some(object.location.clone()),
        object: key.to_string(),
        field: "metadata.name".to_owned(),
        reason: format!(
            "the object is defined in {} already, and the first definition counts",
            first.location
        ),
    };
    Problem {
        kind: Some(key.kind),
        namespace: Some(key.namespace.clone()),
        errors: vec![error],
    }
}
