//! What Mixer serves to proxies: its own service (`spec 02` §2), and those of Envoy that ask the same engine, for proxies
//! that speak nothing else.

mod accesslog;
mod attributes;
mod authorization;
mod deadline;
mod mixer;
mod ratelimit;

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use hyper::body::Incoming;
use mesh_api::envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer;
use mesh_api::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use mesh_api::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitServiceServer;
use mesh_runtime::Drain;
use mixer_runtime::Engine;
use mixer_runtime::dispatch::{Failure, FailureKind, Patience};
use mixer_runtime::loadshed::{LoadShedder, Mode};
use mixer_runtime::routing::Table;
use prost::Message;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Routes;
use tonic::{Code, Response, Status};
use tower::Service;
use tracing::{debug, warn};

use crate::metrics::{MethodMetrics, ServiceMetrics};
use crate::spans::Tracer;
use accesslog::AccessLog;
use authorization::ExtAuthz;
use mixer::MixerService;
use ratelimit::RateLimits;

/// Tells the caller by which configuration it was answered (see [`Table::generation`]).
const GENERATION: &str = "x-istio-policy-generation";

/// Tells the caller that the verdict is that of a request before.
const CACHE_HIT: &str = "x-istio-policy-cache-hit";

/// How requests are served.
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
    pub(crate) tracer: Tracer,
    /// Streams that do not end by themselves end with it.
    pub(crate) drain: Drain,
}

/// What stands between callers and the engine, the same for all services.
pub(crate) struct Front {
    engine: Arc<Engine>,
    methods: Methods,
    slots: Semaphore,
    call_limit: Duration,
    max_message_size: usize,
    shedding: Mode,
    shedder: Mutex<LoadShedder>,
    throttled: Box<dyn Fn() + Send + Sync>,
    tracer: Tracer,
    drain: Drain,
    /// The moment from which the shedder counts.
    epoch: Instant,
}

/// The metrics of all methods.
struct Methods {
    check: MethodMetrics,
    report: MethodMetrics,
    authorize: MethodMetrics,
    limit: MethodMetrics,
    access_log: MethodMetrics,
}

/// All services. Mixer's own, which proxies call for every request, is found without tonic's routes: they cost a dozen
/// allocations for a call.
#[derive(Clone)]
pub(crate) struct Services {
    mixer: MixerService,
    others: Routes,
}

/// All services.
pub(crate) fn services(engine: Arc<Engine>, metrics: &ServiceMetrics, options: ServiceOptions) -> Services {
    let front = Arc::new(Front {
        engine,
        methods: Methods {
            check: metrics.method(mixer::CHECK),
            report: metrics.method(mixer::REPORT),
            authorize: metrics.method(authorization::CHECK),
            limit: metrics.method(ratelimit::SHOULD_RATE_LIMIT),
            access_log: metrics.method(accesslog::STREAM),
        },
        slots: Semaphore::new(options.slots),
        call_limit: options.call_limit,
        max_message_size: options.max_message_size,
        shedding: options.shedding,
        shedder: Mutex::new(options.shedder),
        throttled: options.throttled,
        tracer: options.tracer,
        drain: options.drain,
        epoch: Instant::now(),
    });
    let limit = front.max_message_size;
    let authorization = AuthorizationServer::new(ExtAuthz(Arc::clone(&front)));
    let rate_limits = RateLimitServiceServer::new(RateLimits(Arc::clone(&front)));
    let access_log = AccessLogServiceServer::new(AccessLog(Arc::clone(&front)));
    let others = Routes::new(authorization.max_decoding_message_size(limit))
        .add_service(rate_limits.max_decoding_message_size(limit))
        .add_service(access_log.max_decoding_message_size(limit));
    Services {
        mixer: MixerService(front),
        others: others.prepare(),
    }
}

// === impl Services ===

impl Service<http::Request<Incoming>> for Services {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // As those of tonic, they are ready always.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        if MixerService::serves(request.uri().path()) {
            self.mixer.call(request)
        } else {
            Box::pin(self.others.call(request))
        }
    }
}

// === impl Front ===

impl Front {
    /// Answers a call of so many bytes, and tells how that went.
    async fn measured<M, F>(
        &self,
        method: &MethodMetrics,
        metadata: &MetadataMap,
        received: usize,
        answer: impl FnOnce(Patience) -> F,
    ) -> Result<Response<M>, Status>
    where
        M: Message,
        F: Future<Output = Result<Response<M>, Status>>,
    {
        let started = Instant::now();
        let span = self.tracer.span(method.method, metadata);
        let patience = Patience {
            call_limit: self.call_limit,
            deadline: deadline::of(metadata).map(|left| (started + left).into()),
        };
        let answer = answer(patience).await;
        let took = started.elapsed();
        let (code, sent) = match &answer {
            Ok(response) => (Code::Ok, Some(response.get_ref().encoded_len())),
            Err(status) => (status.code(), None),
        };
        method.completed(code, received, sent, took);
        if code != Code::Unavailable {
            self.served(took);
        }
        if let Some(span) = &span {
            self.tracer.finish(span, code, took);
        }
        answer
    }

    /// A request took so long.
    fn served(&self, took: Duration) {
        if self.shedding != Mode::Disabled {
            self.shedder().served(took, self.epoch.elapsed());
        }
    }

    fn shedder(&self) -> MutexGuard<'_, LoadShedder> {
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

    /// Waits until there is room for one more call.
    async fn slot(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.slots.acquire().await
    }
}

/// Tells the caller by whom it was answered.
fn tell(metadata: &mut MetadataMap, table: &Table, remembered: bool) {
    if let Ok(generation) = MetadataValue::try_from(format!("{:016x}", table.generation)) {
        metadata.insert(GENERATION, generation);
    }
    if remembered {
        metadata.insert(CACHE_HIT, MetadataValue::from_static("true"));
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
