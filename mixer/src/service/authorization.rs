//! Envoy's `envoy.service.auth.v3.Authorization`: Check by the filter `ext_authz`.
//!
//! | Mixer's attribute | of the request |
//! |---|---|
//! | `source.*`, `destination.*`: `ip`, `port`, `labels`, `principal`; `source.user` | the peers; principals without `spiffe://` |
//! | `source.namespace`, `destination.namespace` | the namespace in a principal |
//! | `origin.ip` | the address of the source |
//! | `connection.mtls` | whether the source has a principal |
//! | `connection.requested_server_name` | `tls_session.sni` |
//! | `request.headers`, `.method`, `.host`, `.scheme`, `.size`, `.time` | `request.http`, `request.time` |
//! | `request.path`, `.url_path`, `.query_params` | `request.http.path` |
//! | `request.id` | header `x-request-id`, else `request.http.id` |
//! | `request.useragent`, `.referer` | headers |
//! | `request.auth.principal`, `.audiences`, `.presenter`, `.claims` | what the filter `jwt_authn` left in the metadata |
//! | `context.protocol` | `http`, `grpc`, or `tcp` where there is no request |
//! | `connection.event` | `open` for `tcp` |
//!
//! `context_extensions` of a route come before all that: entries that are called like an attribute are its value. That is
//! where `context.reporter.kind`, `destination.service.host` and `destination.namespace` come from.
//!
//! What may pass gets the header operations of the rules; Envoy removes no headers of responses, so that those operations
//! have no effect. What may not gets the status of `spec 02` §2.9 and the body `CODE:message`, or the response that an
//! adapter gives. What nobody could decide is an error of the call, about which `failure_mode_allow` decides.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use mesh_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption, Metadata};
use mesh_api::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use mesh_api::envoy::service::auth::v3::authorization_server::Authorization;
use mesh_api::envoy::service::auth::v3::check_response::HttpResponse;
use mesh_api::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use mesh_api::envoy::r#type::v3::{HttpStatus, StatusCode};
use mesh_api::istio::mixer::v1::HeaderOperation;
use mesh_api::istio::mixer::v1::header_operation::Operation;
use mixer_attribute::{Bag, StringMap, Value, Vocabulary, denial};
use mixer_runtime::dispatch::{Patience, Verdict};
use prost::Message as _;
use prost_types::value::Kind;
use tonic::{Request, Response, Status};

use super::attributes::{Filler, Side};
use super::{Front, status, tell};

pub(super) const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";

/// The filter that leaves the claims of tokens in the metadata.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// The service.
pub(super) struct ExtAuthz(pub(super) Arc<Front>);

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let received = request.encoded_len();
        let context = request.attributes.unwrap_or_default();
        let answer = |patience| check(&self.0, &context, patience);
        let method = &self.0.methods.authorize;
        self.0.measured(method, &metadata, received, answer).await
    }
}

async fn check(
    front: &Front,
    context: &AttributeContext,
    patience: Patience,
) -> Result<Response<CheckResponse>, Status> {
    front.admit(1)?;
    let _slot = front.slot().await;
    let headers = headers(context);
    let table = front.engine.table();
    let bag = attributes(&table.vocabulary, context, &headers);
    let checked = front.engine.check_bag(&table, bag, patience).await;
    let checked = checked.map_err(status)?;
    let mut response = Response::new(answer(checked.verdict));
    tell(response.metadata_mut(), &table, checked.remembered);
    Ok(response)
}

/// The headers of the request, however Envoy was told to send them. Of several with one name there is one with all values.
fn headers(context: &AttributeContext) -> Vec<(&str, Cow<'_, str>)> {
    let Some(http) = context.request.as_ref().and_then(|request| request.http.as_ref()) else {
        return Vec::new();
    };
    let mut headers: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (name, value) in &http.headers {
        headers.push((name, Cow::Borrowed(value)));
    }
    for header in http.header_map.iter().flat_map(|map| &map.headers) {
        let value = match header.raw_value.is_empty() {
            true => Cow::Borrowed(header.value.as_str()),
            false => String::from_utf8_lossy(&header.raw_value),
        };
        match headers.iter_mut().find(|(name, _)| *name == header.key) {
            Some((_, all)) => *all = Cow::Owned(format!("{all},{value}")),
            None => headers.push((&header.key, value)),
        }
    }
    headers
}

fn attributes<'r>(
    vocabulary: &Vocabulary,
    context: &'r AttributeContext,
    headers: &'r [(&'r str, Cow<'r, str>)],
) -> Bag<'r> {
    let mut filler = Filler::new(vocabulary);
    filler.named(pairs(&context.context_extensions));
    peer(&mut filler, Side::Source, context.source.as_ref());
    peer(&mut filler, Side::Destination, context.destination.as_ref());
    let source = context.source.as_ref();
    filler.origin(source.and_then(|source| source.address.as_ref()));
    let mtls = source.is_some_and(|source| !source.principal.is_empty());
    filler.set("connection.mtls", Value::Bool(mtls));
    if let Some(session) = &context.tls_session {
        filler.text("connection.requested_server_name", &session.sni);
    }
    for metadata in context.metadata_context.iter() {
        claims(&mut filler, metadata);
    }
    let request = context.request.as_ref();
    filler.time("request.time", request.and_then(|request| request.time));
    match request.and_then(|request| request.http.as_ref()) {
        Some(http) => http_request(&mut filler, http, headers),
        None => {
            filler.set("context.protocol", "tcp");
            filler.set("connection.event", "open");
            filler.time("context.time", request.and_then(|request| request.time));
        }
    }
    filler.finish()
}

fn peer<'r>(filler: &mut Filler<'_, 'r>, side: Side, peer: Option<&'r Peer>) {
    if let Some(peer) = peer {
        filler.address(side, peer.address.as_ref());
        filler.principal(side, &peer.principal);
        filler.labels(side, pairs(&peer.labels));
    }
}

fn http_request<'r>(
    filler: &mut Filler<'_, 'r>,
    http: &'r HttpRequest,
    headers: &'r [(&'r str, Cow<'r, str>)],
) {
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| &**value)
    };
    filler.map(
        "request.headers",
        headers.iter().map(|(name, value)| (*name, &**value)),
    );
    filler.text("request.id", header("x-request-id"));
    filler.text("request.id", &http.id);
    filler.text("request.method", &http.method);
    filler.text("request.host", &http.host);
    filler.text("request.scheme", &http.scheme);
    filler.set("request.scheme", "http");
    filler.path(&http.path);
    filler.text("request.useragent", header("user-agent"));
    filler.text("request.referer", header("referer"));
    filler.count("request.size", http.size);
    filler.protocol(Some(header("content-type")));
}

/// The claims of a token that `jwt_authn` has checked, where its `payload_in_metadata` puts them.
fn claims<'r>(filler: &mut Filler<'_, 'r>, metadata: &'r Metadata) {
    let Some(payloads) = metadata.filter_metadata.get(JWT_AUTHN) else {
        return;
    };
    let claims = payloads.fields.values().find_map(|payload| match &payload.kind {
        Some(Kind::StructValue(claims)) => Some(&claims.fields),
        _ => None,
    });
    let Some(claims) = claims else { return };
    let text = |name: &str| match claims.get(name).and_then(|claim| claim.kind.as_ref()) {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::ListValue(list)) => {
            let texts = list.values.iter().filter_map(|value| match &value.kind {
                Some(Kind::StringValue(text)) => Some(text.as_str()),
                _ => None,
            });
            texts.collect::<Vec<_>>().join(",")
        }
        _ => String::new(),
    };
    let (issuer, subject) = (text("iss"), text("sub"));
    if !issuer.is_empty() && !subject.is_empty() {
        filler.made("request.auth.principal", format!("{issuer}/{subject}"));
    }
    filler.made("request.auth.audiences", text("aud"));
    filler.made("request.auth.presenter", text("azp"));
    let all: Vec<(String, String)> = claims
        .keys()
        .map(|name| (name.clone(), text(name)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let map = StringMap::borrowed(all.iter().map(|(name, value)| (&**name, &**value)));
    filler.set("request.auth.claims", Value::StringMap(map.into_owned()));
}

fn pairs(map: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn answer(verdict: Verdict) -> CheckResponse {
    let http_response = if verdict.is_ok() {
        HttpResponse::OkResponse(allowed(&verdict))
    } else {
        HttpResponse::DeniedResponse(denied(&verdict))
    };
    CheckResponse {
        status: Some(verdict.status),
        http_response: Some(http_response),
        ..CheckResponse::default()
    }
}

fn allowed(verdict: &Verdict) -> OkHttpResponse {
    let directive = verdict.directive.clone().unwrap_or_default();
    let (removed, set): (Vec<_>, Vec<_>) = directive
        .request_header_operations
        .into_iter()
        .partition(|operation| operation.operation() == Operation::Remove);
    OkHttpResponse {
        headers: set.into_iter().filter_map(header).collect(),
        headers_to_remove: removed.into_iter().map(|operation| operation.name).collect(),
        response_headers_to_add: directive
            .response_header_operations
            .into_iter()
            .filter_map(header)
            .collect(),
        ..OkHttpResponse::default()
    }
}

fn denied(verdict: &Verdict) -> DeniedHttpResponse {
    let directive = verdict.directive.clone().unwrap_or_default();
    let (code, body) = match directive.direct_response_code {
        0 => (http_code(verdict.status.code), denial(&verdict.status)),
        code => (code, directive.direct_response_body),
    };
    DeniedHttpResponse {
        status: Some(HttpStatus {
            code: known(code).into(),
        }),
        headers: directive
            .response_header_operations
            .into_iter()
            .filter_map(header)
            .collect(),
        body,
    }
}

/// How Envoy sets a header; `None` where it is to be removed.
fn header(operation: HeaderOperation) -> Option<HeaderValueOption> {
    let append_action = match operation.operation() {
        Operation::Replace => HeaderAppendAction::OverwriteIfExistsOrAdd,
        Operation::Append => HeaderAppendAction::AppendIfExistsOrAdd,
        Operation::Remove => return None,
    };
    Some(HeaderValueOption {
        header: Some(HeaderValue {
            key: operation.name,
            value: operation.value,
            ..HeaderValue::default()
        }),
        append_action: append_action.into(),
        ..HeaderValueOption::default()
    })
}

/// What proxies make of a code of `google.rpc` (§2.9).
fn http_code(code: i32) -> u32 {
    match code {
        // Cancelled.
        1 => 499,
        // Invalid argument, failed precondition, out of range.
        3 | 9 | 11 => 400,
        // Deadline exceeded.
        4 => 504,
        // Not found.
        5 => 404,
        // Already exists, aborted.
        6 | 10 => 409,
        // Permission denied.
        7 => 403,
        // Resource exhausted.
        8 => 429,
        // Unimplemented.
        12 => 501,
        // Unavailable.
        14 => 503,
        // Unauthenticated.
        16 => 401,
        // Unknown, internal, data loss, and what nobody knows.
        _ => 500,
    }
}

/// Envoy refuses answers with a status that its list does not have, such as 499: they become the general one of their class.
fn known(code: u32) -> StatusCode {
    let listed = i32::try_from(code)
        .ok()
        .and_then(|code| StatusCode::try_from(code).ok());
    match listed {
        Some(StatusCode::Empty) | None if (400..500).contains(&code) => StatusCode::BadRequest,
        Some(StatusCode::Empty) | None => StatusCode::InternalServerError,
        Some(code) => code,
    }
}

#[cfg(test)]
mod tests;
