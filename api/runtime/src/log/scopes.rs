//! Scopes and their levels, and the handle that changes them in a running process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Registry, reload};

use super::{Level, ScopeLevels};

/// The scope of everything that no other scope claims, and whose level the others follow.
pub(super) const DEFAULT_SCOPE: &str = "default";

/// Libraries that are too talkative below `info` to follow the default scope.
const LIBRARIES: [&str; 6] = ["h2", "hyper", "mio", "notify", "tonic", "tower"];

/// A named part of the logs that a binary declares.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Name in flags and in the admin interface, such as `ads`.
    pub name: &'static str,
    /// One line for the admin interface.
    pub description: &'static str,
    /// Prefixes of tracing targets, usually a crate or a module path such as `pilot_xds`.
    pub targets: &'static [&'static str],
}

/// What the admin interface shows of a scope; the field names are ControlZ's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeInfo {
    /// Name of the scope.
    pub name: String,
    /// What the scope covers.
    pub description: String,
    /// The level in force, be it its own or the default one.
    pub output_level: Level,
    /// Whether messages show the line of code they come from.
    pub log_callers: bool,
}

/// The name is not one of [`LogHandle::scopes`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown scope {0:?}")]
pub struct UnknownScope(pub String);

/// Reads and changes the levels of a running process. Cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    table: Arc<ScopeTable>,
    /// `None` if the process does not log through us, as in tests.
    reload: Option<reload::Handle<Targets, Registry>>,
}

/// All scopes of a process.
pub(super) struct ScopeTable {
    entries: BTreeMap<String, Entry>,
    /// Target prefix and the scope it belongs to, longest prefix first.
    targets: Vec<(String, String)>,
    /// Levels that were set, by scope.
    levels: Mutex<BTreeMap<String, Level>>,
}

struct Entry {
    description: String,
    targets: Vec<String>,
    /// No more than this is shown while the scope follows the default one.
    cap: Level,
    caller: bool,
}

// === impl ScopeTable ===

impl ScopeTable {
    pub(super) fn new(declared: &[Scope], levels: &ScopeLevels, callers: &[String]) -> Self {
        let mut entries = BTreeMap::new();
        entries.insert(
            DEFAULT_SCOPE.to_owned(),
            Entry::new("Everything without a scope of its own", &[]),
        );
        for library in LIBRARIES {
            let entry = Entry {
                cap: Level::Info,
                ..Entry::new("A library", &[library])
            };
            entries.insert(library.to_owned(), entry);
        }
        for scope in declared {
            // The name itself is a target too: `info!(target: "ads", ..)`.
            let targets: Vec<_> = scope.targets.iter().copied().chain([scope.name]).collect();
            entries.insert(scope.name.to_owned(), Entry::new(scope.description, &targets));
        }
        for name in levels.0.iter().map(|(name, _)| name).chain(callers) {
            // A module path or a crate may be named without being declared.
            entries
                .entry(name.clone())
                .or_insert_with(|| Entry::new("Named by a flag", &[name]));
        }
        for name in callers {
            if let Some(entry) = entries.get_mut(name) {
                entry.caller = true;
            }
        }
        let mut targets: Vec<_> = entries
            .iter()
            .flat_map(|(name, entry)| entry.targets.iter().map(|target| (target.clone(), name.clone())))
            .collect();
        targets.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Self {
            entries,
            targets,
            levels: Mutex::new(levels.0.iter().cloned().collect()),
        }
    }

    /// The scope of a target; `None` stands for the default scope.
    pub(super) fn scope_of(&self, target: &str) -> Option<&str> {
        self.targets
            .iter()
            .find(|(prefix, _)| target.starts_with(prefix.as_str()))
            .map(|(_, scope)| scope.as_str())
    }

    pub(super) fn logs_caller(&self, scope: Option<&str>) -> bool {
        self.entries
            .get(scope.unwrap_or(DEFAULT_SCOPE))
            .is_some_and(|entry| entry.caller)
    }

    pub(super) fn filter(&self) -> Targets {
        self.filter_of(&self.levels())
    }

    fn filter_of(&self, levels: &BTreeMap<String, Level>) -> Targets {
        let of = |name: &str, entry: &Entry| level_filter(effective(levels, name, entry));
        let default = self
            .entries
            .get(DEFAULT_SCOPE)
            .map_or(LevelFilter::INFO, |entry| of(DEFAULT_SCOPE, entry));
        let scoped = self
            .entries
            .iter()
            .flat_map(|(name, entry)| entry.targets.iter().map(move |target| (target, of(name, entry))));
        Targets::new().with_default(default).with_targets(scoped)
    }

    fn levels(&self) -> MutexGuard<'_, BTreeMap<String, Level>> {
        // A map of levels is whole after every single operation.
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn effective(levels: &BTreeMap<String, Level>, name: &str, entry: &Entry) -> Level {
    let default = || levels.get(DEFAULT_SCOPE).copied().unwrap_or(Level::Info);
    levels.get(name).copied().unwrap_or_else(|| {
        let default = default();
        if level_filter(default) > level_filter(entry.cap) {
            entry.cap
        } else {
            default
        }
    })
}

fn level_filter(level: Level) -> LevelFilter {
    match level {
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error | Level::Fatal => LevelFilter::ERROR,
        Level::None => LevelFilter::OFF,
    }
}

// === impl Entry ===

impl Entry {
    fn new(description: &str, targets: &[&str]) -> Self {
        Self {
            description: description.to_owned(),
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            cap: Level::Debug,
            caller: false,
        }
    }
}

// === impl LogHandle ===

impl LogHandle {
    pub(super) fn new(table: Arc<ScopeTable>, reload: Option<reload::Handle<Targets, Registry>>) -> Self {
        Self { table, reload }
    }

    /// A handle that changes levels nobody looks at, for a process that sets up its logs itself.
    #[must_use]
    pub fn detached(scopes: &[Scope]) -> Self {
        Self::new(
            Arc::new(ScopeTable::new(scopes, &ScopeLevels(Vec::new()), &[])),
            None,
        )
    }

    /// Every scope with the level in force, sorted by name.
    #[must_use]
    pub fn scopes(&self) -> Vec<ScopeInfo> {
        let levels = self.table.levels();
        self.table
            .entries
            .iter()
            .map(|(name, entry)| ScopeInfo {
                name: name.clone(),
                description: entry.description.clone(),
                output_level: effective(&levels, name, entry),
                log_callers: entry.caller,
            })
            .collect()
    }

    /// One scope.
    ///
    /// # Errors
    /// [`UnknownScope`].
    pub fn scope(&self, name: &str) -> Result<ScopeInfo, UnknownScope> {
        let scope = self.scopes().into_iter().find(|scope| scope.name == name);
        scope.ok_or_else(|| UnknownScope(name.to_owned()))
    }

    /// Sets the level of a scope, from the next message on.
    ///
    /// # Errors
    /// [`UnknownScope`].
    pub fn set_level(&self, scope: &str, level: Level) -> Result<(), UnknownScope> {
        if !self.table.entries.contains_key(scope) {
            return Err(UnknownScope(scope.to_owned()));
        }
        // Held to the end, so that of two changes at once the filter of the second is the one that stays.
        let mut levels = self.table.levels();
        levels.insert(scope.to_owned(), level);
        if let Some(reload) = &self.reload {
            // Fails only when the subscriber is gone, and then there is nothing to filter.
            let _gone = reload.reload(self.table.filter_of(&levels));
        }
        Ok(())
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle")
            .field("scopes", &self.scopes())
            .finish_non_exhaustive()
    }
}
