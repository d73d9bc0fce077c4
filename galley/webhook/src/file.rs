//! Follows the file with the webhook configuration (G8.6).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::ReadyGuard;
use mesh_runtime::watch::{FileWatch, WatchError};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::configuration::ConfigurationFile;
use crate::metrics::ValidationMetrics;

/// The file is read when it did not change for this long.
const QUIET: Duration = Duration::from_millis(100);

/// A file that cannot be used is looked at again after this, for what is no change of the file.
const LOOK: Duration = Duration::from_secs(10);

/// What the file said when it could be used last.
#[derive(Debug)]
pub(crate) struct FileReader {
    pub(crate) path: PathBuf,
    pub(crate) current: watch::Sender<Option<Arc<ConfigurationFile>>>,
    /// The host that the API server calls.
    pub(crate) host: watch::Sender<String>,
    pub(crate) metrics: ValidationMetrics,
    /// Until the file was read for the first time.
    pub(crate) pending: Option<ReadyGuard>,
}

// === impl FileReader ===

impl FileReader {
    /// Reads the file, and again when it changes; never ends.
    ///
    /// # Errors
    ///
    /// When it cannot be watched.
    pub(crate) async fn run(mut self) -> Result<(), WatchError> {
        let mut changes = FileWatch::new([&self.path], QUIET)?;
        let mut failed = None;
        loop {
            match self.read().await {
                Ok(file) => {
                    failed = None;
                    self.take(file);
                }
                Err(reason) if failed.as_ref() != Some(&reason) => {
                    self.metrics.config_load_errors.inc();
                    let kept = self.current.borrow().is_some();
                    let file = self.path.display();
                    warn!(%file, reason, kept, "the webhook configuration cannot be used");
                    failed = Some(reason);
                }
                Err(_) => {}
            }
            if failed.is_some() {
                // Either way it is time to look.
                let _elapsed = tokio::time::timeout(LOOK, changes.changed()).await;
            } else {
                changes.changed().await;
            }
        }
    }

    async fn read(&self) -> Result<ConfigurationFile, String> {
        let text = tokio::fs::read_to_string(&self.path)
            .await
            .map_err(|error| error.to_string())?;
        ConfigurationFile::parse(&text).map_err(|error| error.to_string())
    }

    fn take(&mut self, file: ConfigurationFile) {
        self.metrics.config_loads.inc();
        self.pending = None;
        if self.current.borrow().as_deref() == Some(&file) {
            return;
        }
        info!(file = %self.path.display(), "webhook configuration read");
        if let Some(host) = file.host() {
            self.host.send_if_modified(|current| {
                let differs = *current != host;
                *current = host;
                differs
            });
        }
        self.current.send_replace(Some(Arc::new(file)));
    }
}
