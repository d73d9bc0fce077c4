//! The back end, with its session if it has sessions (`spec 02` §10.1).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_api::Any;
use mesh_api::adapter::bypass::config::Params;
use mesh_api::google::rpc::Status;
use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_client::InfrastructureBackendClient;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CloseSessionRequest, CreateSessionRequest, ValidateRequest,
};
use mesh_runtime::Backoff;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::{ClientOptions, connect};
use mixer_adapter::Inferred;
use tokio::net::TcpStream;
use tokio::time::{self, Instant};
use tonic::Code;
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

/// What `adapter_config` is called that holds the id of a session.
const SESSION_TYPE: &str = "google.protobuf.Any.type_url";

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
            let open = open(channel.clone(), params.params, inferred);
            let session = time::timeout_at(until, open)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))?;
            let config = Any {
                type_url: SESSION_TYPE.to_owned(),
                value: session.clone().into(),
            };
            (Some(config), Some(session))
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
        let Some(session_id) = self.session.clone() else {
            return;
        };
        let mut client = InfrastructureBackendClient::new(self.channel.clone());
        let request = CloseSessionRequest { session_id };
        match time::timeout(CLOSE_PATIENCE, client.close_session(request)).await {
            Ok(Ok(response)) => {
                if let Err(reason) = accepted(response.into_inner().status) {
                    warn!(reason, "the back end does not close the session");
                }
            }
            Ok(Err(status)) => warn!(error = status.message(), "cannot close the session"),
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

/// Opens a session for parameters that the back end takes.
async fn open(channel: Channel, params: Option<Any>, inferred: &Inferred) -> Result<String, String> {
    let mut client = InfrastructureBackendClient::new(channel);
    let types = inferred
        .iter()
        .map(|(name, (_, inferred))| (name.clone(), inferred.clone()));
    let types: std::collections::BTreeMap<_, _> = types.collect();
    let validated = client
        .validate(ValidateRequest {
            adapter_config: params.clone(),
            inferred_types: types.clone(),
        })
        .await
        .map_err(|status| format!("cannot validate: {}", status.message()))?;
    accepted(validated.into_inner().status).map_err(|reason| format!("refuses the parameters: {reason}"))?;
    let created = client
        .create_session(CreateSessionRequest {
            adapter_config: params,
            inferred_types: types,
        })
        .await
        .map_err(|status| format!("cannot create a session: {}", status.message()))?
        .into_inner();
    accepted(created.status).map_err(|reason| format!("refuses a session: {reason}"))?;
    Ok(created.session_id)
}

/// A status that is missing is OK.
fn accepted(status: Option<Status>) -> Result<(), String> {
    match status {
        Some(status) if status.code != Code::Ok as i32 => {
            Err(format!("{}: {}", Code::from(status.code), status.message))
        }
        _ => Ok(()),
    }
}
