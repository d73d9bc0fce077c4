//! Requests in an access log.

use mesh_api::envoy::config::core::v3::{Node, RequestMethod};
use mesh_api::envoy::data::accesslog::v3::{
    AccessLogType, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties,
};
use mixer_attribute::{Bag, Value, Vocabulary};
use prost_types::{Duration, Timestamp};

use super::{common, took};
use crate::service::attributes::Filler;

/// Nanoseconds.
const SECOND: i32 = 1_000_000_000;

/// Whether an entry is about a request that is over.
pub(super) fn is_over(entry: &HttpAccessLogEntry) -> bool {
    let kind = entry
        .common_properties
        .as_ref()
        .map(|common| common.access_log_type());
    !matches!(
        kind,
        Some(
            AccessLogType::DownstreamStart
                | AccessLogType::DownstreamPeriodic
                | AccessLogType::DownstreamTunnelSuccessfullyEstablished
                | AccessLogType::UpstreamPoolReady
                | AccessLogType::UpstreamPeriodic
        )
    )
}

/// The attributes of an entry.
pub(super) fn attributes<'r>(
    vocabulary: &Vocabulary,
    node: Option<&'r Node>,
    entry: &'r HttpAccessLogEntry,
) -> Bag<'r> {
    let mut filler = Filler::new(vocabulary);
    if let Some(properties) = &entry.common_properties {
        common(&mut filler, node, properties);
        let (start, took) = (properties.start_time, took(properties));
        filler.time("request.time", start);
        filler.duration("response.duration", took);
        filler.time(
            "response.time",
            start.zip(took).map(|(start, took)| add(start, took)),
        );
    }
    let mut content_type = None;
    if let Some(properties) = &entry.request {
        request(&mut filler, properties);
        content_type = properties.request_headers.get("content-type");
    }
    if let Some(properties) = &entry.response {
        response(&mut filler, properties);
        content_type = content_type.or(properties.response_headers.get("content-type"));
    }
    filler.protocol(content_type.map(String::as_str));
    filler.finish()
}

fn request<'r>(filler: &mut Filler<'_, 'r>, request: &'r HttpRequestProperties) {
    let method = match request.request_method() {
        RequestMethod::MethodUnspecified => "",
        method => method.as_str_name(),
    };
    let path = match request.original_path.as_str() {
        "" => request.path.as_str(),
        original => original,
    };
    let told = [
        (":authority", request.authority.as_str()),
        (":method", method),
        (":path", path),
        (":scheme", request.scheme.as_str()),
        ("user-agent", request.user_agent.as_str()),
        ("referer", request.referer.as_str()),
        ("x-request-id", request.request_id.as_str()),
        ("x-forwarded-for", request.forwarded_for.as_str()),
    ];
    let told = told.into_iter().filter(|(_, value)| !value.is_empty());
    let headers = request
        .request_headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    filler.map("request.headers", told.chain(headers));
    filler.text("request.id", &request.request_id);
    filler.text("request.method", method);
    filler.text("request.host", &request.authority);
    filler.text("request.scheme", &request.scheme);
    filler.set("request.scheme", "http");
    filler.path(path);
    filler.text("request.useragent", &request.user_agent);
    filler.text("request.referer", &request.referer);
    let total = request
        .request_headers_bytes
        .saturating_add(request.request_body_bytes);
    filler.count("request.size", request.request_body_bytes);
    filler.count("request.total_size", total);
}

fn response<'r>(filler: &mut Filler<'_, 'r>, response: &'r HttpResponseProperties) {
    let headers = || {
        response
            .response_headers
            .iter()
            .chain(&response.response_trailers)
            .map(|(name, value)| (name.as_str(), value.as_str()))
    };
    filler.map("response.headers", headers());
    for (header, attribute) in [
        ("grpc-status", "response.grpc_status"),
        ("grpc-message", "response.grpc_message"),
    ] {
        if let Some((_, value)) = headers().find(|(name, _)| *name == header) {
            filler.text(attribute, value);
        }
    }
    // Without a code there was no response, which 1.1 calls 500.
    let code = response.response_code.filter(|code| *code != 0).unwrap_or(500);
    filler.set("response.code", Value::Int64(code.into()));
    let total = response
        .response_headers_bytes
        .saturating_add(response.response_body_bytes);
    filler.count("response.size", response.response_body_bytes);
    filler.count("response.total_size", total);
}

fn add(start: Timestamp, took: Duration) -> Timestamp {
    let nanos = start.nanos.saturating_add(took.nanos);
    Timestamp {
        seconds: start
            .seconds
            .saturating_add(took.seconds)
            .saturating_add((nanos / SECOND).into()),
        nanos: nanos % SECOND,
    }
}
