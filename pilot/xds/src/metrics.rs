//! The metrics of the push engine, by their names of 1.1 (P17).

use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use pilot_networking::XdsType;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};

/// What the push engine counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct XdsMetrics {
    /// `pilot_xds`: connected proxies.
    pub clients: IntGauge,
    /// `pilot_xds_pushes{type}`: responses sent.
    pub pushes: IntCounterVec,
    /// `pilot_xds_push_errors{type}`: responses that could not be sent.
    pub push_errors: IntCounterVec,
    /// `pilot_total_xds_rejects`: NACKs of all types.
    pub total_rejects: IntCounter,
    /// `pilot_xds_{cds,eds,lds,rds}_reject{node,err}`.
    rejects: [IntCounterVec; 4],
    /// `pilot_rds_expired_nonce`: requests that answer an older response.
    pub expired_nonce: IntCounter,
    /// `pilot_xds_write_timeout`: streams closed because the client did not read.
    pub write_timeout: IntCounter,
    /// `pilot_xds_push_timeout`: the same, by 1.1's other name.
    pub push_timeout: IntCounter,
    /// `pilot_xds_push_timeout_failures`: likewise, as nothing is tried again on a stream that is closed.
    pub push_timeout_failures: IntCounter,
    /// `pilot_xds_push_context_errors`: configurations that could not be planned.
    pub push_context_errors: IntCounter,
    /// `pilot_total_xds_internal_errors`: generators that panicked.
    pub internal_errors: IntCounter,
    /// `pilot_proxy_convergence_time`: seconds from a publication to its last acknowledgement by a proxy.
    pub convergence_time: Histogram,
}

// === impl XdsMetrics ===

impl XdsMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        let reject = |xds_type: XdsType| {
            metrics.counter_vec(
                &format!("pilot_xds_{xds_type}_reject"),
                &format!("Pilot rejected {} configs", xds_type.as_str().to_uppercase()),
                &["node", "err"],
            )
        };
        let registered = Self {
            clients: metrics.int_gauge(
                "pilot_xds",
                "Number of endpoints connected to this pilot using XDS",
            )?,
            pushes: metrics.counter_vec(
                "pilot_xds_pushes",
                "Pilot build and send for lds, rds, cds and eds",
                &["type"],
            )?,
            push_errors: metrics.counter_vec(
                "pilot_xds_push_errors",
                "Number of errors pushing to proxies",
                &["type"],
            )?,
            total_rejects: metrics.counter(
                "pilot_total_xds_rejects",
                "Total number of XDS responses rejected by proxies",
            )?,
            rejects: [
                reject(XdsType::Cluster)?,
                reject(XdsType::Endpoint)?,
                reject(XdsType::Listener)?,
                reject(XdsType::Route)?,
            ],
            expired_nonce: metrics.counter(
                "pilot_rds_expired_nonce",
                "Total number of messages with an expired nonce",
            )?,
            write_timeout: metrics.counter(
                "pilot_xds_write_timeout",
                "Streams closed because the proxy did not read",
            )?,
            push_timeout: metrics.counter("pilot_xds_push_timeout", "Pilot push timeout, will retry.")?,
            push_timeout_failures: metrics.counter(
                "pilot_xds_push_timeout_failures",
                "Pilot push timeout failures after repeated attempts.",
            )?,
            push_context_errors: metrics.counter(
                "pilot_xds_push_context_errors",
                "Number of errors (timeouts) initiating push context.",
            )?,
            internal_errors: metrics.counter(
                "pilot_total_xds_internal_errors",
                "Total number of internal XDS errors in pilot",
            )?,
            convergence_time: metrics.histogram(
                "pilot_proxy_convergence_time",
                "Delay between config change and all proxies converging, in seconds",
                &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0],
            )?,
        };
        // What did not happen yet reads 0, and is not missing.
        for xds_type in XdsType::ALL {
            for counter in [&registered.pushes, &registered.push_errors] {
                counter.with_label_values(&[xds_type.as_str()]);
            }
        }
        Ok(registered)
    }

    /// Counts a NACK. `code` is the gRPC code that the proxy gave: its message would make a series for each wording.
    pub fn rejected(&self, xds_type: XdsType, node: &str, code: i32) {
        self.total_rejects.inc();
        let code = format!("{:?}", tonic::Code::from(code));
        self.rejects[xds_type as usize]
            .with_label_values(&[node, &code])
            .inc();
    }
}
