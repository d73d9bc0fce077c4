//! The service `istio.mixer.v1.Mixer` (`spec 02` §2).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use mesh_api::istio::mixer::v1::{CheckResponse, ReportResponse};
use mixer_attribute::{CheckRequest, References, ReportRequest, Vocabulary, dictionary, encode};
use mixer_runtime::dispatch::{Checked, Patience, Verdict};
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tower::Service;

use super::{Front, invalid, status, tell};
use crate::raw::RawCodec;

pub(super) const CHECK: &str = "istio.mixer.v1.Mixer/Check";
pub(super) const REPORT: &str = "istio.mixer.v1.Mixer/Report";

/// The service. Cheap to clone.
#[derive(Clone)]
pub(super) struct MixerService(pub(super) Arc<Front>);

// One for each method, as tonic wants it.
struct CheckMethod(Arc<Front>);
struct ReportMethod(Arc<Front>);

type Answered<M> = Pin<Box<dyn Future<Output = Result<Response<M>, Status>> + Send>>;

impl MixerService {
    /// Whether a path is one of this service.
    pub(super) fn serves(path: &str) -> bool {
        path.starts_with("/istio.mixer.v1.Mixer/")
    }
}

impl Service<http::Request<Incoming>> for MixerService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let front = Arc::clone(&self.0);
        let limit = front.max_message_size;
        match request.uri().path().strip_prefix('/') {
            Some(CHECK) => Box::pin(async move {
                let codec = RawCodec::<CheckResponse>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
                Ok(grpc.unary(CheckMethod(front), request).await)
            }),
            Some(REPORT) => Box::pin(async move {
                let codec = RawCodec::<ReportResponse>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
                Ok(grpc.unary(ReportMethod(front), request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("there is no such method").into_http()) }),
        }
    }
}

impl UnaryService<Bytes> for CheckMethod {
    type Response = CheckResponse;
    type Future = Answered<CheckResponse>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let front = Arc::clone(&self.0);
        Box::pin(async move {
            let (metadata, _, message) = request.into_parts();
            let answer = |patience| check(&front, &message, patience);
            front
                .measured(&front.methods.check, &metadata, message.len(), answer)
                .await
        })
    }
}

impl UnaryService<Bytes> for ReportMethod {
    type Response = ReportResponse;
    type Future = Answered<ReportResponse>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let front = Arc::clone(&self.0);
        Box::pin(async move {
            let (metadata, _, message) = request.into_parts();
            let answer = |patience| report(&front, &message, patience);
            front
                .measured(&front.methods.report, &metadata, message.len(), answer)
                .await
        })
    }
}

async fn check(
    front: &Front,
    message: &Bytes,
    patience: Patience,
) -> Result<Response<CheckResponse>, Status> {
    front.admit(1)?;
    let _slot = front.slot().await;
    let request = CheckRequest::read(message).map_err(invalid)?;
    dictionary::check_word_count(request.global_word_count).map_err(invalid)?;
    let table = front.engine.table();
    let checked = front.engine.check(&table, &request, patience).await;
    let checked = checked.map_err(status)?;
    let remembered = checked.remembered;
    let answer = response(checked, &table.vocabulary, request.global_word_count);
    let mut response = Response::new(answer);
    tell(response.metadata_mut(), &table, remembered);
    Ok(response)
}

async fn report(
    front: &Front,
    message: &Bytes,
    patience: Patience,
) -> Result<Response<ReportResponse>, Status> {
    let request = ReportRequest::read(message).map_err(invalid)?;
    front.admit(request.attributes.len())?;
    let _slot = front.slot().await;
    dictionary::check_word_count(request.global_word_count).map_err(invalid)?;
    let table = front.engine.table();
    front
        .engine
        .report(&table, &request, patience)
        .await
        .map_err(status)?;
    Ok(Response::new(ReportResponse::default()))
}

/// The answer for a caller that knows so many words of the dictionary. What has to be set always is set always (§2.1).
fn response(checked: Checked, vocabulary: &Vocabulary, global_word_count: u32) -> CheckResponse {
    let read =
        |references: &References| encode::referenced_attributes(references, vocabulary, global_word_count);
    let Verdict {
        status,
        valid_duration,
        valid_use_count,
        directive,
    } = checked.verdict;
    let quotas = checked.grants.into_iter().map(|(name, grant)| {
        let result = encode::quota_result(grant.amount, grant.valid_duration, read(&grant.references));
        (name, result)
    });
    CheckResponse {
        quotas: quotas.collect(),
        precondition: Some(encode::precondition_result(
            status.code,
            status.message,
            valid_duration,
            valid_use_count,
            read(&checked.references),
            directive,
        )),
    }
}
