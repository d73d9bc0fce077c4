//! Spans as Zipkin's API has them, in JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::span::{Endpoint, Span};

/// How the path of a collector of version 1 ends.
const PATH_V1: &str = "/api/v1/spans";

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanV2<'a> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    kind: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    local_endpoint: EndpointJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<EndpointJson<'a>>,
    annotations: Vec<Annotation<'a>>,
    tags: &'a BTreeMap<&'a str, Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanV1<'a> {
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<u64>,
    annotations: Vec<Annotation<'a>>,
    binary_annotations: Vec<BinaryAnnotation<'a>>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointJson<'a> {
    service_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<IpAddr>,
}

#[derive(Serialize)]
struct Annotation<'a> {
    timestamp: u64,
    value: &'static str,
    /// In version 1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<EndpointJson<'a>>,
}

#[derive(Serialize)]
struct BinaryAnnotation<'a> {
    key: &'a str,
    value: BinaryValue<'a>,
    endpoint: EndpointJson<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BinaryValue<'a> {
    /// A tag.
    Text(&'a str),
    /// The endpoint is that of the other side.
    Is(bool),
}

// === impl Version ===

impl Version {
    /// The version that a collector speaks under a path.
    pub(super) fn of(path: &str) -> Self {
        if path.trim_end_matches('/').ends_with(PATH_V1) {
            Self::V1
        } else {
            Self::V2
        }
    }

    /// A span as an element of the list that is sent.
    pub(super) fn encode(self, span: &Span<'_>) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::V1 => serde_json::to_vec(&SpanV1::new(span)),
            Self::V2 => serde_json::to_vec(&SpanV2::new(span)),
        }
    }
}

// === impl SpanV2 ===

impl<'a> SpanV2<'a> {
    fn new(span: &'a Span<'a>) -> Self {
        let events = span.events().map(|(timestamp, value)| Annotation {
            timestamp,
            value,
            endpoint: None,
        });
        Self {
            trace_id: span.trace_text(),
            id: id(span.id),
            parent_id: span.parent.map(id),
            kind: if span.is_client { "CLIENT" } else { "SERVER" },
            name: span.name,
            timestamp: span.start,
            duration: span.duration(),
            local_endpoint: span.local.into(),
            remote_endpoint: span.remote.map(EndpointJson::from),
            annotations: events.collect(),
            tags: &span.tags,
        }
    }
}

// === impl SpanV1 ===

impl<'a> SpanV1<'a> {
    fn new(span: &'a Span<'a>) -> Self {
        let local = EndpointJson::from(span.local);
        let (first, second, other) = if span.is_client {
            ("cs", "cr", "sa")
        } else {
            ("sr", "ss", "ca")
        };
        let core = [(span.start, first), (span.end, second)];
        let core = core.into_iter().filter_map(|(time, value)| Some((time?, value)));
        let annotations = core.chain(span.events()).map(|(timestamp, value)| Annotation {
            timestamp,
            value,
            endpoint: Some(local),
        });
        let tags = span.tags.iter().map(|(key, value)| BinaryAnnotation {
            key,
            value: BinaryValue::Text(value),
            endpoint: local,
        });
        let remote = span.remote.map(|remote| BinaryAnnotation {
            key: other,
            value: BinaryValue::Is(true),
            endpoint: remote.into(),
        });
        Self {
            trace_id: span.trace_text(),
            id: id(span.id),
            parent_id: span.parent.map(id),
            name: span.name,
            timestamp: span.start,
            duration: span.duration(),
            annotations: annotations.collect(),
            binary_annotations: tags.chain(remote).collect(),
        }
    }
}

// === impl EndpointJson ===

impl<'a> From<Endpoint<'a>> for EndpointJson<'a> {
    fn from(endpoint: Endpoint<'a>) -> Self {
        let address = Some(endpoint.address);
        Self {
            service_name: endpoint.name,
            ipv4: address.filter(IpAddr::is_ipv4),
            ipv6: address.filter(IpAddr::is_ipv6),
        }
    }
}

fn id(id: u64) -> String {
    format!("{id:016x}")
}
