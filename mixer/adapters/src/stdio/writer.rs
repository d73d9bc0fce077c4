//! Where lines end up: a stream of the process, or a file that is put aside when it is large.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_runtime::rotate::RotatingFile;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::task;
use tracing::warn;

use super::config::Target;

/// Writes whole lines.
pub(super) enum Writer {
    Stream(File),
    /// Shared with the thread that writes; nobody else waits for it.
    File(Arc<Mutex<RotatingFile>>),
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
            Target::File(path, rotation) => {
                let (path, rotation) = (path.clone(), *rotation);
                let open = move || RotatingFile::open(&path, rotation);
                let mut file = task::spawn_blocking(open).await??;
                tell(&mut file);
                Self::File(Arc::new(Mutex::new(file)))
            }
        })
    }

    /// Writes lines, and everything that was written before.
    pub(super) async fn write(&mut self, lines: String) -> io::Result<()> {
        match self {
            Self::Stream(stream) => {
                stream.write_all(lines.as_bytes()).await?;
                stream.flush().await
            }
            Self::File(file) => {
                let file = Arc::clone(file);
                let write = move || {
                    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                    let written = file.write(lines.as_bytes());
                    tell(&mut file);
                    written
                };
                task::spawn_blocking(write).await?
            }
        }
    }
}

/// Tells what could not be deleted.
fn tell(file: &mut RotatingFile) {
    if let Some(error) = file.not_deleted() {
        warn!(%error, "cannot delete a file that was put aside");
    }
}
