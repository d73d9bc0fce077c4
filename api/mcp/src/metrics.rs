//! Metrics of both ends (G3.3).

use mesh_runtime::metrics::{Metrics, MetricsError};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use tonic::Code;

/// Metrics of a source or sink; the names start with the prefix, such as `galley_mcp_source`.
#[derive(Clone, Debug)]
pub struct McpMetrics {
    /// `clients_total`: streams that are open.
    pub(crate) clients: IntGauge,
    /// `message_sizes_bytes`: encoded size of responses.
    pub(crate) message_sizes: Histogram,
    /// `request_acks_total{collection}`.
    pub(crate) acks: IntCounterVec,
    /// `request_nacks_total{collection,code}`.
    pub(crate) nacks: IntCounterVec,
    /// `send_failures_total`: streams that broke while sending.
    pub(crate) send_failures: IntCounter,
    /// `recv_failures_total`: streams that broke while receiving.
    pub(crate) recv_failures: IntCounter,
    /// `reconnections`: streams opened after the first.
    pub(crate) reconnections: IntCounter,
    /// `streams_denied_total`: sinks that a source turned away.
    pub(crate) denied: IntCounter,
    /// `messages_too_large_total{collection}`: responses that a sink refused for their size.
    pub(crate) too_large: IntCounterVec,
}

/// 1 KiB to 1 GiB, doubling twice per step.
const SIZES: [f64; 11] = [
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

// === impl McpMetrics ===

impl McpMetrics {
    /// Registers the metrics under `prefix`: `galley/mcp/source`, `pilot/mcp/sink` or `mixer/mcp/sink`.
    ///
    /// # Errors
    ///
    /// When a name is taken.
    pub fn register(metrics: &Metrics, prefix: &str) -> Result<Self, MetricsError> {
        let name = |suffix: &str| format!("{prefix}/{suffix}");
        Ok(Self {
            clients: metrics.int_gauge(&name("clients_total"), "Number of MCP streams that are open")?,
            message_sizes: metrics.histogram(
                &name("message_sizes_bytes"),
                "Size of MCP responses in bytes",
                &SIZES,
            )?,
            acks: metrics.counter_vec(
                &name("request_acks_total"),
                "Number of responses that were accepted",
                &["collection"],
            )?,
            nacks: metrics.counter_vec(
                &name("request_nacks_total"),
                "Number of responses that were refused",
                &["collection", "code"],
            )?,
            send_failures: metrics.counter(
                &name("send_failures_total"),
                "Number of MCP streams that broke while sending",
            )?,
            recv_failures: metrics.counter(
                &name("recv_failures_total"),
                "Number of MCP streams that broke while receiving",
            )?,
            reconnections: metrics.counter(
                &name("reconnections"),
                "Number of MCP streams opened after the first",
            )?,
            denied: metrics.counter(
                &name("streams_denied_total"),
                "Number of MCP streams that were refused to who may not open them",
            )?,
            too_large: metrics.counter_vec(
                &name("messages_too_large_total"),
                "Number of MCP responses that were refused for their size",
                &["collection"],
            )?,
        })
    }

    /// Counts an ACK.
    pub(crate) fn ack(&self, collection: &str) {
        self.acks.with_label_values(&[collection]).inc();
    }

    /// Counts a NACK.
    pub(crate) fn nack(&self, collection: &str, code: i32) {
        self.nacks
            .with_label_values(&[collection, &format!("{:?}", Code::from_i32(code))])
            .inc();
    }

    /// Notes the size of a response.
    #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    pub(crate) fn message_size(&self, bytes: usize) {
        self.message_sizes.observe(bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g3_3_names_have_the_prefix_with_underscores() {
        let registry = Metrics::new();
        let metrics = McpMetrics::register(&registry, "galley/mcp/source").unwrap();
        metrics.ack("c");
        metrics.nack("c", Code::Unimplemented as i32);
        metrics.message_size(10);
        metrics.clients.inc();
        metrics.reconnections.inc();
        metrics.send_failures.inc();
        metrics.recv_failures.inc();
        let text = registry.encode().unwrap();
        for line in [
            "galley_mcp_source_clients_total 1",
            "galley_mcp_source_message_sizes_bytes_count 1",
            "galley_mcp_source_request_acks_total{collection=\"c\"} 1",
            "galley_mcp_source_request_nacks_total{code=\"Unimplemented\",collection=\"c\"} 1",
            "galley_mcp_source_send_failures_total 1",
            "galley_mcp_source_recv_failures_total 1",
            "galley_mcp_source_reconnections 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in:\n{text}");
        }
    }
}
