//! The back end, with its session if it has sessions (`spec 02` §10.1).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_api::Any;
use mesh_api::adapter::bypass::config::Params;
use mesh_runtime::Backoff;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, connect};
use mixer_adapter::Inferred;
use mixer_adapter::session::{SessionParams, close_session, create_session, session_config};
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tracing::{debug, warn};

/// Between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a back end is waited for when the handler is built, with its session: less than [`mixer_adapter::BUILD_LIMIT`], so
/// that the reason is told. The handler is tried again later.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long the end of a session may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// A back end that can be called.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) channel: Channel,
    /// Sent with every call: the parameters, or the id of the session.
    adapter_config: Option<Any>,
    session: Option<String>,
    /// Makes the ids of calls.
    calls: AtomicU64,
}

// === impl Backend ===

impl Backend {
    pub(super) async fn connect(
        address: &HostPort,
        params: Params,
        inferred: &Inferred,
    ) -> Result<Self, String> {
        let until = Instant::now() + PATIENCE;
        reach(address, until).await?;
        let channel = connect(address, &ClientOptions::default()).map_err(|error| error.to_string())?;
        let (adapter_config, session) = if params.session_based {
            let inferred = inferred
                .iter()
                .map(|(name, (_, inferred))| (name.clone(), inferred.clone()));
            let params = SessionParams {
                config: params.params,
                inferred: inferred.collect(),
            };
            let metadata = MetadataMap::new();
            let create = create_session(channel.clone(), &params, &metadata);
            let session = time::timeout_at(until, create)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))?;
            (Some(session_config(&session)), Some(session))
        } else {
            (params.params, None)
        };
        Ok(Self {
            channel,
            adapter_config,
            session,
            // Two Mixers, or one before and after a restart, must not use the same ids.
            calls: AtomicU64::new(RandomState::new().build_hasher().finish()),
        })
    }

    /// What is sent with a call.
    pub(super) fn adapter_config(&self) -> Option<Any> {
        self.adapter_config.clone()
    }

    /// The id of one more call.
    pub(super) fn call_id(&self) -> String {
        self.calls.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Ends the session. A back end that does not answer keeps it.
    pub(super) async fn close(&self) {
        let Some(session) = self.session.clone() else {
            return;
        };
        let metadata = MetadataMap::new();
        let close = close_session(self.channel.clone(), session, &metadata);
        match time::timeout(CLOSE_PATIENCE, close).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error, "cannot close the session"),
            Err(_) => warn!("the back end does not answer when its session is closed"),
        }
    }
}

/// Waits until somebody listens, or says why nobody did.
async fn reach(address: &HostPort, until: Instant) -> Result<(), String> {
    let host = address.host.as_deref().unwrap_or_default();
    let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut last = "no answer".to_owned();
    let reached = time::timeout_at(until, async {
        while let Err(error) = TcpStream::connect((host, address.port)).await {
            debug!(%address, %error, "the back end cannot be reached yet");
            last = error.to_string();
            pause.wait().await;
        }
    })
    .await;
    reached.map_err(|_| format!("cannot be reached within {PATIENCE:?}: {last}"))
}
