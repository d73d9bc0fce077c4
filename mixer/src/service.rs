//! The service `istio.mixer.v1.Mixer` (`spec 02` §2).

mod deadline;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use mesh_api::istio::mixer::v1::{CheckResponse, ReportResponse};
use mixer_attribute::{CheckRequest, References, ReportRequest, Vocabulary, dictionary, encode};
use mixer_runtime::Engine;
use mixer_runtime::dispatch::{Checked, Failure, FailureKind, Patience, Verdict};
use mixer_runtime::loadshed::{LoadShedder, Mode};
use prost::Message;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tower::Service;
use tracing::{debug, warn};

use crate::metrics::ServiceMetrics;
use crate::raw::RawCodec;

const CHECK: &str = "istio.mixer.v1.Mixer/Check";
const REPORT: &str = "istio.mixer.v1.Mixer/Report";

/// Tells the caller by which configuration it was answered (see [`mixer_runtime::routing::Table::generation`]).
const GENERATION: &str = "x-istio-policy-generation";

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MixerService(Arc<Inner>);

/// How the service works.
pub(crate) struct ServiceOptions {
    /// Calls that are worked on at once.
    pub(crate) slots: usize,
    /// The longest time that a handler may take.
    pub(crate) call_limit: Duration,
    pub(crate) max_message_size: usize,
    pub(crate) shedding: Mode,
    pub(crate) shedder: LoadShedder,
    /// Told of requests that are refused.
    pub(crate) throttled: Box<dyn Fn() + Send + Sync>,
}

struct Inner {
    engine: Arc<Engine>,
    metrics: ServiceMetrics,
    slots: Semaphore,
    call_limit: Duration,
    max_message_size: usize,
    shedding: Mode,
    shedder: Mutex<LoadShedder>,
    throttled: Box<dyn Fn() + Send + Sync>,
    /// The moment from which the shedder counts.
    epoch: Instant,
}

/// One method, as tonic wants it.
struct Method(Arc<Inner>);

// === impl MixerService ===

impl MixerService {
    pub(crate) fn new(engine: Arc<Engine>, metrics: ServiceMetrics, options: ServiceOptions) -> Self {
        Self(Arc::new(Inner {
            engine,
            metrics,
            slots: Semaphore::new(options.slots),
            call_limit: options.call_limit,
            max_message_size: options.max_message_size,
            shedding: options.shedding,
            shedder: Mutex::new(options.shedder),
            throttled: options.throttled,
            epoch: Instant::now(),
        }))
    }
}

impl NamedService for MixerService {
    const NAME: &'static str = "istio.mixer.v1.Mixer";
}

impl Service<http::Request<Body>> for MixerService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        let limit = inner.max_message_size;
        match request.uri().path().strip_prefix('/') {
            Some(CHECK) => Box::pin(async move {
                let codec = RawCodec::<CheckResponse>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
                Ok(grpc.unary(CheckMethod(Method(inner)), request).await)
            }),
            Some(REPORT) => Box::pin(async move {
                let codec = RawCodec::<ReportResponse>::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(limit);
                Ok(grpc.unary(ReportMethod(Method(inner)), request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("there is no such method").into_http()) }),
        }
    }
}

struct CheckMethod(Method);
struct ReportMethod(Method);

type Answered<M> = Pin<Box<dyn Future<Output = Result<Response<M>, Status>> + Send>>;

impl UnaryService<Bytes> for CheckMethod {
    type Response = CheckResponse;
    type Future = Answered<CheckResponse>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let inner = Arc::clone(&self.0.0);
        Box::pin(async move { inner.measured(CHECK, request, check).await })
    }
}

impl UnaryService<Bytes> for ReportMethod {
    type Response = ReportResponse;
    type Future = Answered<ReportResponse>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let inner = Arc::clone(&self.0.0);
        Box::pin(async move { inner.measured(REPORT, request, report).await })
    }
}

// === impl Inner ===

impl Inner {
    async fn measured<M: Message, F>(
        self: Arc<Self>,
        method: &str,
        request: Request<Bytes>,
        answer: impl FnOnce(Arc<Self>, Bytes, Patience) -> F,
    ) -> Result<Response<M>, Status>
    where
        F: Future<Output = Result<Response<M>, Status>>,
    {
        let started = Instant::now();
        let deadline = deadline::of(request.metadata()).map(|left| (started + left).into());
        let patience = Patience {
            call_limit: self.call_limit,
            deadline,
        };
        let message = request.into_inner();
        let received = message.len();
        let answer = answer(Arc::clone(&self), message, patience).await;
        let took = started.elapsed();
        let (code, sent) = match &answer {
            Ok(response) => (Code::Ok, Some(response.get_ref().encoded_len())),
            Err(status) => (status.code(), None),
        };
        self.metrics.completed(method, code, received, sent, took);
        if code != Code::Unavailable && self.shedding != Mode::Disabled {
            self.shedder().served(took, self.epoch.elapsed());
        }
        answer
    }

    fn shedder(&self) -> std::sync::MutexGuard<'_, LoadShedder> {
        self.shedder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request of this cost is too much (`spec 02` §9.9).
    fn admit(&self, cost: usize) -> Result<(), Status> {
        if self.shedding == Mode::Disabled {
            return Ok(());
        }
        let cost = f64::from(u32::try_from(cost).unwrap_or(u32::MAX));
        let admitted = self.shedder().admit(cost, self.epoch.elapsed());
        let Err(overload) = admitted else { return Ok(()) };
        (self.throttled)();
        match self.shedding {
            Mode::Enforce => {
                debug!(target: "loadshedding", %overload, "request refused");
                Err(status(Failure::overloaded()))
            }
            _ => {
                warn!(target: "loadshedding", %overload, "request would be refused");
                Ok(())
            }
        }
    }
}

async fn check(
    inner: Arc<Inner>,
    message: Bytes,
    patience: Patience,
) -> Result<Response<CheckResponse>, Status> {
    inner.admit(1)?;
    let _slot = inner.slots.acquire().await;
    let request = CheckRequest::read(&message).map_err(invalid)?;
    dictionary::check_word_count(request.global_word_count).map_err(invalid)?;
    let table = inner.engine.table();
    let checked = inner
        .engine
        .check(&table, &request, patience)
        .await
        .map_err(status)?;
    let answer = response(checked, &table.vocabulary, request.global_word_count);
    let mut response = Response::new(answer);
    let generation = format!("{:016x}", table.generation);
    if let Ok(generation) = MetadataValue::try_from(generation) {
        response.metadata_mut().insert(GENERATION, generation);
    }
    Ok(response)
}

async fn report(
    inner: Arc<Inner>,
    message: Bytes,
    patience: Patience,
) -> Result<Response<ReportResponse>, Status> {
    let request = ReportRequest::read(&message).map_err(invalid)?;
    inner.admit(request.attributes.len())?;
    let _slot = inner.slots.acquire().await;
    dictionary::check_word_count(request.global_word_count).map_err(invalid)?;
    let table = inner.engine.table();
    inner
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

fn invalid(error: impl std::fmt::Display) -> Status {
    status(Failure::invalid(error.to_string()))
}

fn status(failure: Failure) -> Status {
    let code = match failure.kind {
        FailureKind::InvalidArgument => Code::InvalidArgument,
        FailureKind::Internal => Code::Internal,
        FailureKind::Unknown => Code::Unknown,
        FailureKind::Unavailable => Code::Unavailable,
    };
    Status::new(code, failure.message)
}
