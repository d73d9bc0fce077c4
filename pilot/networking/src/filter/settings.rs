//! What a proxy itself says about the HTTP that it speaks (P12.5).

use std::time::Duration;

use mesh_config::decode;
use pilot_model::Proxy;

use crate::{Features, TraceSampling};

/// How a proxy treats HTTP connections, whatever they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct HttpSettings {
    /// Whether clients may speak HTTP/1.0, which Envoy refuses otherwise: `HTTP10` of the proxy, or `PILOT_HTTP10`.
    pub(crate) accepts_http_10: bool,
    /// How long a stream may be silent, `IDLE_TIMEOUT` of the proxy; zero is for ever.
    pub(crate) idle_timeout: Duration,
    /// Whether the bootstrap has a Zipkin collector, `TRACER` of the proxy: Envoy refuses a listener that names a cluster it does
    /// not have. How many requests are reported to it then.
    pub(crate) zipkin: Option<TraceSampling>,
}

// === impl HttpSettings ===

impl HttpSettings {
    pub(crate) fn of(proxy: &Proxy, features: &Features) -> Self {
        let says = |name: &str| proxy.metadata.get(name).map(|value| &**value);
        Self {
            accepts_http_10: features.http_10 || says("HTTP10") == Some("1"),
            // As in 1.1, what is no duration is none.
            idle_timeout: says("IDLE_TIMEOUT")
                .and_then(decode::duration)
                .unwrap_or_default(),
            zipkin: (says("TRACER") == Some("zipkin")).then_some(features.trace_sampling),
        }
    }
}

#[cfg(test)]
mod tests {
    use pilot_model::InterceptionMode;

    use super::*;
    use crate::fixture::proxy;

    fn settings(metadata: &[(&str, &str)], http_10: bool) -> HttpSettings {
        let mut proxy = proxy(InterceptionMode::Redirect);
        let metadata = metadata.iter();
        proxy.metadata = metadata
            .map(|&(name, value)| (name.into(), value.into()))
            .collect();
        let features = Features {
            http_10,
            ..Features::default()
        };
        HttpSettings::of(&proxy, &features)
    }

    #[test]
    fn p12_5_a_proxy_or_pilot_may_accept_http_1_0() {
        assert!(!settings(&[], false).accepts_http_10);
        assert!(!settings(&[("HTTP10", "0")], false).accepts_http_10);
        assert!(settings(&[("HTTP10", "1")], false).accepts_http_10);
        assert!(settings(&[], true).accepts_http_10);
    }

    #[test]
    fn p12_5_only_proxies_with_a_collector_report_to_one() {
        assert_eq!(settings(&[], false).zipkin, None);
        assert_eq!(settings(&[("TRACER", "lightstep")], false).zipkin, None);
        assert_eq!(
            settings(&[("TRACER", "zipkin")], false).zipkin,
            Some(TraceSampling::ALL)
        );
    }

    #[test]
    fn p12_5_a_proxy_says_how_long_streams_may_be_silent() {
        for (text, seconds) in [("90s", 90), ("1h1m", 3660), ("", 0), ("-5s", 0), ("long", 0)] {
            let settings = settings(&[("IDLE_TIMEOUT", text)], false);
            assert_eq!(settings.idle_timeout, Duration::from_secs(seconds), "{text:?}");
        }
    }
}
