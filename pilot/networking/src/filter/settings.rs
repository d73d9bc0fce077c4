//! What a proxy itself says about the HTTP that it speaks (P12.5).

use std::time::Duration;

use mesh_config::decode;
use pilot_model::Proxy;

use crate::Features;

/// How a proxy treats HTTP connections, whatever they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct HttpSettings {
    /// Whether clients may speak HTTP/1.0, which Envoy refuses otherwise: `HTTP10` of the proxy, or `PILOT_HTTP10`.
    pub(crate) accepts_http_10: bool,
    /// How long a stream may be silent, `IDLE_TIMEOUT` of the proxy; zero is for ever.
    pub(crate) idle_timeout: Duration,
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
    fn p12_5_a_proxy_says_how_long_streams_may_be_silent() {
        for (text, seconds) in [("90s", 90), ("1h1m", 3660), ("", 0), ("-5s", 0), ("long", 0)] {
            let settings = settings(&[("IDLE_TIMEOUT", text)], false);
            assert_eq!(settings.idle_timeout, Duration::from_secs(seconds), "{text:?}");
        }
    }
}
