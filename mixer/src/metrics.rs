//! What the service tells about its calls, under the names of 1.1's gRPC statistics (`spec 02` §9.10).

use std::time::Duration;

use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use mixer_attribute::code_name;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use tonic::Code;

/// Upper bounds of sizes in bytes.
const BYTES: [f64; 14] = [
    1024.0,
    2048.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    17_179_869_184.0,
];

/// Upper bounds of times in milliseconds.
const MILLISECONDS: [f64; 36] = [
    0.01, 0.05, 0.1, 0.3, 0.6, 0.8, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0,
    40.0, 50.0, 65.0, 80.0, 100.0, 130.0, 160.0, 200.0, 250.0, 300.0, 400.0, 500.0, 650.0, 800.0, 1000.0,
    2000.0, 5000.0,
];

const METHOD: &str = "grpc_server_method";
const STATUS: &str = "grpc_server_status";

/// The metrics of the services.
#[derive(Debug)]
pub(crate) struct ServiceMetrics {
    received: HistogramVec,
    sent: HistogramVec,
    latency: HistogramVec,
    completed: IntCounterVec,
}

/// The metrics of one method. They are found once, and not for every call.
#[derive(Debug)]
pub(crate) struct MethodMetrics {
    pub(crate) method: &'static str,
    received: Histogram,
    sent: Histogram,
    latency: Histogram,
    ok: IntCounter,
    completed: IntCounterVec,
}

// === impl ServiceMetrics ===

impl ServiceMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let name = |name: &str| format!("grpc/io/server/{name}");
        Ok(Self {
            received: metrics.histogram_vec(
                &name("received_bytes_per_rpc"),
                "Bytes of requests",
                &[METHOD],
                &BYTES,
            )?,
            sent: metrics.histogram_vec(
                &name("sent_bytes_per_rpc"),
                "Bytes of answers",
                &[METHOD],
                &BYTES,
            )?,
            latency: metrics.histogram_vec(
                &name("server_latency"),
                "Time from a request to its answer in milliseconds",
                &[METHOD],
                &MILLISECONDS,
            )?,
            completed: metrics.counter_vec(&name("completed_rpcs"), "Calls by status", &[METHOD, STATUS])?,
        })
    }

    /// The metrics of a method, `<service>/<method>`.
    pub(crate) fn method(&self, method: &'static str) -> MethodMetrics {
        MethodMetrics {
            method,
            received: self.received.with_label_values(&[method]),
            sent: self.sent.with_label_values(&[method]),
            latency: self.latency.with_label_values(&[method]),
            ok: self.completed.with_label_values(&[method, name(Code::Ok)]),
            completed: self.completed.clone(),
        }
    }
}

// === impl MethodMetrics ===

impl MethodMetrics {
    /// A call has ended.
    pub(crate) fn completed(&self, code: Code, received: usize, sent: Option<usize>, took: Duration) {
        let bytes = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.received.observe(bytes(received));
        if let Some(sent) = sent {
            self.sent.observe(bytes(sent));
        }
        self.latency.observe(took.as_secs_f64() * 1000.0);
        if code == Code::Ok {
            self.ok.inc();
        } else {
            let labels = [self.method, name(code)];
            self.completed.with_label_values(&labels).inc();
        }
    }
}

fn name(code: Code) -> &'static str {
    code_name(code as i32).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_9_10_calls_are_counted_by_the_names_of_their_codes() {
        for (code, expected) in [
            (Code::Ok, "OK"),
            (Code::InvalidArgument, "INVALID_ARGUMENT"),
            (Code::OutOfRange, "OUT_OF_RANGE"),
            (Code::Unauthenticated, "UNAUTHENTICATED"),
        ] {
            assert_eq!(name(code), expected);
        }
    }
}
