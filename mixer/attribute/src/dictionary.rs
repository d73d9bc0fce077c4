//! The global dictionary: words that travel as numbers (`spec 02` §2.3).
//!
//! It is only ever appended to. Words 94, 111, 112 and 218 have quotes in them, since the list from which everybody's
//! dictionary was once generated has them, and both sides must agree.

use std::collections::HashMap;
use std::sync::LazyLock;

/// How many words both sides know.
pub const LEN: usize = 221;

/// The words, by their numbers.
pub const WORDS: [&str; LEN] = [
    "source.ip",
    "source.port",
    "source.name",
    "source.uid",
    "source.namespace",
    "source.labels",
    "source.user",
    "target.ip",
    "target.port",
    "target.service",
    "target.name",
    "target.uid",
    "target.namespace",
    "target.labels",
    "target.user",
    "request.headers",
    "request.id",
    "request.path",
    "request.host",
    "request.method",
    "request.reason",
    "request.referer",
    "request.scheme",
    "request.size",
    "request.time",
    "request.useragent",
    "response.headers",
    "response.size",
    "response.time",
    "response.duration",
    "response.code",
    ":authority",
    ":method",
    ":path",
    ":scheme",
    ":status",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-request-method",
    "access-control-request-headers",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "accept",
    "access-control-allow",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "refresh",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-sec",
    "transfer-encoding",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
    "GET",
    "POST",
    "http",
    "envoy",
    "'200'",
    "Keep-Alive",
    "chunked",
    "x-envoy-service-time",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-http-method-override",
    "x-request-id",
    "x-requested-with",
    "application/json",
    "application/xml",
    "gzip",
    "text/html",
    "text/html; charset=utf-8",
    "text/plain",
    "text/plain; charset=utf-8",
    "'0'",
    "'1'",
    "true",
    "false",
    "gzip, deflate",
    "max-age=0",
    "x-envoy-upstream-service-time",
    "x-envoy-internal",
    "x-envoy-expected-rq-timeout-ms",
    "x-ot-span-context",
    "x-b3-traceid",
    "x-b3-sampled",
    "x-b3-spanid",
    "tcp",
    "connection.id",
    "connection.received.bytes",
    "connection.received.bytes_total",
    "connection.sent.bytes",
    "connection.sent.bytes_total",
    "connection.duration",
    "context.protocol",
    "context.timestamp",
    "context.time",
    "0",
    "1",
    "200",
    "302",
    "400",
    "401",
    "403",
    "404",
    "409",
    "429",
    "499",
    "500",
    "501",
    "502",
    "503",
    "504",
    "destination.ip",
    "destination.port",
    "destination.service",
    "destination.name",
    "destination.uid",
    "destination.namespace",
    "destination.labels",
    "destination.user",
    "source.service",
    "api.service",
    "api.version",
    "api.operation",
    "api.protocol",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.api_key",
    "check.error_code",
    "check.error_message",
    "request.total_size",
    "response.total_size",
    "connection.event",
    "check.cache_hit",
    "quota.cache_hit",
    "source.principal",
    "request.auth.claims",
    "request.auth.raw_claims",
    "connection.mtls",
    "source.metadata",
    "source.owner",
    "source.services",
    "source.workload.uid",
    "source.workload.name",
    "source.workload.namespace",
    "destination.metadata",
    "destination.owner",
    "destination.principal",
    "destination.workload.uid",
    "destination.workload.name",
    "destination.workload.namespace",
    "destination.service.uid",
    "destination.service.name",
    "destination.service.namespace",
    "destination.service.host",
    "destination.container.name",
    "destination.container.image",
    "context.reporter.local",
    "context.reporter.uid",
    "response.grpc_status",
    "response.grpc_message",
    "context.reporter.type",
    "context.reporter.kind",
    "connection.requested_server_name",
    "request.url_path",
    "request.query_params",
    "context.proxy_error_code",
    "UH",
    "UF",
    "UO",
    "NR",
    "LH",
    "UT",
    "LR",
    "UR",
    "UC",
    "DI",
    "FI",
    "RL",
    "\"-\"",
    "inbound",
    "outbound",
];

/// The caller may use words that are not in our dictionary (`spec 02` §14 D3). The text begins as clients expect it that
/// then fall back to the words that everybody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Request could not be processed due to invalid global dictionary: mixer knows {LEN} words, caller knows {caller} words"
)]
pub struct TooManyWords {
    /// How many words the caller knows.
    pub caller: u32,
}

static NUMBERS: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
    WORDS
        .iter()
        .enumerate()
        .map(|(number, word)| (*word, number))
        .collect()
});

/// The number of a word.
#[must_use]
pub fn number(word: &str) -> Option<usize> {
    NUMBERS.get(word).copied()
}

/// Whether we know all words of a caller that knows so many.
///
/// # Errors
///
/// If it knows more than we do; the call is refused as an invalid argument.
pub fn check_word_count(global_word_count: u32) -> Result<(), TooManyWords> {
    match usize::try_from(global_word_count) {
        Ok(count) if count <= LEN => Ok(()),
        _ => Err(TooManyWords {
            caller: global_word_count,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `spec 02` §2.3: the words with quotes, and some that are easily shifted.
    #[test]
    fn the_words_are_where_everybody_expects_them() {
        for (number, word) in [
            (0, "source.ip"),
            (86, "user-agent"),
            (94, "'200'"),
            (108, "text/html; charset=utf-8"),
            (110, "text/plain; charset=utf-8"),
            (111, "'0'"),
            (112, "'1'"),
            (113, "true"),
            (115, "gzip, deflate"),
            (134, "0"),
            (150, "destination.ip"),
            (205, "context.proxy_error_code"),
            (218, "\"-\""),
            (220, "outbound"),
        ] {
            assert_eq!(WORDS[number], word);
        }
        for (place, word) in WORDS.iter().enumerate() {
            assert_eq!(number(word), Some(place), "{word} is there twice");
        }
        assert_eq!(number("origin.ip"), None);
    }

    #[test]
    fn callers_that_know_more_words_are_refused() {
        assert_eq!(check_word_count(0), Ok(()));
        assert_eq!(check_word_count(221), Ok(()));
        assert_eq!(
            check_word_count(222).unwrap_err().to_string(),
            "Request could not be processed due to invalid global dictionary: mixer knows 221 words, caller knows 222 words"
        );
    }
}
