//! `grpc.health.v1.Health`, which probes of Kubernetes and others ask.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use mesh_runtime::Readiness;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Answers for the whole process, and for the services that it has. `Watch` is not served: by the protocol, who watches takes
/// that for health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    readiness: Readiness,
    services: Vec<&'static str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct HealthCheckRequest {
    /// Name of a service; empty: the process.
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub(crate) struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub(crate) status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
}

// === impl Health ===

impl Health {
    pub(crate) fn new(readiness: Readiness, services: Vec<&'static str>) -> Self {
        Self { readiness, services }
    }

    fn check(&self, service: &str) -> Result<HealthCheckResponse, Status> {
        if !service.is_empty() && !self.services.contains(&service) {
            return Err(Status::not_found(format!("there is no service {service}")));
        }
        let status = match self.readiness.is_ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        Ok(HealthCheckResponse {
            status: status.into(),
        })
    }
}

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl UnaryService<HealthCheckRequest> for Health {
    type Response = HealthCheckResponse;
    type Future = BoxFuture<'static, Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
        let answer = self.check(&request.get_ref().service).map(Response::new);
        Box::pin(std::future::ready(answer))
    }
}

impl Service<http::Request<Body>> for Health {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let health = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/grpc.health.v1.Health/Check" => {
                    Grpc::new(ProstCodec::default()).unary(health, request).await
                }
                _ => Status::unimplemented("only Check is").into_http(),
            })
        })
    }
}
