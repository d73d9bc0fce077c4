//! Files that lines are appended to, and that are put aside when they are large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::Offset;

/// When a file is put aside, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Largest size in bytes.
    pub size: u64,
    /// Files that were put aside longer ago are deleted.
    pub age: Option<Duration>,
    /// More files are not kept.
    pub files: Option<usize>,
}

/// A file that lines are appended to. Writing blocks.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    /// `None` when it could not be opened again.
    file: Option<File>,
    size: u64,
    not_deleted: Option<io::Error>,
}

// === impl RotatingFile ===

impl RotatingFile {
    /// Opens a file, whose lines stay. Without rotation it grows for ever.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let mut file = Self {
            path: path.to_owned(),
            rotation,
            file: None,
            size: 0,
            not_deleted: None,
        };
        file.reopen()?;
        file.prune();
        Ok(file)
    }

    /// Appends whole lines. Where they have no room together, each file gets as many as it has room for, and a line that is
    /// larger than a file may be has one of its own.
    ///
    /// # Errors
    ///
    /// When not all of them could be written.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(rotation) = self.rotation else {
            return self.append(lines);
        };
        let mut rest = lines;
        while !rest.is_empty() {
            let room = rotation.size.saturating_sub(self.size);
            let end = match fitting(rest, usize::try_from(room).unwrap_or(usize::MAX)) {
                0 if self.size > 0 => {
                    self.rotate()?;
                    continue;
                }
                0 => rest
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(rest.len(), |at| at + 1),
                end => end,
            };
            let (now, later) = rest.split_at(end);
            self.append(now)?;
            rest = later;
        }
        Ok(())
    }

    /// Why a file that was put aside could not be deleted, once.
    pub fn not_deleted(&mut self) -> Option<io::Error> {
        self.not_deleted.take()
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(lines)?;
            self.size += lines.len() as u64;
        }
        Ok(())
    }

    /// Puts the file aside and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let mut time = Timestamp::now();
        // Nothing that was put aside is overwritten.
        let aside = loop {
            let aside = self.aside(time);
            if !aside.try_exists()? {
                break aside;
            }
            time += Duration::from_millis(1);
        };
        match fs::rename(&self.path, &aside) {
            Ok(()) => {}
            // Somebody else has taken it away, and another one can begin.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.reopen()?;
        self.prune();
        Ok(())
    }

    /// `access-2019-03-19T10-00-00.000.log` for `access.log`.
    fn aside(&self, time: Timestamp) -> PathBuf {
        let (stem, extension) = self.names();
        let time = Offset::UTC.to_datetime(time);
        let name = format!(
            "{stem}-{}.{:03}{extension}",
            time.strftime("%Y-%m-%dT%H-%M-%S"),
            time.subsec_nanosecond() / 1_000_000
        );
        self.path.with_file_name(name)
    }

    /// The name without its extension, and the extension with its dot.
    fn names(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = part(self.path.extension());
        let dot = if extension.is_empty() { "" } else { "." };
        (part(self.path.file_stem()), format!("{dot}{extension}"))
    }

    /// Deletes files that were put aside too long ago, and the oldest of too many. What cannot be deleted stays.
    fn prune(&mut self) {
        let Some(rotation) = self.rotation else {
            return;
        };
        let mut files = self.put_aside().unwrap_or_default();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = rotation.age.and_then(|age| SystemTime::now().checked_sub(age));
        let oldest = oldest.and_then(|oldest| Timestamp::try_from(oldest).ok());
        let oldest = oldest.map(|oldest| self.aside(oldest));
        for (number, file) in files.iter().enumerate() {
            let too_many = rotation.files.is_some_and(|most| number >= most);
            let too_old = oldest.as_ref().is_some_and(|oldest| file < oldest);
            if (too_many || too_old)
                && let Err(error) = fs::remove_file(file)
            {
                let told = format!("{}: {error}", file.display());
                self.not_deleted = Some(io::Error::new(error.kind(), told));
            }
        }
    }

    /// Files that were put aside.
    fn put_aside(&self) -> io::Result<Vec<PathBuf>> {
        let (stem, extension) = self.names();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut found = Vec::new();
        for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let time = name
                .strip_prefix(&stem)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.strip_suffix(&extension));
            if time.is_some_and(is_time) {
                found.push(self.path.with_file_name(name));
            }
        }
        Ok(found)
    }
}

/// Whether it is `2019-03-19T10-00-00.000`.
fn is_time(text: &str) -> bool {
    const PATTERN: &[u8] = b"0000-00-00T00-00-00.000";
    text.len() == PATTERN.len()
        && text.bytes().zip(PATTERN).all(|(letter, pattern)| match pattern {
            b'0' => letter.is_ascii_digit(),
            pattern => letter == *pattern,
        })
}

/// How many bytes of whole lines fit into `room`.
fn fitting(lines: &[u8], room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    lines[..room]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_fit() {
        assert_eq!(fitting(b"ab\ncd\n", 6), 6);
        assert_eq!(fitting(b"ab\ncd\n", 5), 3);
        assert_eq!(fitting(b"ab\ncd\n", 2), 0);
        assert!(is_time("2019-03-19T10-00-00.000"));
        assert!(!is_time("2019-03-19T10-00-00.00x"));
    }

    /// M31, with files smaller than parameters allow.
    #[test]
    fn m31_files_rotate_by_size_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let other = folder.path().join("access-other.log");
        let old = folder.path().join("access-2019-03-19T10-00-00.000.log");
        for file in [&other, &old] {
            fs::write(file, "").unwrap();
        }
        let rotation = |files, age| Rotation { size: 10, files, age };
        let mut file = RotatingFile::open(&path, Some(rotation(Some(2), None))).unwrap();
        file.write(b"one\ntwo\nthree\n").unwrap();
        file.write(b"a line that is too long\n").unwrap();
        file.write(b"four\n").unwrap();
        let mut aside = file.put_aside().unwrap();
        aside.sort();
        let texts: Vec<_> = aside
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        assert_eq!(texts, ["three\n", "a line that is too long\n"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        assert!(other.exists() && !old.exists());
        // What was there is continued, and what is old goes at the start, too.
        fs::write(&old, "").unwrap();
        let month = Duration::from_secs(30 * 24 * 60 * 60);
        let mut file = RotatingFile::open(&path, Some(rotation(None, Some(month)))).unwrap();
        assert!(!old.exists() && file.not_deleted().is_none());
        file.write(b"five\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\nfive\n");
    }

    /// Another tool may put files aside, too.
    #[test]
    fn m31_a_file_that_was_taken_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let rotation = Rotation {
            size: 10,
            files: None,
            age: None,
        };
        let mut file = RotatingFile::open(&path, Some(rotation)).unwrap();
        file.write(b"one\ntwo\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.write(b"three\n").unwrap();
        file.write(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        assert_eq!(file.put_aside().unwrap().len(), 1);
    }

    /// What cannot be deleted is told, and does not keep lines from being written.
    #[test]
    fn what_cannot_be_deleted_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let old = folder.path().join("access-2019-03-19T10-00-00.000.log");
        fs::create_dir(&old).unwrap();
        let rotation = Rotation {
            size: 10,
            files: Some(0),
            age: None,
        };
        let mut file = RotatingFile::open(&path, Some(rotation)).unwrap();
        let told = file.not_deleted().unwrap().to_string();
        assert!(told.contains("2019-03-19"), "{told}");
        file.write(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    }
}
