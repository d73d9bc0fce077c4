//! What a route tells the fault and CORS filters (§5.11, §5.12).

use std::collections::BTreeMap;

use mesh_api::Any;
use mesh_api::envoy::config::core::v3::RuntimeFractionalPercent;
use mesh_api::envoy::extensions::filters::common::fault::v3::FaultDelay;
use mesh_api::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use mesh_api::envoy::extensions::filters::http::cors::v3::CorsPolicy as EnvoyCorsPolicy;
use mesh_api::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType as EnvoyErrorType;
use mesh_api::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use mesh_api::envoy::r#type::matcher::v3::StringMatcher;
use mesh_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_api::envoy::r#type::v3::FractionalPercent;
use mesh_api::envoy::r#type::v3::fractional_percent::DenominatorType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::abort::ErrorType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::delay::HttpDelayType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::{Abort, Delay};
use mesh_api::istio::networking::v1alpha3::{CorsPolicy, HttpRoute, Percent};

use super::Findings;
use crate::route::value;

/// Name of the CORS filter in the chain.
const CORS: &str = "envoy.filters.http.cors";
/// Name of the fault filter in the chain.
const FAULT: &str = "envoy.filters.http.fault";
/// Millionths of the whole (`R-VS-29`).
const MILLION: u32 = 1_000_000;

/// The configuration of filters for one route, by filter name.
pub(super) fn per_route(spec: &HttpRoute, findings: &mut Findings<'_>) -> BTreeMap<String, Any> {
    let mut filters = BTreeMap::new();
    if let Some(cors) = &spec.cors_policy {
        filters.insert(CORS.to_owned(), Any::pack(&cors_policy(cors, findings)));
    }
    // A redirect has no fault (§5.8).
    if let Some(fault) = &spec.fault
        && spec.redirect.is_none()
    {
        let fault = HttpFault {
            delay: fault
                .delay
                .as_ref()
                .and_then(|delay| fault_delay(delay, findings)),
            abort: fault
                .abort
                .as_ref()
                .and_then(|abort| fault_abort(abort, findings)),
            ..HttpFault::default()
        };
        if fault.delay.is_some() || fault.abort.is_some() {
            filters.insert(FAULT.to_owned(), Any::pack(&fault));
        }
    }
    filters
}

#[expect(deprecated, reason = "1.1 still accepts `percent`")]
fn fault_delay(delay: &Delay, findings: &mut Findings<'_>) -> Option<FaultDelay> {
    let Some(HttpDelayType::FixedDelay(fixed)) = &delay.http_delay_type else {
        findings.left_out(
            "fault.delay",
            "only fixedDelay is supported, requests are not delayed",
        );
        return None;
    };
    let Some(fixed) = value::duration(fixed).filter(|fixed| fixed.seconds > 0 || fixed.nanos > 0) else {
        findings.left_out(
            "fault.delay.fixedDelay",
            "not a duration above zero, requests are not delayed",
        );
        return None;
    };
    Some(FaultDelay {
        percentage: Some(percentage(delay.percentage.as_ref(), delay.percent)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(fixed)),
    })
}

#[expect(deprecated, reason = "1.1 still accepts `percent`")]
fn fault_abort(abort: &Abort, findings: &mut Findings<'_>) -> Option<FaultAbort> {
    let Some(ErrorType::HttpStatus(status)) = &abort.error_type else {
        findings.left_out(
            "fault.abort",
            "only httpStatus is supported, requests are not aborted",
        );
        return None;
    };
    // What Envoy accepts (`R-VS-28`).
    let Some(status) = u32::try_from(*status)
        .ok()
        .filter(|status| (200..600).contains(status))
    else {
        let reason = format!("{status} is not between 200 and 599, requests are not aborted");
        findings.left_out("fault.abort.httpStatus", reason);
        return None;
    };
    Some(FaultAbort {
        percentage: Some(percentage(abort.percentage.as_ref(), abort.percent)),
        error_type: Some(EnvoyErrorType::HttpStatus(status)),
        ..FaultAbort::default()
    })
}

/// The share of requests in millionths. `percentage` wins over the older whole `percent`; without both it is all
/// requests (`A-6`).
fn percentage(percentage: Option<&Percent>, percent: i32) -> FractionalPercent {
    let percent = match percentage {
        Some(percentage) => percentage.value,
        None if percent == 0 => 100.0,
        None => percent.into(),
    };
    // A share beyond all or below none is the nearest one that exists; the cast takes NaN for 0.
    let numerator = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32;
    FractionalPercent {
        numerator: numerator.min(MILLION),
        denominator: DenominatorType::Million.into(),
    }
}

fn cors_policy(cors: &CorsPolicy, findings: &mut Findings<'_>) -> EnvoyCorsPolicy {
    let origins = cors.allow_origin.iter().map(|origin| StringMatcher {
        match_pattern: Some(MatchPattern::Exact(origin.clone())),
        ..StringMatcher::default()
    });
    let max_age = cors.max_age.as_ref().and_then(|age| {
        let valid = value::duration(age);
        if valid.is_none() {
            findings.left_out("corsPolicy.maxAge", "not a valid duration, it is left out");
        }
        valid
    });
    EnvoyCorsPolicy {
        allow_origin_string_match: origins.collect(),
        allow_methods: cors.allow_methods.join(","),
        allow_headers: cors.allow_headers.join(","),
        expose_headers: cors.expose_headers.join(","),
        max_age: max_age.map(|age| age.seconds.to_string()).unwrap_or_default(),
        allow_credentials: cors.allow_credentials,
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent {
                numerator: 100,
                denominator: DenominatorType::Hundred.into(),
            }),
            ..RuntimeFractionalPercent::default()
        }),
        ..EnvoyCorsPolicy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_vs_29_shares_are_millionths() {
        for (value, percent, expected) in [
            (Some(1.5), 0, 15_000),
            (Some(0.0001), 0, 1),
            (Some(100.0), 50, 1_000_000),
            (Some(0.0), 50, 0),
            (None, 50, 500_000),
            (None, 0, 1_000_000),
            (Some(-1.0), 0, 0),
            (Some(1e9), 0, 1_000_000),
            (Some(f64::NAN), 0, 0),
            (None, -7, 0),
        ] {
            let percentage = percentage(value.map(|value| Percent { value }).as_ref(), percent);
            assert_eq!(percentage.numerator, expected, "{value:?} {percent}");
        }
    }
}
