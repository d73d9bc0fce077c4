//! Sessions of adapters that want them (`spec 02` §10.1, §10.4).
//!
//! Each address has a session of its own, so that replicas need not know each other's; those that share them answer with
//! the same id, and count. A session is made when an address is first called, and made anew when its process says that it
//! does not know it, or when it was made over another connection and a call under it fails: then the process may be
//! another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_api::Any;
use mesh_api::google::rpc::Status;
use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_client::InfrastructureBackendClient;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CloseSessionRequest, CreateSessionRequest, ValidateRequest,
};
use tokio::sync::OnceCell;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::endpoint::Endpoint;

/// What `adapter_config` is called that holds the id of a session.
const SESSION_TYPE: &str = "google.protobuf.Any.type_url";

/// What a session is made of.
#[derive(Clone, Debug)]
pub(super) struct SessionParams {
    pub(super) config: Option<Any>,
    /// By full name of the instance.
    pub(super) inferred: BTreeMap<String, Any>,
}

/// The session of one address. It is made once, however many calls wait for it.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Arc<Slot>>);

/// A session, or the place for one.
#[derive(Debug, Default)]
pub(super) struct Slot(OnceCell<Session>);

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    /// How many connections there had been when it was made.
    connections: u64,
}

// === impl Session ===

impl Session {
    /// What is sent with calls.
    pub(super) fn config(&self) -> Any {
        Any {
            type_url: SESSION_TYPE.to_owned(),
            value: self.id.clone().into(),
        }
    }
}

// === impl Sessions ===

impl Sessions {
    /// The place of the session, which [`Self::renew`] wants to know.
    pub(super) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next call makes another session, unless somebody else has seen to it already.
    pub(super) fn renew(&self, lost: &Arc<Slot>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&slot, lost) {
            *slot = Arc::default();
        }
    }
}

// === impl Slot ===

impl Slot {
    /// The session, which is made if it is not there.
    pub(super) async fn session(
        &self,
        endpoint: &Endpoint,
        params: &SessionParams,
        credentials: &MetadataMap,
    ) -> Result<&Session, String> {
        let make = || async {
            let id = create(endpoint.channel.clone(), params, credentials).await?;
            Ok(Session {
                id,
                connections: endpoint.connections(),
            })
        };
        self.0.get_or_try_init(make).await
    }

    /// Whether a call that failed did so because the process does not know the session any more.
    pub(super) fn is_lost(&self, endpoint: &Endpoint, code: Code) -> bool {
        let another = || {
            self.0
                .get()
                .is_some_and(|session| session.connections != endpoint.connections())
        };
        // Without an answer nobody has said anything about sessions.
        let answered = !matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled);
        code == Code::NotFound || answered && another()
    }

    /// The session, if it was made.
    pub(super) fn get(&self) -> Option<&Session> {
        self.0.get()
    }
}

/// Makes a session for parameters that the adapter takes.
async fn create(
    channel: Channel,
    params: &SessionParams,
    credentials: &MetadataMap,
) -> Result<String, String> {
    let mut client = InfrastructureBackendClient::new(channel);
    let validate = ValidateRequest {
        adapter_config: params.config.clone(),
        inferred_types: params.inferred.clone(),
    };
    let validated = client
        .validate(with(credentials, validate))
        .await
        .map_err(|status| format!("the adapter cannot validate the parameters: {}", told(&status)))?;
    accepted(validated.into_inner().status)
        .map_err(|reason| format!("the adapter refuses the parameters: {reason}"))?;
    let request = CreateSessionRequest {
        adapter_config: params.config.clone(),
        inferred_types: params.inferred.clone(),
    };
    let created = client
        .create_session(with(credentials, request))
        .await
        .map_err(|status| format!("the adapter cannot create a session: {}", told(&status)))?
        .into_inner();
    accepted(created.status).map_err(|reason| format!("the adapter refuses a session: {reason}"))?;
    Ok(created.session_id)
}

/// Ends a session.
pub(super) async fn close(
    channel: Channel,
    session_id: String,
    credentials: &MetadataMap,
) -> Result<(), String> {
    let mut client = InfrastructureBackendClient::new(channel);
    let request = with(credentials, CloseSessionRequest { session_id });
    let closed = client
        .close_session(request)
        .await
        .map_err(|status| told(&status))?;
    accepted(closed.into_inner().status)
}

/// Code and message of an error.
pub(super) fn told(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn with<M>(credentials: &MetadataMap, message: M) -> Request<M> {
    let mut request = Request::new(message);
    *request.metadata_mut() = credentials.clone();
    request
}

/// A status that is missing is OK.
fn accepted(status: Option<Status>) -> Result<(), String> {
    match status {
        Some(status) if status.code != Code::Ok as i32 => {
            Err(format!("{:?}: {}", Code::from(status.code), status.message))
        }
        _ => Ok(()),
    }
}
