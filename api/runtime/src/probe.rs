//! Probes by files: written while all is well, checked by their age (G9.1, `spec 02` §9.2).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tracing::{debug, warn};

use crate::args::GoDuration;
use crate::drain::Drain;
use crate::readiness::Readiness;

/// A file is as fresh as this much more than its interval.
const TOLERANCE: Duration = Duration::from_millis(10);

/// Keeps one probe file fresh while a condition holds. The file is gone when it does not, and at the end.
#[derive(Debug)]
pub struct ProbeFile {
    name: &'static str,
    path: PathBuf,
    interval: Duration,
    /// `None` for a process that is alive as long as it writes.
    readiness: Option<Readiness>,
    written: bool,
    /// The last failure was told.
    failing: bool,
}

/// Flags of the commands that check a probe file.
#[derive(Clone, Debug, clap::Args)]
pub struct ProbeCheckArgs {
    /// The file to look at.
    #[arg(long = "probe-path", value_name = "PATH")]
    pub path: PathBuf,

    /// Age at which the file is stale.
    #[arg(long = "interval", value_name = "DURATION", default_value = "2s")]
    pub interval: GoDuration,
}

/// A probe file is not fresh.
#[derive(Debug, thiserror::Error)]
pub enum NotFresh {
    /// It cannot be looked at.
    #[error("probe file {path}: {source}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is old.
    #[error("probe file {path} is {age:?} old, more than {interval}")]
    Old {
        /// The file.
        path: PathBuf,
        /// How old it is.
        age: Duration,
        /// How old it may be.
        interval: GoDuration,
    },
}

// === impl ProbeCheckArgs ===

impl ProbeCheckArgs {
    /// Whether the probe file is fresh.
    ///
    /// # Errors
    ///
    /// When the file does not exist or was not rewritten within the interval and 10 ms.
    pub fn check(&self) -> Result<(), NotFresh> {
        let Self { path, interval } = self;
        let modified = fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .map_err(|source| NotFresh::Missing {
                path: path.clone(),
                source,
            })?;
        // A file from the future is fresh.
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        if age > interval.get().saturating_add(TOLERANCE) {
            return Err(NotFresh::Old {
                path: path.clone(),
                age,
                interval: *interval,
            });
        }
        Ok(())
    }
}

// === impl ProbeFile ===

impl ProbeFile {
    /// A file that is rewritten while the process lives, or with a readiness while it is ready; `None` for an empty path.
    #[must_use]
    pub fn new(
        name: &'static str,
        path: PathBuf,
        interval: Duration,
        readiness: Option<Readiness>,
    ) -> Option<Self> {
        (!path.as_os_str().is_empty()).then_some(Self {
            name,
            path,
            interval,
            readiness,
            written: false,
            failing: false,
        })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Rewrites the file twice in an interval until the process leaves.
    pub async fn run(mut self, drain: Drain) {
        let period = (self.interval / 2).max(Duration::from_millis(10));
        while !drain.is_draining() {
            self.update();
            if drain.cancel(tokio::time::sleep(period)).await.is_none() {
                break;
            }
        }
        self.remove();
    }

    fn update(&mut self) {
        if self
            .readiness
            .as_ref()
            .is_some_and(|readiness| !readiness.is_ready())
        {
            self.remove();
            return;
        }
        match fs::write(&self.path, b"") {
            Ok(()) => {
                self.written = true;
                self.failing = false;
            }
            Err(error) => {
                if !self.failing {
                    warn!(probe = self.name, path = %self.path.display(), %error, "cannot write the probe file");
                }
                self.failing = true;
            }
        }
    }

    fn remove(&mut self) {
        if !self.written {
            return;
        }
        self.written = false;
        match fs::remove_file(&self.path) {
            Ok(()) => debug!(probe = self.name, "probe file removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                warn!(probe = self.name, path = %self.path.display(), %error, "cannot remove the probe file");
            }
        }
    }
}

impl Drop for ProbeFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn g9_1_a_probe_succeeds_while_the_file_is_younger_than_the_interval() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        let args = ProbeCheckArgs {
            path: path.clone(),
            interval: Duration::from_secs(2).into(),
        };
        assert!(args.check().unwrap_err().to_string().starts_with("probe file "));
        let file = File::create(&path).unwrap();
        args.check().unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3))
            .unwrap();
        let error = args.check().unwrap_err().to_string();
        assert!(error.contains("more than 2s"), "{error}");
    }

    #[test]
    fn g9_1_the_readiness_file_is_there_while_the_process_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        let readiness = Readiness::new();
        let pending = readiness.task("sync");
        let interval = Duration::from_secs(2);
        assert!(ProbeFile::new("none", PathBuf::new(), interval, None).is_none());
        let mut file = ProbeFile::new("readiness", path.clone(), interval, Some(readiness.clone())).unwrap();
        file.update();
        assert!(!path.exists());
        pending.ready();
        file.update();
        assert!(path.exists());
        let _again = readiness.task("another");
        file.update();
        assert!(!path.exists());
    }
}
