//! Waiting for an API server that is starting.

use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Returns when the API server says that it is ready, however long that takes; after `patience` also when it answers
/// without saying so, such as one that does not let us ask.
///
/// A server that has just started does not know yet who may do what, and forbids everything. Whoever asked it then for a
/// kind would be told that it has no objects.
pub async fn until_ready(client: &Client, patience: Duration) {
    let mut refused: Option<Instant> = None;
    let mut told = false;
    loop {
        let reason = match ask(client).await {
            Ok(()) => {
                if told {
                    info!("the API server is ready");
                }
                return;
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403 | 404) => {
                let since = *refused.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience {
                    warn!(
                        reason = status.message,
                        "the API server does not say whether it is ready, going on"
                    );
                    return;
                }
                status.message
            }
            Err(error) => {
                refused = None;
                mesh_runtime::error_chain(&error)
            }
        };
        if !std::mem::replace(&mut told, true) {
            warn!(reason, "the API server is not ready, waiting for it");
        }
        sleep(PAUSE).await;
    }
}

async fn ask(client: &Client) -> kube::Result<()> {
    let request = http::Request::get("/readyz")
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(drop)
}
