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

/// As many links as Linux follows in one path.
const LONGEST_LINK_CHAIN: usize = 40;

/// Reports changes of some files and directories.
#[derive(Debug)]
pub struct FileWatch {
    roots: Vec<Root>,
    quiet: Duration,
    watcher: RecommendedWatcher,
    /// The directories that are being watched, and which ones they were when the watch began.
    watched: BTreeMap<PathBuf, Identity>,
    /// There were no links on the way to the roots and beneath them: what is no directory is a file.
    without_links: bool,
    shared: Arc<Shared>,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The given paths in which something changed, absolute.
    pub roots: BTreeSet<PathBuf>,
    /// The files that were written, made, replaced or removed, absolute; `None` when more than that may have happened.
    pub files: Option<BTreeSet<PathBuf>>,
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
    /// Absolute, otherwise as it was given.
    path: PathBuf,
    /// The same entry of the same directory, reached without links; links at its end are not followed.
    place: PathBuf,
    /// Where the path leads through all links; `None` while it does not exist.
    target: Option<PathBuf>,
    /// Which file or directory is there: device and inode.
    identity: Option<Identity>,
}

type Identity = (u64, u64);

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
                place: absolute.clone(),
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
            without_links: false,
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
        self.changes().await.roots
    }

    /// As [`Self::changed`], with the files, for who would have to look at many.
    pub async fn changes(&mut self) -> Changes {
        loop {
            self.burst().await;
            let changes = self.take();
            if !changes.roots.is_empty() {
                return changes;
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

    /// Takes all events and tells what they concern.
    fn take(&mut self) -> Changes {
        let events = std::mem::take(&mut *self.shared.events());
        let contain = |path: &Path| self.roots.iter().any(|root| root.contains(path));
        let concerned = self
            .roots
            .iter()
            .filter(|root| events.lost || events.paths.iter().any(|path| root.contains(path)))
            .map(|root| root.path.clone());
        let mut changes = Changes {
            roots: concerned.collect(),
            files: None,
        };
        if !events.lost && events.paths.iter().all(|path| self.is_no_directory(path)) {
            let files = events.paths.into_iter().filter(|path| contain(path));
            changes.files = Some(files.collect());
            return changes;
        }
        match self.follow() {
            Ok(replaced) => changes.roots.extend(replaced),
            // What was watched before is still watched, and the next event tries again.
            Err(error) => warn!(error = &error as &dyn std::error::Error, "changes may be missed"),
        }
        changes
    }

    /// Whether what happened here leaves the directories as they are, and where the roots lead.
    fn is_no_directory(&self, path: &Path) -> bool {
        if !self.without_links
            || self.watched.contains_key(path)
            || self.roots.iter().any(|root| root.place.starts_with(path))
        {
            return false;
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.is_file() || !self.roots.iter().any(|root| root.contains(path)),
            // It was no directory, or it would be watched.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Moves the watches to where the roots lead now; returns the roots that lead elsewhere than before.
    fn follow(&mut self) -> Result<BTreeSet<PathBuf>, WatchError> {
        let mut replaced = BTreeSet::new();
        loop {
            replaced.extend(
                self.roots
                    .iter_mut()
                    .filter_map(|root| root.resolve().then(|| root.path.clone())),
            );
            // What happened before a watch began is only seen by looking again.
            if !self.watch_directories()? {
                return Ok(replaced);
            }
        }
    }

    /// Watches the directories that the roots need and no others; returns whether a watch was added.
    ///
    /// Each directory of a tree has a watch of its own that begins here, and not on the thread of the watcher when that
    /// gets to it: what is made in a new directory before its watch is then seen by who looks after the report.
    fn watch_directories(&mut self) -> Result<bool, WatchError> {
        self.without_links = self
            .roots
            .iter()
            .all(|root| root.target.as_ref() == Some(&root.path));
        let mut wanted = BTreeSet::new();
        for root in &self.roots {
            let (directories, has_links) = root.directories();
            wanted.extend(directories);
            self.without_links &= !has_links;
        }
        let gone: Vec<_> = self
            .watched
            .keys()
            .filter(|path| !wanted.contains(*path))
            .cloned()
            .collect();
        for path in gone {
            self.unwatch(&path);
        }
        let mut added = false;
        for path in wanted {
            let Some(identity) = identity(&path) else { continue };
            if self.watched.get(&path) == Some(&identity) {
                continue;
            }
            // A watch hangs on the directory itself, not on its path.
            self.unwatch(&path);
            match self.watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                    added = true;
                }
                Err(error) if is_gone(&error) => debug!(path = %path.display(), "gone before it was watched"),
                Err(source) => {
                    return Err(WatchError {
                        path: path.display().to_string(),
                        source,
                    });
                }
            }
        }
        Ok(added)
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
        let (directory, rest) = nearest_existing(self.path.parent().unwrap_or(&self.path));
        let name = self.path.file_name().unwrap_or_default();
        self.place = directory.join(rest).join(name);
        let target = fs::canonicalize(&self.path).ok();
        let identity = target.as_deref().and_then(identity);
        let changed = target != self.target || identity != self.identity;
        self.target = target;
        self.identity = identity;
        changed
    }

    /// Whether an event at `path` concerns this root.
    fn contains(&self, path: &Path) -> bool {
        path.starts_with(&self.place)
            || self
                .target
                .as_ref()
                .is_some_and(|target| path.starts_with(target))
    }

    /// The directories that must be watched to see every change, and whether there are links beneath the path.
    fn directories(&self) -> (Vec<PathBuf>, bool) {
        let mut directories = link_directories(&self.path);
        // Shows that the path appears, goes or is renamed over.
        directories.extend(self.path.parent().map(|parent| nearest_existing(parent).0));
        let mut has_links = false;
        if let Some(target) = &self.target {
            if target.is_dir() {
                let (beneath, links) = tree(target);
                directories.extend(beneath);
                has_links = links;
            } else {
                directories.extend(target.parent().map(Path::to_owned));
            }
        }
        (directories, has_links)
    }
}

/// The longest part of an absolute path that is a directory, without links, and the rest.
fn nearest_existing(path: &Path) -> (PathBuf, PathBuf) {
    let found = path.ancestors().find_map(|ancestor| {
        let directory = fs::canonicalize(ancestor)
            .ok()
            .filter(|directory| directory.is_dir())?;
        Some((directory, path.strip_prefix(ancestor).ok()?.to_owned()))
    });
    found.unwrap_or_else(|| (PathBuf::from("/"), PathBuf::new()))
}

/// A directory and all beneath it, each once; those behind links that lead out of it too. What cannot be read cannot be
/// watched and is left out, except for the directory itself. And whether there are links.
fn tree(root: &Path) -> (Vec<PathBuf>, bool) {
    let leads_out =
        |link: &Path| fs::canonicalize(link).is_ok_and(|target| target.is_dir() && !target.starts_with(root));
    let mut seen = BTreeSet::new();
    let mut found = vec![root.to_owned()];
    let mut has_links = false;
    let mut next = 0;
    while let Some(directory) = found.get(next).cloned() {
        let entries = fs::read_dir(&directory);
        let is_new = identity(&directory).is_some_and(|identity| seen.insert(identity));
        if next > 0 && (entries.is_err() || !is_new) {
            found.remove(next);
            continue;
        }
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            has_links |= kind.is_symlink();
            // Most are files, whose paths nobody needs.
            if kind.is_dir() || (kind.is_symlink() && leads_out(&entry.path())) {
                found.push(entry.path());
            }
        }
        next += 1;
    }
    (found, has_links)
}

/// The directories that hold the links on the way to where `path` leads.
fn link_directories(path: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..LONGEST_LINK_CHAIN {
        let prefixes: Vec<_> = path.ancestors().collect();
        let Some((link, target)) = prefixes
            .iter()
            .rev()
            .find_map(|link| Some((link, fs::read_link(link).ok()?)))
        else {
            break;
        };
        let (Some(directory), Ok(rest)) = (link.parent(), path.strip_prefix(link)) else {
            break;
        };
        directories.extend(fs::canonicalize(directory));
        path = directory.join(target).join(rest);
    }
    directories
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
