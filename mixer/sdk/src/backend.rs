//! The service for sessions (`spec 02` §10.1).

use mesh_api::google::rpc::Status as RpcStatus;
use mesh_api::istio::mixer::adapter::model::v1beta1::infrastructure_backend_server::InfrastructureBackend;
use mesh_api::istio::mixer::adapter::model::v1beta1::{
    CloseSessionRequest, CloseSessionResponse, CreateSessionRequest, CreateSessionResponse, ValidateRequest,
    ValidateResponse,
};
use tonic::{Request, Response, Status};

use crate::Adapter;
use crate::server::Handlers;

#[tonic::async_trait]
impl<A: Adapter> InfrastructureBackend for Handlers<A> {
    async fn validate(
        &self,
        request: Request<ValidateRequest>,
    ) -> Result<Response<ValidateResponse>, Status> {
        let request = request.into_inner();
        let valid = self
            .0
            .validate(request.adapter_config.as_ref(), &request.inferred_types);
        Ok(Response::new(ValidateResponse {
            status: Some(told(valid.map(|_| ()))),
        }))
    }

    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let request = request.into_inner();
        let opened = self
            .0
            .open(request.adapter_config.as_ref(), &request.inferred_types)
            .await;
        let session_id = opened.as_ref().cloned().unwrap_or_default();
        Ok(Response::new(CreateSessionResponse {
            session_id,
            status: Some(told(opened.map(|_| ()))),
        }))
    }

    async fn close_session(
        &self,
        request: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        let closed = self.0.close(&request.into_inner().session_id);
        Ok(Response::new(CloseSessionResponse {
            status: Some(told(closed)),
        }))
    }
}

fn told(outcome: Result<(), Status>) -> RpcStatus {
    match outcome {
        Ok(()) => RpcStatus::default(),
        Err(status) => RpcStatus {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Vec::new(),
        },
    }
}
