//! The certificates of Galley's servers: one set of files, followed once (G8.6, G9.2).

use mesh_runtime::Runtime;
use mesh_runtime::metrics::MetricsError;
use mesh_runtime::tls::{CertificateFiles, Credentials};

/// Follows the files; they may come later than this process, which is not ready before.
///
/// # Errors
///
/// When the metrics are registered already.
pub(crate) fn follow(runtime: &Runtime, files: CertificateFiles) -> Result<Credentials, MetricsError> {
    let updates = runtime.metrics().counter(
        "galley/validation/cert_key_updates",
        "Certificates that were taken from their files",
    )?;
    let errors = runtime.metrics().counter(
        "galley/validation/cert_key_update_errors",
        "Certificates that could not be used",
    )?;
    let credentials = Credentials::new(files);
    let mut pending = Some(runtime.readiness().task("certificates"));
    let follow = credentials.clone().follow(move |outcome| match outcome {
        Ok(()) => {
            updates.inc();
            drop(pending.take());
        }
        Err(_) => errors.inc(),
    });
    let drain = runtime.drain().clone();
    runtime.spawner().spawn_vital("certificates", async move {
        drain.cancel(follow).await.unwrap_or(Ok(()))
    });
    Ok(credentials)
}
