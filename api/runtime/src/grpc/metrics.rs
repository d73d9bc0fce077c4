//! Counting and timing of calls by service, method and status code.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderMap;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use tonic::Code;

use crate::metrics::{Metrics, MetricsError};

/// Upper bounds in seconds: calls take from a fraction of a millisecond to some seconds.
const BUCKETS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Where gRPC puts the status of a call.
const STATUS: &str = "grpc-status";

/// Service and method of calls that nobody answers.
const UNKNOWN: (&str, &str) = ("unknown", "unknown");

/// The metrics of all gRPC servers of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GrpcMetrics {
    handled: IntCounterVec,
    seconds: HistogramVec,
    /// Methods that a service has answered, by path. Peers choose paths, and only these may become labels.
    known: Arc<RwLock<BTreeMap<Box<str>, Arc<Method>>>>,
}

/// The metrics of one method, found once instead of for every call.
#[derive(Debug)]
struct Method {
    path: Box<str>,
    handled: IntCounterVec,
    ok: IntCounter,
    seconds: Histogram,
}

/// One call from its request to its last byte; counted when dropped.
#[derive(Debug)]
pub(super) struct Measured {
    method: Called,
    start: Instant,
    /// What the server answered; a call that is dropped before was cancelled by the client.
    code: Code,
}

/// What a call is for.
#[derive(Debug)]
enum Called {
    Known(Arc<Method>),
    /// `/<service>/<method>`, which nobody may have.
    Path(String, GrpcMetrics),
}

/// A response body that reads the status of the call from its trailers.
#[derive(Debug)]
pub(super) struct MeasuredBody {
    body: tonic::body::Body,
    measured: Measured,
}

// === impl GrpcMetrics ===

impl GrpcMetrics {
    /// Registers the metrics, under the names of the Go server's well-known interceptor.
    ///
    /// # Errors
    /// When the names are taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            known: Arc::default(),
            handled: metrics.counter_vec(
                "grpc_server_handled_total",
                "Total number of RPCs completed on the server, regardless of success or failure.",
                &["grpc_service", "grpc_method", "grpc_code"],
            )?,
            seconds: metrics.histogram_vec(
                "grpc_server_handling_seconds",
                "Histogram of response latency (seconds) of RPCs handled by the server.",
                &["grpc_service", "grpc_method"],
                &BUCKETS,
            )?,
        })
    }
}

impl GrpcMetrics {
    fn method(&self, path: &str) -> Option<Arc<Method>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(path).cloned()
    }

    /// The method of a path that exists.
    fn learn(&self, path: &str) -> Arc<Method> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(method) = known.get(path) {
            return Arc::clone(method);
        }
        let (service, method) = split(path);
        let method = Arc::new(Method {
            path: path.into(),
            handled: self.handled.clone(),
            ok: self.handled.with_label_values(&[service, method, "Ok"]),
            seconds: self.seconds.with_label_values(&[service, method]),
        });
        known.insert(path.into(), Arc::clone(&method));
        method
    }
}

/// Service and method of a path.
fn split(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or(UNKNOWN)
}

// === impl Method ===

impl Method {
    fn count(&self, code: Code, seconds: f64) {
        if code == Code::Ok {
            self.ok.inc();
        } else {
            count(&self.handled, split(&self.path), code);
        }
        self.seconds.observe(seconds);
    }
}

fn count(handled: &IntCounterVec, (service, method): (&str, &str), code: Code) {
    let code = format!("{code:?}");
    handled.with_label_values(&[service, method, &code]).inc();
}

// === impl Measured ===

impl Measured {
    pub(super) fn start(metrics: &GrpcMetrics, path: &str) -> Self {
        let known = metrics.method(path).map(Called::Known);
        Self {
            method: known.unwrap_or_else(|| Called::Path(path.to_owned(), metrics.clone())),
            start: Instant::now(),
            code: Code::Cancelled,
        }
    }

    pub(super) fn response(mut self, response: Response<tonic::body::Body>) -> Response<MeasuredBody> {
        // A call that fails before its first message has its status in the head of the response.
        match response.headers().get(STATUS) {
            Some(_) => self.read(response.headers()),
            None => self.learn(),
        }
        response.map(|body| MeasuredBody { body, measured: self })
    }

    /// Takes over the status of the call, if the headers or trailers hold one.
    fn read(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(STATUS) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }

    /// There is such a method.
    fn learn(&mut self) {
        if let Called::Path(path, metrics) = &self.method {
            self.method = Called::Known(metrics.learn(path));
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        match (&self.method, self.code) {
            (_, Code::Unimplemented) => {}
            // A client may have given up before anybody could tell whether the path exists.
            (Called::Path(path, metrics), Code::Cancelled) => {
                if let Some(method) = metrics.method(path) {
                    self.method = Called::Known(method);
                }
            }
            _ => self.learn(),
        }
        let seconds = self.start.elapsed().as_secs_f64();
        match &self.method {
            Called::Known(method) => method.count(self.code, seconds),
            Called::Path(_, metrics) => {
                count(&metrics.handled, UNKNOWN, self.code);
                let labels = [UNKNOWN.0, UNKNOWN.1];
                metrics.seconds.with_label_values(&labels).observe(seconds);
            }
        }
    }
}

// === impl MeasuredBody ===

impl Body for MeasuredBody {
    type Data = <tonic::body::Body as Body>::Data;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.measured.read(trailers);
                }
            }
            Some(Err(status)) => self.measured.code = status.code(),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
