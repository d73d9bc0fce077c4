//! Which files there are and which of them have changed, by their metadata alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A file changed this shortly before it was read may change again without another time stamp: the clock of file
/// systems ticks in milliseconds.
const RACY: Duration = Duration::from_millis(100);

/// Links may lead into a circle.
const MAX_DEPTH: usize = 32;

/// Tells two states of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
    device: u64,
    inode: u64,
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: BTreeMap<PathBuf, Stamp>,
    /// Files and directories that cannot be looked at; what is known of them stays.
    pub(super) unreadable: BTreeMap<PathBuf, io::Error>,
}

/// Lists the configuration files beneath `root`.
///
/// # Errors
///
/// When `root` itself cannot be read.
pub(super) fn list(root: &Path) -> io::Result<Listing> {
    let metadata = fs::metadata(root)?;
    let mut listing = Listing::default();
    if metadata.is_dir() {
        let mut inside = BTreeSet::from([(metadata.dev(), metadata.ino())]);
        directory(root, fs::read_dir(root)?, &mut inside, &mut listing);
    } else {
        file(root.to_owned(), &metadata, &mut listing);
    }
    Ok(listing)
}

/// The state of one file that [`list`] would have listed; `None` where it would not.
///
/// # Errors
///
/// When it cannot be looked at.
pub(super) fn stamp(root: &Path, path: &Path) -> io::Result<Option<Stamp>> {
    let beneath = path.strip_prefix(root).unwrap_or(path);
    if beneath.iter().any(is_hidden) || !has_extension(path) {
        return Ok(None);
    }
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file().then(|| Stamp::of(&metadata))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn has_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e))
}

/// `inside` holds the directories on the way here.
fn directory(path: &Path, entries: fs::ReadDir, inside: &mut BTreeSet<(u64, u64)>, listing: &mut Listing) {
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                listing.unreadable.insert(path.to_owned(), error);
                return;
            }
        };
        if is_hidden(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Gone meanwhile, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                listing.unreadable.insert(path, error);
                continue;
            }
        };
        if metadata.is_dir() {
            let identity = (metadata.dev(), metadata.ino());
            if inside.len() >= MAX_DEPTH || !inside.insert(identity) {
                continue;
            }
            match fs::read_dir(&path) {
                Ok(entries) => directory(&path, entries, inside, listing),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    listing.unreadable.insert(path, error);
                }
            }
            inside.remove(&identity);
        } else if has_extension(&path) {
            file(path, &metadata, listing);
        }
    }
}

fn file(path: PathBuf, metadata: &Metadata, listing: &mut Listing) {
    // Reading a pipe or a device might never end.
    if metadata.is_file() {
        listing.files.insert(path, Stamp::of(metadata));
    }
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// Length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the file may change after `now` and look the same.
    pub(super) fn is_racy(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let age = |(seconds, nanos): (i64, i64)| {
            let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
                return Duration::MAX;
            };
            now.saturating_sub(Duration::new(seconds, nanos))
        };
        age(self.modified).min(age(self.changed)) < RACY
    }
}
