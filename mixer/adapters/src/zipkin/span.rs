//! What a report tells of a span.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use mixer_adapter::text;
use mixer_template::TraceSpan;
use prost_types::Timestamp;

/// What the id of a client's span is changed by where caller and server are to have spans of their own.
const REWRITE: u64 = 0x3f6a_2ec3_c810_c2ab;

/// What a side is called that has no name.
const NO_NAME: &str = "default";

/// A span. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span<'a> {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'a str,
    /// Told by the caller.
    pub(super) is_client: bool,
    pub(super) start: Option<u64>,
    pub(super) end: Option<u64>,
    pub(super) local: Endpoint<'a>,
    /// The other side, if it is known.
    pub(super) remote: Option<Endpoint<'a>>,
    pub(super) tags: BTreeMap<&'a str, Cow<'a, str>>,
}

/// A side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint<'a> {
    pub(super) name: &'a str,
    pub(super) address: IpAddr,
}

// === impl Span ===

impl<'a> Span<'a> {
    /// The span of an instance; `None` where its ids are none.
    pub(super) fn new(instance: &'a TraceSpan<'a>) -> Option<Self> {
        let trace = trace_id(&instance.trace_id)?;
        let mut id = span_id(&instance.span_id)?;
        let mut parent = span_id(&instance.parent_span_id);
        if instance.rewrite_client_span_id {
            // The span of the caller comes between the one of the server and their former parent.
            let of_client = id ^ REWRITE;
            if instance.client_span {
                id = of_client;
            } else {
                parent = Some(of_client);
            }
        }
        let source = Endpoint::new(&instance.source_name, instance.source_ip);
        let destination = Endpoint::new(&instance.destination_name, instance.destination_ip);
        let (local, remote, is_known) = if instance.client_span {
            (source, destination, !instance.destination_name.is_empty())
        } else {
            (destination, source, !instance.source_name.is_empty())
        };
        Some(Self {
            trace,
            id,
            parent,
            name: &instance.span_name,
            is_client: instance.client_span,
            start: instance.start_time.as_ref().and_then(micros),
            end: instance.end_time.as_ref().and_then(micros),
            local,
            remote: is_known.then_some(remote),
            tags: tags(instance),
        })
    }

    /// At least one, as Zipkin wants it.
    pub(super) fn duration(&self) -> Option<u64> {
        Some(self.end?.checked_sub(self.start?)?.max(1))
    }

    /// When the request and the response were sent or received.
    pub(super) fn events(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let (first, second) = if self.is_client {
            ("SENT", "RECV")
        } else {
            ("RECV", "SENT")
        };
        let event = |time: Option<u64>, name| time.map(|time| (time, name));
        event(self.start, first)
            .into_iter()
            .chain(event(self.end, second))
    }

    /// As it is written: short where the upper half is nothing.
    pub(super) fn trace_text(&self) -> String {
        if self.trace >> 64 == 0 {
            format!("{:016x}", self.trace)
        } else {
            format!("{:032x}", self.trace)
        }
    }
}

fn tags<'a>(instance: &'a TraceSpan<'a>) -> BTreeMap<&'a str, Cow<'a, str>> {
    let given = instance.span_tags.iter();
    let mut tags: BTreeMap<_, _> = given
        .map(|(name, value)| (*name, text::stringify(Some(value))))
        .collect();
    let sizes = [
        ("http.request.size", instance.request_size),
        ("http.response.size", instance.response_size),
        ("request.total_size", instance.request_total_size),
        ("response.total_size", instance.response_total_size),
    ];
    for (name, size) in sizes {
        if size > 0 {
            tags.entry(name).or_insert_with(|| size.to_string().into());
        }
    }
    let code = instance.http_status_code;
    if code != 0 {
        tags.insert("http.status_code", code.to_string().into());
    }
    if let Some(status) = status(code) {
        tags.insert("error", status.into());
    }
    tags
}

/// What an HTTP status means; `None`: success.
fn status(code: i64) -> Option<&'static str> {
    Some(match code {
        0 | 200..400 => return None,
        400 | 422 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    })
}

/// 16 or 32 hexadecimal digits, not all of them 0.
fn trace_id(text: &str) -> Option<u128> {
    let fits = matches!(text.len(), 16 | 32) && is_hexadecimal(text);
    let id = u128::from_str_radix(text, 16).ok().filter(|_| fits)?;
    (id != 0).then_some(id)
}

/// 16 hexadecimal digits, not all of them 0.
fn span_id(text: &str) -> Option<u64> {
    let fits = text.len() == 16 && is_hexadecimal(text);
    let id = u64::from_str_radix(text, 16).ok().filter(|_| fits)?;
    (id != 0).then_some(id)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|letter| letter.is_ascii_hexdigit())
}

fn micros(time: &Timestamp) -> Option<u64> {
    let micros = i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos) / 1000;
    u64::try_from(micros).ok().filter(|micros| *micros > 0)
}

// === impl Endpoint ===

impl<'a> Endpoint<'a> {
    fn new(name: &'a str, address: Option<IpAddr>) -> Self {
        Self {
            name: if name.is_empty() { NO_NAME } else { name },
            address: address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.to_canonical()),
        }
    }
}
