//! Change notification for files and directories, without ever reading their contents.
//!
//! Directories are watched, never files: an editor that writes a new file and renames it, and a
//! mounted ConfigMap or Secret that swaps the symbolic link `..data`, both replace the file that a
//! watch would hang on. Watches move along when a directory or the target of a link is replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, warn};

/// A burst of changes is reported after at most this many quiet windows, even if it goes on.
const LONGEST_BURST: u32 = 20;

/// Reports changes of some files and directories.
#[derive(Debug)]
pub struct FileWatch {
    roots: Vec<Root>,
    quiet: Duration,
    watcher: RecommendedWatcher,
    /// What is being watched, and which directory it was when the watch began.
    watched: BTreeMap<PathBuf, Watched>,
    shared: Arc<Shared>,
}

/// The system cannot watch.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path} for changes")]
pub struct WatchError {
    /// The path as it was given.
    pub path: String,
    /// What the system said.
    #[source]
    pub source: notify::Error,
}

/// A path that somebody wants to know about.
#[derive(Debug)]
struct Root {
    /// Absolute.
    path: PathBuf,
    /// Where the path leads through all links; `None` while it does not exist.
    target: Option<PathBuf>,
    /// Which file or directory is there: device and inode.
    identity: Option<Identity>,
}

type Identity = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    identity: Identity,
    recursive: bool,
}

/// What the thread of the watcher hands over.
#[derive(Debug, Default)]
struct Shared {
    events: Mutex<Events>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Events {
    paths: BTreeSet<PathBuf>,
    /// Events were lost, so anything may have changed.
    lost: bool,
}

// === impl FileWatch ===

impl FileWatch {
    /// Watches `paths`, directories with everything beneath them. A path need not exist yet.
    ///
    /// Changes are reported when there were none for `quiet`, or after twenty times `quiet` if they
    /// do not stop.
    ///
    /// # Errors
    /// [`WatchError`] when the system has no more watches to give or a path cannot be reached.
    pub fn new<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        quiet: Duration,
    ) -> Result<Self, WatchError> {
        let shared = Arc::new(Shared::default());
        let receiver = Arc::clone(&shared);
        let watcher =
            notify::recommended_watcher(move |event| receiver.receive(event)).map_err(|source| {
                WatchError {
                    path: "files".to_owned(),
                    source,
                }
            })?;
        let mut roots = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let absolute = std::path::absolute(path).map_err(|error| WatchError {
                path: path.display().to_string(),
                source: error.into(),
            })?;
            roots.push(Root {
                path: absolute,
                target: None,
                identity: None,
            });
        }
        let mut watch = Self {
            roots,
            quiet,
            watcher,
            watched: BTreeMap::new(),
            shared,
        };
        watch.follow()?;
        Ok(watch)
    }

    /// Waits for changes and returns those of the given paths, as they were given to [`Self::new`] but
    /// absolute, in which something changed. Changes between two calls are not lost.
    ///
    /// Nothing is lost either when a caller is cancelled while waiting.
    pub async fn changed(&mut self) -> BTreeSet<PathBuf> {
        loop {
            self.burst().await;
            let changed = self.take();
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    /// The changes as an endless stream.
    pub fn into_stream(self) -> impl Stream<Item = BTreeSet<PathBuf>> + Send {
        futures::stream::unfold(self, async |mut watch| Some((watch.changed().await, watch)))
    }

    /// Waits until there are events, and then until there are no more for the quiet window.
    async fn burst(&self) {
        while self.shared.events().is_empty() {
            self.shared.arrived.notified().await;
        }
        let end = Instant::now() + self.quiet * LONGEST_BURST;
        loop {
            let quiet = (Instant::now() + self.quiet).min(end);
            if tokio::time::timeout_at(quiet, self.shared.arrived.notified())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// Takes all events and tells which roots they concern.
    fn take(&mut self) -> BTreeSet<PathBuf> {
        let events = std::mem::take(&mut *self.shared.events());
        let mut changed: BTreeSet<PathBuf> = self
            .roots
            .iter()
            .filter(|root| events.lost || events.paths.iter().any(|path| root.contains(path)))
            .map(|root| root.path.clone())
            .collect();
        match self.follow() {
            Ok(replaced) => changed.extend(replaced),
            // What was watched before is still watched, and the next event tries again.
            Err(error) => warn!(error = &error as &dyn std::error::Error, "changes may be missed"),
        }
        changed
    }

    /// Moves the watches to where the roots lead now; returns the roots that lead elsewhere than before.
    fn follow(&mut self) -> Result<Vec<PathBuf>, WatchError> {
        let mut replaced = Vec::new();
        let mut wanted: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for root in &mut self.roots {
            if root.resolve() {
                replaced.push(root.path.clone());
            }
            for (directory, recursive) in root.directories() {
                *wanted.entry(directory).or_default() |= recursive;
            }
        }
        let gone: Vec<_> = self
            .watched
            .keys()
            .filter(|path| !wanted.contains_key(*path))
            .cloned()
            .collect();
        for path in gone {
            self.unwatch(&path);
        }
        for (path, recursive) in wanted {
            let Some(identity) = identity(&path) else { continue };
            let now = Watched { identity, recursive };
            if self.watched.get(&path) == Some(&now) {
                continue;
            }
            // A watch hangs on the directory itself, not on its path.
            self.unwatch(&path);
            let mode = if recursive {
                RecursiveMode::Recursive
            } else {
                RecursiveMode::NonRecursive
            };
            match self.watcher.watch(&path, mode) {
                Ok(()) => drop(self.watched.insert(path, now)),
                Err(error) if is_gone(&error) => debug!(path = %path.display(), "gone before it was watched"),
                Err(source) => {
                    return Err(WatchError {
                        path: path.display().to_string(),
                        source,
                    });
                }
            }
        }
        Ok(replaced)
    }

    fn unwatch(&mut self, path: &Path) {
        if self.watched.remove(path).is_some() {
            // Fails when the directory is gone, and its watch with it.
            let _gone = self.watcher.unwatch(path);
        }
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

// === impl Root ===

impl Root {
    /// Looks where the path leads; returns whether that has changed since the last look.
    fn resolve(&mut self) -> bool {
        let target = fs::canonicalize(&self.path).ok();
        let identity = target.as_deref().and_then(identity);
        let changed = target != self.target || identity != self.identity;
        self.target = target;
        self.identity = identity;
        changed
    }

    /// Whether an event at `path` concerns this root.
    fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.path)
            || self
                .target
                .as_ref()
                .is_some_and(|target| path.starts_with(target))
    }

    /// The directories that must be watched to see every change, and whether with all beneath.
    fn directories(&self) -> Vec<(PathBuf, bool)> {
        // The directory of the path shows renames of the path itself and of links beside it.
        let parent = self.path.parent().map(|parent| (nearest_existing(parent), false));
        let target = self.target.as_deref().and_then(|target| {
            if target.is_dir() {
                Some((target.to_owned(), true))
            } else {
                Some((target.parent()?.to_owned(), false))
            }
        });
        parent.into_iter().chain(target).collect()
    }
}

fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

// === impl Shared ===

impl Shared {
    fn events(&self) -> MutexGuard<'_, Events> {
        // Every single operation leaves the set whole.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the thread of the watcher.
    fn receive(&self, event: notify::Result<Event>) {
        {
            let mut events = self.events();
            match event {
                // Readers are not writers: without this, reading a file would report a change.
                Ok(Event {
                    kind: EventKind::Access(access),
                    ..
                }) if access != AccessKind::Close(AccessMode::Write) => return,
                Ok(event) => {
                    events.lost |= event.need_rescan();
                    events.paths.extend(event.paths);
                }
                Err(error) => {
                    warn!(%error, "file changes may have been lost");
                    events.lost = true;
                }
            }
        }
        self.arrived.notify_one();
    }
}

// === impl Events ===

impl Events {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.lost
    }
}

#[cfg(test)]
mod tests;
