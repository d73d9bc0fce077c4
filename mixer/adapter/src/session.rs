//! Sessions with adapters in processes of their own (`spec 02` §10.1): the calls that make and end them.

use std::collections::BTreeMap;

use mesh_api::Any;
use mesh_api::google::rpc::Status as WireStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_client::InfrastructureBackendClient;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CloseSessionRequest, CreateSessionRequest, ValidateRequest,
};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// What `adapter_config` is called that holds the id of a session.
const TYPE: &str = "google.protobuf.Any.type_url";

/// What a session is made of.
#[derive(Clone, Debug, Default)]
pub struct SessionParams {
    /// The parameters of the handler.
    pub config: Option<Any>,
    /// Types of what will be sent, by full name of the instance.
    pub inferred: BTreeMap<String, Any>,
}

/// What is sent with the calls of a session, in place of parameters.
#[must_use]
pub fn session_config(id: &str) -> Any {
    Any {
        type_url: TYPE.to_owned(),
        value: id.to_owned().into(),
    }
}

/// Makes a session for parameters that the process takes; `metadata` goes along with the calls. Waits for as long as the
/// process takes.
///
/// # Errors
///
/// What the process says against it, in words that go on from its name.
pub async fn create_session(
    channel: Channel,
    params: &SessionParams,
    metadata: &MetadataMap,
) -> Result<String, String> {
    let mut client = InfrastructureBackendClient::new(channel);
    let validate = ValidateRequest {
        adapter_config: params.config.clone(),
        inferred_types: params.inferred.clone(),
    };
    let validated = client
        .validate(with(metadata, validate))
        .await
        .map_err(|status| format!("cannot validate the parameters: {}", told(&status)))?;
    accepted(validated.into_inner().status).map_err(|reason| format!("refuses the parameters: {reason}"))?;
    let create = CreateSessionRequest {
        adapter_config: params.config.clone(),
        inferred_types: params.inferred.clone(),
    };
    let created = client
        .create_session(with(metadata, create))
        .await
        .map_err(|status| format!("cannot create a session: {}", told(&status)))?
        .into_inner();
    accepted(created.status).map_err(|reason| format!("refuses a session: {reason}"))?;
    Ok(created.session_id)
}

/// Ends a session. Waits for as long as the process takes.
///
/// # Errors
///
/// Why the process may still have it.
pub async fn close_session(channel: Channel, id: String, metadata: &MetadataMap) -> Result<(), String> {
    let mut client = InfrastructureBackendClient::new(channel);
    let request = with(metadata, CloseSessionRequest { session_id: id });
    let closed = client
        .close_session(request)
        .await
        .map_err(|status| told(&status))?;
    accepted(closed.into_inner().status)
}

/// Code and message of an error.
#[must_use]
pub fn told(status: &Status) -> String {
    said(status.code(), status.message())
}

fn said(code: Code, message: &str) -> String {
    format!("{code:?}: {message}")
}

fn with<M>(metadata: &MetadataMap, message: M) -> Request<M> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata.clone();
    request
}

/// A status that is missing is OK.
fn accepted(status: Option<WireStatus>) -> Result<(), String> {
    match status {
        Some(status) if status.code != Code::Ok as i32 => Err(said(Code::from(status.code), &status.message)),
        _ => Ok(()),
    }
}
