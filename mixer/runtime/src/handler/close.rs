//! The end of handlers (`spec 02` §9.5.6). It holds up neither requests nor the configuration.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use mixer_adapter::{Env, Workers};
use tokio::sync::mpsc;
use tracing::{debug, error, warn};

use super::live::Work;
use crate::config::FullName;
use crate::metrics::EngineMetrics;

/// How long a handler may take to send what it has and to close its connections.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked for workers that have not ended, a second apart.
const STRAY_CHECKS: usize = 10;

/// A handler that nobody uses any more.
pub(super) struct Closing {
    pub(super) name: FullName,
    pub(super) work: Work,
    pub(super) env: Env,
}

/// Closes handlers that nobody uses any more.
#[derive(Debug)]
pub struct Closer {
    pub(super) closing: mpsc::UnboundedReceiver<Closing>,
    pub(super) metrics: EngineMetrics,
}

// === impl Closer ===

impl Closer {
    /// Closes handlers until there are none and can be none any more.
    pub async fn run(mut self) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                closing = self.closing.recv() => match closing {
                    Some(closing) => running.push(close(closing, self.metrics.clone())),
                    None => break,
                },
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
        while running.next().await.is_some() {}
    }
}

async fn close(closing: Closing, metrics: EngineMetrics) {
    let Closing { name, work, env } = closing;
    let closed = AssertUnwindSafe(work.close()).catch_unwind();
    match tokio::time::timeout(CLOSE_LIMIT, closed).await {
        Ok(Ok(())) => {
            debug!(handler = %name, "closed");
        }
        Ok(Err(_)) => {
            error!(handler = %name, "closing the handler panicked");
            metrics.not_closed();
        }
        Err(_) => {
            error!(handler = %name, limit = ?CLOSE_LIMIT, "closing the handler takes too long, it is given up");
            metrics.not_closed();
        }
    }
    env.stop();
    for _ in 0..STRAY_CHECKS {
        let Workers { workers, daemons } = env.workers();
        if workers + daemons == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let Workers { workers, daemons } = env.workers();
    warn!(handler = %name, workers, daemons, "the handler is closed, and tasks of it are still running");
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Closing").field(&self.name).finish()
    }
}
