//! Counting and timing of calls by service, method and status code.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderMap;
use prometheus::{HistogramVec, IntCounterVec};
use tonic::Code;

use crate::metrics::{Metrics, MetricsError};

/// Upper bounds in seconds: calls take from a fraction of a millisecond to some seconds.
const BUCKETS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Where gRPC puts the status of a call.
const STATUS: &str = "grpc-status";

/// The metrics of all gRPC servers of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GrpcMetrics {
    handled: IntCounterVec,
    seconds: HistogramVec,
    /// Paths that a service has answered. Peers choose paths, and only these may become labels.
    known: Arc<RwLock<BTreeSet<String>>>,
}

/// One call from its request to its last byte; counted when dropped.
#[derive(Debug)]
pub(super) struct Measured {
    metrics: GrpcMetrics,
    /// `/<service>/<method>`.
    path: String,
    start: Instant,
    /// What the server answered; a call that is dropped before was cancelled by the client.
    code: Code,
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
    fn knows(&self, path: &str) -> bool {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(path)
    }

    fn learn(&self, path: &str) {
        if !self.knows(path) {
            self.known
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(path.to_owned());
        }
    }
}

// === impl Measured ===

impl Measured {
    pub(super) fn start(metrics: &GrpcMetrics, path: &str) -> Self {
        Self {
            metrics: metrics.clone(),
            path: path.to_owned(),
            start: Instant::now(),
            code: Code::Cancelled,
        }
    }

    pub(super) fn response(mut self, response: Response<tonic::body::Body>) -> Response<MeasuredBody> {
        // A call that fails before its first message has its status in the head of the response.
        match response.headers().get(STATUS) {
            Some(_) => self.read(response.headers()),
            None => self.metrics.learn(&self.path),
        }
        response.map(|body| MeasuredBody { body, measured: self })
    }

    /// Takes over the status of the call, if the headers or trailers hold one.
    fn read(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(STATUS) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let known = match self.code {
            Code::Unimplemented => false,
            // A client may have given up before anybody could tell whether the path exists.
            Code::Cancelled => self.metrics.knows(&self.path),
            _ => {
                self.metrics.learn(&self.path);
                true
            }
        };
        let (service, method) = match self.path.trim_start_matches('/').split_once('/') {
            Some(names) if known => names,
            _ => ("unknown", "unknown"),
        };
        let code = format!("{:?}", self.code);
        self.metrics
            .handled
            .with_label_values(&[service, method, &code])
            .inc();
        let seconds = self.start.elapsed().as_secs_f64();
        self.metrics
            .seconds
            .with_label_values(&[service, method])
            .observe(seconds);
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
