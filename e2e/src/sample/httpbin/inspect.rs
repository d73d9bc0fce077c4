//! What a request carried, in httpbin's JSON.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::sample::{form, server};

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Inspection {
    parts: Parts,
    origin: String,
    body: Bytes,
}

pub(super) const ALL: &[&str] = &[
    "args", "data", "files", "form", "headers", "json", "method", "origin", "url",
];
pub(super) const WITH_BODY: &[&str] = &[
    "args", "data", "files", "form", "headers", "json", "origin", "url",
];
pub(super) const DELAYED: &[&str] = &["args", "data", "files", "form", "headers", "origin", "url"];
pub(super) const WITHOUT_BODY: &[&str] = &["args", "headers", "origin", "url"];
pub(super) const STREAMED: &[&str] = WITHOUT_BODY;

/// Headers that proxies add on the way; shown when the query has `show_env`.
const ON_THE_WAY: [&str; 8] = [
    "connect-time",
    "via",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-ssl",
    "x-real-ip",
];

impl<S: Send + Sync> FromRequest<S> for Inspection {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let remote = ConnectInfo::<SocketAddr>::from_request_parts(&mut parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let origin = server::origin(&parts.headers, &remote);
        let request = Request::from_parts(parts.clone(), body);
        let body = Bytes::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self { parts, origin, body })
    }
}

// === impl Inspection ===

impl Inspection {
    /// The JSON answer with these fields.
    pub(super) fn answer(&self, fields: &[&str]) -> Response {
        pretty(&Value::Object(self.object(fields)))
    }

    pub(super) fn object(&self, fields: &[&str]) -> Map<String, Value> {
        let args = form::pairs(self.parts.uri.query().unwrap_or_default());
        let show_env = args.iter().any(|(name, _)| name == "show_env");
        let (data, form, files) = self.contents();
        let value = |field: &str| match field {
            "args" => multi_map(args.iter().filter(|(name, _)| name != "show_env").cloned()).into(),
            "data" => data.clone().into(),
            "files" => files.clone().into(),
            "form" => form.clone().into(),
            "headers" => header_map(&self.parts.headers, show_env).into(),
            "json" => serde_json::from_str(&data).unwrap_or_default(),
            "method" => self.parts.method.as_str().into(),
            "origin" => self.origin.clone().into(),
            "url" => url(&self.parts.headers, &self.parts.uri).into(),
            _ => Value::Null,
        };
        fields
            .iter()
            .map(|field| ((*field).to_owned(), value(field)))
            .collect()
    }

    /// The body as `data`, `form` and `files`.
    fn contents(&self) -> (String, Map<String, Value>, Map<String, Value>) {
        let content_type = self
            .parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if let Some(boundary) = form::boundary(content_type) {
            let (files, fields): (Vec<_>, Vec<_>) = form::parts(&self.body, boundary)
                .into_iter()
                .partition(|part| part.is_file);
            let map = |parts: Vec<form::Part<'_>>| {
                multi_map(parts.into_iter().map(|part| (part.name, text(part.content))))
            };
            return (String::new(), map(fields), map(files));
        }
        if content_type
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim() == "application/x-www-form-urlencoded")
        {
            let pairs = form::pairs(&String::from_utf8_lossy(&self.body));
            return (String::new(), multi_map(pairs), Map::new());
        }
        (text(&self.body), Map::new(), Map::new())
    }
}

/// A JSON answer as httpbin writes it: indented, with a final newline.
pub(super) fn pretty(value: &Value) -> Response {
    let text = format!("{value:#}\n");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Names and values; a name that occurs more than once has a list.
pub(super) fn multi_map(pairs: impl IntoIterator<Item = (String, String)>) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in pairs {
        match map.get_mut(&name) {
            None => drop(map.insert(name, value.into())),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = Value::Array(vec![first.take(), value.into()]),
        }
    }
    map
}

fn header_map(headers: &HeaderMap, show_env: bool) -> Map<String, Value> {
    let mut names: Vec<_> = headers
        .keys()
        .filter(|name| show_env || !ON_THE_WAY.contains(&name.as_str()))
        .collect();
    names.sort_by_key(|name| name.as_str());
    let value = |name| {
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(",")
    };
    names
        .into_iter()
        .map(|name| (title_case(name.as_str()), value(name).into()))
        .collect()
}

/// `x-b3-traceid` as `X-B3-Traceid`.
fn title_case(name: &str) -> String {
    let word = |word: &str| {
        let mut characters = word.chars();
        characters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(characters)
            .collect::<String>()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

/// The URL as the client saw it.
fn url(headers: &HeaderMap, uri: &Uri) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = text("x-forwarded-proto").unwrap_or("http");
    let host = text("host")
        .or_else(|| uri.authority().map(|authority| authority.as_str()))
        .unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    format!("{scheme}://{host}{path}")
}

/// Text as it is, anything else as a data URL.
fn text(content: &[u8]) -> String {
    match std::str::from_utf8(content) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("data:application/octet-stream;base64,{}", base64(content)),
    }
}

fn base64(content: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(content.len().div_ceil(3) * 4);
    for group in content.chunks(3) {
        let bits = group
            .iter()
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let shown = digit <= group.len();
            encoded.push(if shown {
                char::from(DIGITS[bits >> (18 - 6 * digit) & 63])
            } else {
                '='
            });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_to_groups_of_four() {
        for (content, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(content.as_bytes()), encoded);
        }
    }

    #[test]
    fn header_names_are_capitalised_word_by_word() {
        assert_eq!(title_case("x-b3-traceid"), "X-B3-Traceid");
        assert_eq!(title_case("host"), "Host");
    }
}
