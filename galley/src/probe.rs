//! Probes by files: written while all is well, checked by their age (G9.1).

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use mesh_runtime::{Drain, Readiness};
use tracing::{debug, warn};

use crate::args::{ProbeArgs, ProbeCheckArgs};

/// A file is as fresh as this much more than its interval.
const TOLERANCE: Duration = Duration::from_millis(10);

/// Keeps one probe file fresh while a condition holds. The file is gone when it does not, and at the end.
#[derive(Debug)]
pub(crate) struct ProbeFile {
    name: &'static str,
    path: PathBuf,
    interval: Duration,
    /// `None` for a process that is alive as long as it writes.
    readiness: Option<Readiness>,
    written: bool,
    /// The last failure was told.
    failing: bool,
}

/// Whether the probe file is fresh.
///
/// # Errors
///
/// When the file does not exist or was not rewritten within the interval and 10 ms.
pub fn check(args: &ProbeCheckArgs) -> anyhow::Result<()> {
    let ProbeCheckArgs { path, interval } = args;
    let modified = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .with_context(|| format!("probe file {}", path.display()))?;
    // A file from the future is fresh.
    let age = SystemTime::now().duration_since(modified).unwrap_or_default();
    if age > interval.get().saturating_add(TOLERANCE) {
        bail!(
            "probe file {} is {age:?} old, more than {interval}",
            path.display()
        );
    }
    Ok(())
}

/// The probe files that the flags ask for.
pub(crate) fn files(args: ProbeArgs, readiness: &Readiness) -> Vec<ProbeFile> {
    let ProbeArgs {
        liveness_path,
        liveness_interval,
        readiness_path,
        readiness_interval,
    } = args;
    let probe = |name, path, interval, readiness| ProbeFile {
        name,
        path,
        interval,
        readiness,
        written: false,
        failing: false,
    };
    let mut files = vec![
        probe("liveness", liveness_path, liveness_interval.get(), None),
        probe(
            "readiness",
            readiness_path,
            readiness_interval.get(),
            Some(readiness.clone()),
        ),
    ];
    files.retain(|file| !file.path.as_os_str().is_empty());
    files
}

// === impl ProbeFile ===

impl ProbeFile {
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Rewrites the file twice in an interval until the process leaves.
    pub(crate) async fn run(mut self, drain: Drain) {
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
        assert!(check(&args).unwrap_err().to_string().starts_with("probe file "));
        let file = File::create(&path).unwrap();
        check(&args).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3))
            .unwrap();
        let error = check(&args).unwrap_err().to_string();
        assert!(error.contains("more than 2s"), "{error}");
    }

    #[test]
    fn g9_1_the_readiness_file_is_there_while_the_process_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        let readiness = Readiness::new();
        let pending = readiness.task("sync");
        let args = ProbeArgs {
            liveness_path: PathBuf::new(),
            liveness_interval: Duration::from_secs(2).into(),
            readiness_path: path.clone(),
            readiness_interval: Duration::from_secs(2).into(),
        };
        let mut files = files(args, &readiness);
        assert_eq!(files.len(), 1, "an empty path means no file");
        files[0].update();
        assert!(!path.exists());
        pending.ready();
        files[0].update();
        assert!(path.exists());
        let _again = readiness.task("another");
        files[0].update();
        assert!(!path.exists());
    }
}
