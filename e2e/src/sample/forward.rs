//! Which headers of a request go on to the calls it causes.
//!
//! Spans of one request are only tied together if the application copies the tracing headers (TEL-10), and
//! routing by user, cookie, browser or a header of one's own only works beyond the first service if they
//! travel too.

use axum::http::{HeaderMap, HeaderName};

/// Headers that go on beside those with the prefix `x-`.
const NAMES: [&str; 12] = [
    "accept-language",
    "authorization",
    "b3",
    "baggage",
    "cookie",
    "end-user",
    // The headers by which the book's rules of chapter 3 route.
    "group",
    "location",
    "source",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// `x-` headers that belong to one hop: Envoy's own instructions and what proxies say about the connection.
const HOP_PREFIXES: [&str; 3] = ["x-envoy-", "x-forwarded-", "x-real-"];

/// The headers of `incoming` that belong to the request rather than to the hop.
pub(super) fn forwarded(incoming: &HeaderMap) -> HeaderMap {
    let goes_on = |name: &HeaderName| {
        let name = name.as_str();
        NAMES.contains(&name)
            || (name.starts_with("x-") && HOP_PREFIXES.iter().all(|prefix| !name.starts_with(prefix)))
    };
    incoming
        .iter()
        .filter(|(name, _)| goes_on(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn names(headers: &[&'static str]) -> Vec<String> {
        let incoming: HeaderMap = headers
            .iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        let mut names: Vec<_> = forwarded(&incoming).keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn tel_10_tracing_headers_go_on() {
        let tracing = [
            "x-b3-flags",
            "x-b3-parentspanid",
            "x-b3-sampled",
            "x-b3-spanid",
            "x-b3-traceid",
            "x-ot-span-context",
            "x-request-id",
        ];
        assert_eq!(names(&tracing), tracing);
    }

    #[test]
    fn headers_of_one_hop_stay() {
        let hop = [
            "host",
            "accept",
            "content-length",
            "x-envoy-attempt-count",
            "x-forwarded-proto",
            "cookie",
        ];
        assert_eq!(names(&hop), ["cookie"]);
    }

    #[test]
    fn a_repeated_header_goes_on_with_every_value() {
        let mut incoming = HeaderMap::new();
        incoming.append("cookie", HeaderValue::from_static("a=1"));
        incoming.append("cookie", HeaderValue::from_static("b=2"));
        assert_eq!(forwarded(&incoming).get_all("cookie").iter().count(), 2);
    }
}
