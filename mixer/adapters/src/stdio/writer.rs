//! Where lines end up: a stream of the process, or a file that is put aside when it is large.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::Offset;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use super::config::{Rotation, Target};

/// Writes whole lines.
pub(super) enum Writer {
    Stream(File),
    File(LogFile),
}

/// A file that lines are appended to.
pub(super) struct LogFile {
    path: PathBuf,
    rotation: Option<Rotation>,
    /// `None` when it could not be opened again.
    file: Option<File>,
    size: u64,
}

/// A stream of the process, which stays open.
fn stream(stream: BorrowedFd<'_>) -> io::Result<File> {
    let own = stream.try_clone_to_owned()?;
    Ok(File::from_std(own.into()))
}

// === impl Writer ===

impl Writer {
    /// Opens what lines go to.
    pub(super) async fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::Stdout => Self::Stream(stream(io::stdout().as_fd())?),
            Target::Stderr => Self::Stream(stream(io::stderr().as_fd())?),
            Target::File(path, rotation) => Self::File(LogFile::open(path, *rotation).await?),
        })
    }

    /// Writes lines, and everything that was written before.
    pub(super) async fn write(&mut self, lines: &str) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                stream.write_all(lines.as_bytes()).await?;
                stream.flush().await
            }
            Self::File(file) => file.write(lines).await,
        }
    }
}

// === impl LogFile ===

impl LogFile {
    async fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let mut file = Self {
            path: path.to_owned(),
            rotation,
            file: None,
            size: 0,
        };
        file.reopen().await?;
        file.prune().await;
        Ok(file)
    }

    async fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.path)
            .await?;
        self.size = file.metadata().await?.len();
        self.file = Some(file);
        Ok(())
    }

    async fn write(&mut self, lines: &str) -> io::Result<()> {
        let Some(rotation) = self.rotation else {
            return self.append(lines).await;
        };
        // As many lines at once as the file has room for.
        let mut rest = lines;
        while !rest.is_empty() {
            let room = rotation.size.saturating_sub(self.size);
            let end = fitting(rest, usize::try_from(room).unwrap_or(usize::MAX));
            let end = match end {
                0 if self.size > 0 => {
                    self.rotate(rotation).await?;
                    continue;
                }
                // A line that is larger than a file may be has one of its own.
                0 => rest.find('\n').map_or(rest.len(), |at| at + 1),
                end => end,
            };
            let (now, later) = rest.split_at(end);
            self.append(now).await?;
            rest = later;
        }
        Ok(())
    }

    async fn append(&mut self, lines: &str) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen().await?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(lines.as_bytes()).await?;
            file.flush().await?;
            self.size += lines.len() as u64;
        }
        Ok(())
    }

    /// Puts the file aside and begins another.
    async fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        self.file = None;
        let mut time = Timestamp::now();
        // Nothing that was put aside is overwritten.
        let aside = loop {
            let aside = self.aside(time);
            if !fs::try_exists(&aside).await? {
                break aside;
            }
            time += Duration::from_millis(1);
        };
        match fs::rename(&self.path, &aside).await {
            Ok(()) => tracing::debug!(file = %aside.display(), size = rotation.size, "file is put aside"),
            // Somebody else has taken it away, and another one can begin.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.reopen().await?;
        self.prune().await;
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
    async fn prune(&self) {
        let Some(rotation) = self.rotation else {
            return;
        };
        let mut files = self.put_aside().await.unwrap_or_default();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = rotation.age.and_then(|age| SystemTime::now().checked_sub(age));
        let oldest = oldest.and_then(|oldest| Timestamp::try_from(oldest).ok());
        let oldest = oldest.map(|oldest| self.aside(oldest));
        for (number, file) in files.iter().enumerate() {
            let too_many = rotation.files.is_some_and(|most| number >= most);
            let too_old = oldest.as_ref().is_some_and(|oldest| file < oldest);
            if (too_many || too_old)
                && let Err(error) = fs::remove_file(file).await
            {
                tracing::warn!(file = %file.display(), %error, "cannot delete a file that was put aside");
            }
        }
    }

    /// Files that were put aside.
    async fn put_aside(&self) -> io::Result<Vec<PathBuf>> {
        let (stem, extension) = self.names();
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut entries = fs::read_dir(folder.unwrap_or(Path::new("."))).await?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name().to_string_lossy().into_owned();
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
fn fitting(lines: &str, room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    lines.as_bytes()[..room]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_fit() {
        assert_eq!(fitting("ab\ncd\n", 6), 6);
        assert_eq!(fitting("ab\ncd\n", 5), 3);
        assert_eq!(fitting("ab\ncd\n", 2), 0);
        assert!(is_time("2019-03-19T10-00-00.000"));
        assert!(!is_time("2019-03-19T10-00-00.00x"));
    }

    /// M31, with files smaller than parameters allow.
    #[tokio::test]
    async fn m31_files_rotate_by_size_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let other = folder.path().join("access-other.log");
        let old = folder.path().join("access-2019-03-19T10-00-00.000.log");
        for file in [&other, &old] {
            std::fs::write(file, "").unwrap();
        }
        let rotation = |files, age| Rotation { size: 10, files, age };
        let mut file = LogFile::open(&path, Some(rotation(Some(2), None))).await.unwrap();
        file.write("one\ntwo\nthree\n").await.unwrap();
        file.write("a line that is too long\n").await.unwrap();
        file.write("four\n").await.unwrap();
        let mut aside = file.put_aside().await.unwrap();
        aside.sort();
        let texts: Vec<_> = aside
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        assert_eq!(texts, ["three\n", "a line that is too long\n"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
        assert!(other.exists() && !old.exists());
        // What was there is continued, and what is old goes at the start, too.
        std::fs::write(&old, "").unwrap();
        let month = Duration::from_secs(30 * 24 * 60 * 60);
        let mut file = LogFile::open(&path, Some(rotation(None, Some(month))))
            .await
            .unwrap();
        assert!(!old.exists());
        file.write("five\n").await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\nfive\n");
    }

    /// M31: another tool may put files aside, too.
    #[tokio::test]
    async fn m31_a_file_that_was_taken_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let rotation = Rotation {
            size: 10,
            files: None,
            age: None,
        };
        let mut file = LogFile::open(&path, Some(rotation)).await.unwrap();
        file.write("one\ntwo\n").await.unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write("three\n").await.unwrap();
        file.write("four\n").await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
        assert_eq!(file.put_aside().await.unwrap().len(), 1);
    }
}
