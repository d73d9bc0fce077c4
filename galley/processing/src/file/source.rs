//! The loop: wait for a change, look, read what differs, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mesh_config::Timestamp;
use mesh_config::yaml::MAX_FILE_BYTES;
use mesh_runtime::watch::{FileWatch, WatchError};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::catalog::Catalog;
use super::read::{self, Contents, display_name, whole_file};
use super::scan::{self, Listing, Stamp};
use crate::event::{Event, Problem};

/// A burst of file events is over after this long; what comes later is gathered by the processor.
const QUIET: Duration = Duration::from_millis(5);

/// A file that is suddenly empty is believed after this long.
const EMPTY_GRACE: Duration = Duration::from_secs(1);

/// What cannot be read is tried again after this long, in case the reason goes away without a change.
const RETRY: Duration = Duration::from_secs(1);

/// Follows a file or directory.
#[derive(Debug)]
pub struct FileSource {
    root: PathBuf,
}

/// The source cannot work.
#[derive(Debug, thiserror::Error)]
pub enum FileSourceError {
    /// The system does not report changes.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Reading has panicked.
    #[error("reading the configuration files failed: {0}")]
    Read(#[from] tokio::task::JoinError),
}

/// What is known of the files, and what they say.
#[derive(Debug)]
struct Reader {
    root: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    catalog: Catalog,
    problems: Vec<Problem>,
    synced: bool,
    /// When to look again at everything although nothing changed.
    again: Option<Instant>,
}

/// The state in which a file was read.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    /// To be read again in any case.
    again: bool,
    /// Since when it is empty, while that is not believed.
    empty_since: Option<Instant>,
    /// Of the text that was taken last; `None` when something else is known of the file.
    digest: Option<[u8; 32]>,
}

/// What came of a look at the metadata of files.
#[derive(Debug, Default)]
struct Found {
    files: BTreeMap<PathBuf, Stamp>,
    /// Files that are known, and no longer there.
    gone: Vec<PathBuf>,
    unreadable: BTreeMap<PathBuf, io::Error>,
}

// === impl FileSource ===

impl FileSource {
    /// A source of the objects in a file, or in the files of a directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { root: path.into() }
    }

    /// Tells what there is and then what changes, until nobody listens.
    ///
    /// # Errors
    ///
    /// When the system does not report changes.
    pub async fn run(self, events: mpsc::Sender<Vec<Event>>) -> Result<(), FileSourceError> {
        // Watching begins before looking, so that nothing falls in between.
        let mut watch = FileWatch::new([&self.root], QUIET)?;
        let mut reader = Reader::new(self.root);
        let mut files = None;
        loop {
            let told;
            (reader, told) = tokio::task::spawn_blocking(move || {
                let told = reader.look(files.as_ref(), Instant::now(), SystemTime::now());
                (reader, told)
            })
            .await?;
            if !told.is_empty() && events.send(told).await.is_err() {
                return Ok(());
            }
            files = tokio::select! {
                changes = watch.changes() => changes.files,
                () = until(reader.again) => None,
                () = events.closed() => return Ok(()),
            };
        }
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

// === impl Reader ===

impl Reader {
    fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: BTreeMap::new(),
            catalog: Catalog::default(),
            problems: Vec::new(),
            synced: false,
            again: None,
        }
    }

    /// Looks at the files and reads those that changed. `changed` are the paths at which something happened, where nothing
    /// happened elsewhere.
    fn look(&mut self, changed: Option<&BTreeSet<PathBuf>>, now: Instant, clock: SystemTime) -> Vec<Event> {
        // Whatever is to be looked at again is found by looking at everything.
        let is_settled = self.again.take().is_none() && self.synced;
        let some = changed
            .filter(|_| is_settled)
            .and_then(|changed| self.find_at(changed));
        let found = match some {
            Some(found) => Ok(found),
            None => scan::list(&self.root).map(|listing| self.compare(listing)),
        };
        let (mut events, mut problems) = (Vec::new(), Vec::new());
        match found {
            Ok(found) => {
                for (path, error) in &found.unreadable {
                    self.look_again(now + RETRY);
                    problems.push(unreadable(path, error));
                }
                for path in found.gone {
                    self.known.remove(&path);
                    self.catalog.remove(&path);
                }
                for (path, stamp) in found.files {
                    if let Some(time) = self.file(&path, stamp, now, clock) {
                        self.look_again(time);
                    }
                }
                events.extend(self.catalog.events(timestamp(clock)));
                if !std::mem::replace(&mut self.synced, true) {
                    info!(path = %self.root.display(), files = self.known.len(), objects = events.len(), "read");
                    events.push(Event::FullSync);
                }
            }
            Err(error) => {
                self.look_again(now + RETRY);
                problems.push(unreadable(&self.root, &error));
            }
        }
        problems.extend(self.catalog.problems());
        if problems != self.problems {
            // Before the sync, so that who waits for it sees both.
            events.insert(0, Event::Problems(problems.clone()));
            self.problems = problems;
        }
        events
    }

    /// What is at these absolute paths now; `None` when one of them cannot be looked at.
    fn find_at(&self, paths: &BTreeSet<PathBuf>) -> Option<Found> {
        let root = std::path::absolute(&self.root).ok()?;
        let mut found = Found::default();
        for path in paths {
            let path = self.root.join(path.strip_prefix(&root).ok()?);
            match scan::stamp(&self.root, &path).ok()? {
                Some(stamp) => {
                    found.files.insert(path, stamp);
                }
                None if self.known.contains_key(&path) => found.gone.push(path),
                None => {}
            }
        }
        Some(found)
    }

    /// What a listing means for what is known. Files beneath something unreadable may be there.
    fn compare(&self, listing: Listing) -> Found {
        let Listing { files, unreadable } = listing;
        let may_be_there = |path: &Path| {
            files.contains_key(path) || path.ancestors().any(|ancestor| unreadable.contains_key(ancestor))
        };
        let gone = self.known.keys().filter(|path| !may_be_there(path));
        let gone = gone.cloned().collect();
        Found {
            files,
            gone,
            unreadable,
        }
    }

    fn look_again(&mut self, time: Instant) {
        self.again = Some(self.again.map_or(time, |again| again.min(time)));
    }

    /// Reads a file if it has changed. Returns when to look again.
    fn file(&mut self, path: &Path, stamp: Stamp, now: Instant, clock: SystemTime) -> Option<Instant> {
        let known = self.known.get(path);
        if known.is_some_and(|known| known.stamp == stamp && !known.again) {
            return None;
        }
        let (empty_since, digest) = known.map_or((None, None), |known| (known.empty_since, known.digest));
        let mut after = Known {
            stamp,
            again: stamp.is_racy(clock),
            empty_since: None,
            digest: None,
        };
        let mut look_again = None;
        match text(path, &stamp) {
            Ok(text) => {
                let read = Some(Sha256::digest(&text).into());
                if read == digest {
                    self.known.insert(path.to_owned(), Known { digest, ..after });
                    return None;
                }
                let contents = read::contents(&display_name(path), &text);
                let since = empty_since.unwrap_or(now);
                if contents.is_empty() && self.catalog.object_count(path) > 0 && now < since + EMPTY_GRACE {
                    after = Known {
                        again: true,
                        empty_since: Some(since),
                        ..after
                    };
                    look_again = Some(since + EMPTY_GRACE);
                } else {
                    after.digest = read;
                    self.take(path, contents);
                }
            }
            // Gone meanwhile: the next look sees that.
            Err(Unreadable::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                after.again = true;
            }
            Err(Unreadable::Io(error)) => {
                self.catalog.set_unreadable(path, unreadable(path, &error));
                after.again = true;
                look_again = Some(now + RETRY);
            }
            Err(Unreadable::Content(reason)) => {
                self.catalog
                    .set_unreadable(path, whole_file(&display_name(path), reason));
            }
        }
        self.known.insert(path.to_owned(), after);
        look_again
    }

    fn take(&mut self, path: &Path, contents: Contents) {
        for ((api_version, kind), count) in &contents.foreign {
            debug!(path = %path.display(), api_version, kind, count, "objects of a foreign kind ignored");
        }
        self.catalog.set(path, contents);
    }
}

/// Why a file has no text.
enum Unreadable {
    Io(io::Error),
    Content(String),
}

fn text(path: &Path, stamp: &Stamp) -> Result<String, Unreadable> {
    let too_long = || {
        Unreadable::Content(format!(
            "the file is longer than the {MAX_FILE_BYTES} bytes that are read"
        ))
    };
    let limit = MAX_FILE_BYTES as u64;
    if stamp.length() > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    // The file may be longer by now.
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(Unreadable::Io)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        Unreadable::Content(format!("line {line} is not UTF-8"))
    })
}

fn unreadable(path: &Path, error: &dyn StdError) -> Problem {
    whole_file(&display_name(path), format!("cannot be read: {error}"))
}

fn timestamp(clock: SystemTime) -> Timestamp {
    let since = clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
