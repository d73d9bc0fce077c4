//! Certificates on disk: one digest at the start and one for every batch of changes (`AGT-50` to `AGT-54`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_runtime::watch::FileWatch;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::Certificates;

mod pairs;
#[cfg(test)]
mod tests;

/// How long is waited for certificates without which Envoy cannot start (`AGT-54`).
const WAIT_FOR_REQUIRED: Duration = Duration::from_secs(120);

/// Events that belong to one change come together within this.
const QUIET: Duration = Duration::from_millis(50);

/// The shortest pause between two looks.
const MIN_POLL: Duration = Duration::from_secs(1);

/// What all certificates together are known by. A file that cannot be read adds nothing (`AGT-52`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// How changes are noticed.
#[derive(Debug)]
enum Changes {
    /// The system tells.
    Watch(Box<FileWatch>),
    /// The system has no more watches to give: looking again and again.
    Poll(Duration),
}

/// Sends a fingerprint at once and then after every change, at most one in each `certificates.delay`.
/// Ends when nobody listens any more.
///
/// A gateway that is restarted for a certificate and a key that do not belong together serves nothing at all, so such a
/// change is passed over until the next one.
pub async fn watch(certificates: Certificates, fingerprints: mpsc::Sender<Fingerprint>) {
    let Certificates {
        files,
        folders,
        delay,
        required,
    } = certificates;
    let mut changes = Changes::of(&files, &folders, delay);
    wait_for(&required, &mut changes).await;
    let mut is_first = true;
    loop {
        let mounted = mounted_files(&folders);
        match pairs::check(&mounted) {
            Err(error) if !is_first => {
                warn!(%error, "certificates change, and envoy keeps what it has");
            }
            _ => {
                let all: Vec<PathBuf> = files.iter().cloned().chain(mounted).collect();
                if fingerprints.send(Fingerprint::of(&all)).await.is_err() {
                    return;
                }
            }
        }
        is_first = false;
        changes.next().await;
        // What arrives meanwhile belongs to the same batch (AGT-51).
        tokio::time::sleep(delay).await;
    }
}

/// The files in folders, in the order of their paths. What kubelet keeps beside them starts with two dots.
fn mounted_files(folders: &[PathBuf]) -> Vec<PathBuf> {
    let entries = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".."))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

async fn wait_for(required: &[PathBuf], changes: &mut Changes) {
    let complete = || required.iter().all(|file| file.exists());
    if complete() {
        return;
    }
    info!(files = ?required, "waiting for certificates");
    let found = async {
        while !complete() {
            changes.next().await;
        }
    };
    if tokio::time::timeout(WAIT_FOR_REQUIRED, found).await.is_err() {
        warn!(files = ?required, "starting without certificates");
    }
}

// === impl Changes ===

impl Changes {
    fn of(files: &[PathBuf], folders: &[PathBuf], delay: Duration) -> Changes {
        // Folders, since kubelet swaps links instead of writing files (AGT-53).
        let parents = files.iter().filter_map(|file| file.parent());
        let watched: BTreeSet<&Path> = parents.chain(folders.iter().map(PathBuf::as_path)).collect();
        match FileWatch::new(watched, QUIET) {
            Ok(watch) => Changes::Watch(Box::new(watch)),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "looking at the certificates from time to time"
                );
                Changes::Poll(delay.max(MIN_POLL))
            }
        }
    }

    /// Waits until something may have changed.
    async fn next(&mut self) {
        match self {
            Changes::Watch(watch) => {
                watch.changed().await;
                info!("certificates change");
            }
            Changes::Poll(interval) => tokio::time::sleep(*interval).await,
        }
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// The SHA-256 of the contents in order.
    #[must_use]
    pub fn of(files: &[PathBuf]) -> Fingerprint {
        let mut hash = Sha256::new();
        for content in files.iter().filter_map(|file| std::fs::read(file).ok()) {
            hash.update(content);
        }
        Fingerprint(hash.finalize().into())
    }
}
