//! HTTP routes (V6).

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3::headers::HeaderOperations;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::abort::ErrorType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::delay::HttpDelayType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::{Abort, Delay};
use mesh_api::istio::networking::v1alpha3::string_match::MatchType;
use mesh_api::istio::networking::v1alpha3::{
    CorsPolicy, Headers, HttpFaultInjection, HttpMatchRequest, HttpRetry, HttpRoute, HttpRouteDestination,
    Percent, StringMatch,
};

use super::{check_destination, check_origin, check_weighted, weights_add_up};
use crate::validation::primitive::{self, Checked};
use crate::validation::problems::Problems;
use crate::validation::regex;

/// Conditions of a retry policy beside status codes.
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

#[allow(deprecated, reason = "the old header fields are still read")]
pub(super) fn check(route: &HttpRoute, problems: &mut Problems) {
    check_action(route, problems);
    check_names("appendHeaders", &route.append_headers, problems);
    check_names("appendRequestHeaders", &route.append_request_headers, problems);
    check_names("appendResponseHeaders", &route.append_response_headers, problems);
    check_list("removeRequestHeaders", &route.remove_request_headers, problems);
    check_list("removeResponseHeaders", &route.remove_response_headers, problems);
    check_headers(route.headers.as_ref(), problems);
    problems.each("match", &route.r#match, |problems, request| {
        check_match(request, problems)
    });
    problems.each("route", &route.route, |problems, destination| {
        check_route_destination(destination, problems)
    });
    let weights: Vec<i32> = route.route.iter().map(|destination| destination.weight).collect();
    problems.check_field("route", weights_add_up(&weights));
    if let Some(fault) = &route.fault {
        problems.field("fault", |problems| check_fault(fault, problems));
    }
    if let Some(cors) = &route.cors_policy {
        problems.field("corsPolicy", |problems| check_cors(cors, problems));
    }
    if let Some(mirror) = &route.mirror {
        problems.field("mirror", |problems| check_destination(mirror, problems));
    }
    if let Some(timeout) = &route.timeout {
        problems.check_field("timeout", primitive::duration(timeout));
    }
    if let Some(retries) = &route.retries {
        problems.field("retries", |problems| check_retries(retries, problems));
    }
}

/// A route forwards or redirects, not both.
#[allow(deprecated, reason = "websocketUpgrade is still read")]
fn check_action(route: &HttpRoute, problems: &mut Problems) {
    match &route.redirect {
        None if route.route.is_empty() => problems.report("one of route and redirect is needed"),
        None => {}
        Some(redirect) => {
            for (name, present) in [
                ("route", !route.route.is_empty()),
                ("fault", route.fault.is_some()),
                ("rewrite", route.rewrite.is_some()),
                ("websocketUpgrade", route.websocket_upgrade),
            ] {
                if present {
                    problems.report_field(name, "not together with redirect");
                }
            }
            if redirect.uri.is_empty() && redirect.authority.is_empty() {
                problems.report_field("redirect", "one of uri and authority is needed");
            }
        }
    }
    if let Some(rewrite) = &route.rewrite
        && rewrite.uri.is_empty()
        && rewrite.authority.is_empty()
    {
        problems.report_field("rewrite", "one of uri and authority is needed");
    }
}

fn check_match(request: &HttpMatchRequest, problems: &mut Problems) {
    let HttpMatchRequest {
        uri,
        scheme,
        method,
        authority,
        headers,
        port,
        source_labels,
        gateways,
    } = request;
    for (name, pattern) in [
        ("uri", uri),
        ("scheme", scheme),
        ("method", method),
        ("authority", authority),
    ] {
        if let Some(pattern) = pattern {
            problems.field(name, |problems| check_pattern(pattern, problems));
        }
    }
    problems.each_entry("headers", headers, |problems, name, pattern| {
        problems.check(primitive::header_name(name));
        check_pattern(pattern, problems);
    });
    check_origin(*port, source_labels, gateways, problems);
}

fn check_pattern(pattern: &StringMatch, problems: &mut Problems) {
    if let Some(MatchType::Regex(pattern)) = &pattern.match_type {
        problems.check_field("regex", regex::pattern(pattern));
    }
}

#[allow(deprecated, reason = "the old header fields are still read")]
fn check_route_destination(destination: &HttpRouteDestination, problems: &mut Problems) {
    check_weighted(destination.destination.as_ref(), destination.weight, problems);
    check_names(
        "appendRequestHeaders",
        &destination.append_request_headers,
        problems,
    );
    check_names(
        "appendResponseHeaders",
        &destination.append_response_headers,
        problems,
    );
    check_list(
        "removeRequestHeaders",
        &destination.remove_request_headers,
        problems,
    );
    check_list(
        "removeResponseHeaders",
        &destination.remove_response_headers,
        problems,
    );
    check_headers(destination.headers.as_ref(), problems);
}

fn check_headers(headers: Option<&Headers>, problems: &mut Problems) {
    let Some(Headers { request, response }) = headers else {
        return;
    };
    problems.field("headers", |problems| {
        for (name, operations) in [("request", request), ("response", response)] {
            let Some(HeaderOperations { set, add, remove }) = operations else {
                continue;
            };
            problems.field(name, |problems| {
                check_names("set", set, problems);
                check_names("add", add, problems);
                check_list("remove", remove, problems);
            });
        }
    });
}

fn check_names(name: &str, headers: &BTreeMap<String, String>, problems: &mut Problems) {
    problems.each_entry(name, headers, |problems, name, _| {
        problems.check(primitive::header_name(name))
    });
}

fn check_list(name: &str, headers: &[String], problems: &mut Problems) {
    problems.each(name, headers, |problems, name| {
        problems.check(primitive::header_name(name))
    });
}

/// `R-VS-28`.
fn check_fault(fault: &HttpFaultInjection, problems: &mut Problems) {
    if fault.delay.is_none() && fault.abort.is_none() {
        problems.report("one of delay and abort is needed");
    }
    if let Some(delay) = &fault.delay {
        problems.field("delay", |problems| check_delay(delay, problems));
    }
    if let Some(abort) = &fault.abort {
        problems.field("abort", |problems| check_abort(abort, problems));
    }
}

#[allow(deprecated, reason = "the whole percentage is still read")]
fn check_delay(delay: &Delay, problems: &mut Problems) {
    check_share(delay.percentage, delay.percent, problems);
    match &delay.http_delay_type {
        None => problems.report_field("fixedDelay", "missing"),
        Some(HttpDelayType::FixedDelay(duration)) => {
            problems.check_field("fixedDelay", primitive::duration(duration))
        }
        Some(HttpDelayType::ExponentialDelay(_)) => {
            problems.report_field("exponentialDelay", "not supported")
        }
    }
}

#[allow(deprecated, reason = "the whole percentage is still read")]
fn check_abort(abort: &Abort, problems: &mut Problems) {
    check_share(abort.percentage, abort.percent, problems);
    match &abort.error_type {
        None => problems.report_field("httpStatus", "missing"),
        Some(ErrorType::HttpStatus(status)) if !(0..=600).contains(status) => {
            problems.report_field("httpStatus", format!("{status} is not an HTTP status"));
        }
        Some(ErrorType::HttpStatus(_)) => {}
        Some(ErrorType::GrpcStatus(_)) => problems.report_field("grpcStatus", "not supported"),
        Some(ErrorType::Http2Error(_)) => problems.report_field("http2Error", "not supported"),
    }
}

/// The fine percentage wins over the whole one.
fn check_share(fine: Option<Percent>, whole: i32, problems: &mut Problems) {
    match fine {
        Some(Percent { value }) => problems.check_field("percentage.value", primitive::fine_percent(value)),
        None => problems.check_field("percent", primitive::percent(whole)),
    }
}

fn check_cors(cors: &CorsPolicy, problems: &mut Problems) {
    problems.each("allowMethods", &cors.allow_methods, |problems, method| {
        problems.check(primitive::http_method(method));
    });
    check_list("allowHeaders", &cors.allow_headers, problems);
    check_list("exposeHeaders", &cors.expose_headers, problems);
    if let Some(max_age) = &cors.max_age {
        problems.check_field("maxAge", primitive::whole_seconds(max_age));
    }
}

/// `attempts: 0` turns retrying off (`R-VS-19`).
fn check_retries(retries: &HttpRetry, problems: &mut Problems) {
    problems.check_field("attempts", primitive::not_negative(retries.attempts));
    if let Some(timeout) = &retries.per_try_timeout {
        problems.check_field("perTryTimeout", primitive::duration(timeout));
    }
    if !retries.retry_on.is_empty() {
        for condition in retries.retry_on.split(',') {
            problems.check_field("retryOn", retry_condition(condition));
        }
    }
}

/// A known word or status code. Neither empty nor with spaces, as the 1.1 validator has it.
fn retry_condition(condition: &str) -> Checked {
    if RETRY_ON.contains(&condition) || condition.parse().is_ok_and(is_known_status) {
        Ok(())
    } else {
        Err(format!("unknown condition {condition:?}"))
    }
}

/// Whether the status code is registered.
fn is_known_status(status: u16) -> bool {
    matches!(status, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451
        | 500..=508 | 510 | 511)
}
