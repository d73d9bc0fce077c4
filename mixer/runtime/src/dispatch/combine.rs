//! One verdict of what several adapters say (`spec 02` §2.5).
//!
//! The order is that of the routes, whoever answers first. A result that says nothing (OK, and valid for no time and no
//! use) does not count for how long the verdict is valid.

use std::time::Duration;

use mesh_api::google::rpc::Status;
use mesh_api::istio::mixer::v1::header_operation::Operation;
use mesh_api::istio::mixer::v1::{HeaderOperation, RouteDirective};
use mesh_api::istio::policy::v1beta1::DirectHttpResponse;
use mixer_adapter::CheckResult;

/// The code of `google.rpc` for what may pass.
const OK: i32 = 0;

/// How long nobody's verdict is valid.
const NOBODY_DURATION: Duration = Duration::from_secs(60);

/// How often nobody's verdict may be used.
const NOBODY_USES: i32 = 10_000;

/// A verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// OK: allowed. Without details.
    pub status: Status,
    /// How long it may be used again.
    pub valid_duration: Duration,
    /// How often it may be used again; without limit if it is negative.
    pub valid_use_count: i32,
    /// What else happens to the request.
    pub directive: Option<RouteDirective>,
}

// === impl Verdict ===

impl Verdict {
    /// Whether the request may pass.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status.code == OK
    }
}

/// Results with the labels of their handlers, in the order of the routes.
pub(super) fn combine(results: Vec<(&str, CheckResult)>) -> Verdict {
    let mut validity: Option<(Duration, i32)> = None;
    let mut denied: Option<Status> = None;
    let mut messages = Vec::new();
    for (label, result) in results {
        let ok = result.status.code == OK;
        let said = (result.valid_duration, result.valid_use_count);
        if !ok || said != (Duration::ZERO, 0) {
            validity = Some(validity.map_or(said, |least| (least.0.min(said.0), fewer(least.1, said.1))));
        }
        if !ok {
            messages.push(format!("{label}:{}", result.status.message));
            denied.get_or_insert(result.status);
        }
    }
    let (valid_duration, valid_use_count) = validity.unwrap_or((NOBODY_DURATION, NOBODY_USES));
    let directive = denied.as_ref().and_then(direct_response);
    Verdict {
        status: Status {
            code: denied.map_or(0, |status| status.code),
            message: messages.join(", "),
            details: Vec::new(),
        },
        valid_duration,
        valid_use_count,
        directive,
    }
}

/// The lesser one of two numbers of uses, of which a negative one is no limit.
fn fewer(one: i32, other: i32) -> i32 {
    match (one, other) {
        (..0, limit) | (limit, ..0) => limit,
        (one, other) => one.min(other),
    }
}

/// The answer that an adapter wants the caller to get.
fn direct_response(status: &Status) -> Option<RouteDirective> {
    let response: DirectHttpResponse = status.details.iter().find_map(|detail| detail.unpack().ok())?;
    let code = match u32::try_from(response.code) {
        Ok(0) | Err(_) => http_code(status.code),
        Ok(code) => code,
    };
    let headers = response.headers.into_iter();
    Some(RouteDirective {
        direct_response_code: code,
        direct_response_body: response.body,
        response_header_operations: headers
            .map(|(name, value)| HeaderOperation {
                name: name.to_ascii_lowercase(),
                value,
                operation: Operation::Replace.into(),
            })
            .collect(),
        ..RouteDirective::default()
    })
}

/// What HTTP calls a code of `google.rpc` (§2.9).
fn http_code(code: i32) -> u32 {
    match code {
        OK => 200,
        // Cancelled.
        1 => 408,
        // Invalid argument, out of range.
        3 | 11 => 400,
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
        // Failed precondition.
        9 => 412,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mesh_api::Any;

    use super::*;

    fn result(code: i32, message: &str, seconds: u64, uses: i32) -> CheckResult {
        CheckResult {
            status: Status {
                code,
                message: message.to_owned(),
                details: Vec::new(),
            },
            valid_duration: Duration::from_secs(seconds),
            valid_use_count: uses,
        }
    }

    #[test]
    fn spec_02_2_5_nobody_allows_for_a_minute() {
        for results in [vec![], vec![("a.ns", result(0, "", 0, 0))]] {
            let verdict = combine(results);
            assert!(verdict.is_ok());
            assert_eq!(
                (verdict.valid_duration, verdict.valid_use_count),
                (Duration::from_secs(60), 10_000)
            );
        }
    }

    #[test]
    fn spec_02_2_5_the_least_validity_counts_wherever_zeros_stand() {
        let (zero, short, few) = (result(0, "", 0, 0), result(0, "", 5, 100), result(0, "", 50, 10));
        for results in [
            vec![("a", zero.clone()), ("b", short.clone()), ("c", few.clone())],
            vec![("b", short), ("c", few), ("a", zero)],
        ] {
            let verdict = combine(results);
            assert_eq!(
                (verdict.valid_duration, verdict.valid_use_count),
                (Duration::from_secs(5), 10)
            );
        }
    }

    #[test]
    fn spec_02_2_5_no_limit_of_uses_is_more_than_any_limit() {
        let (unlimited, few) = (result(0, "", 50, -1), result(0, "", 50, 10));
        for (results, uses) in [
            (vec![("a", unlimited.clone()), ("b", few.clone())], 10),
            (vec![("b", few), ("a", unlimited.clone())], 10),
            (vec![("a", unlimited.clone()), ("c", unlimited)], -1),
        ] {
            assert_eq!(combine(results).valid_use_count, uses);
        }
    }

    #[test]
    fn m86_m43_denials_are_joined_in_the_order_of_the_routes() {
        let verdict = combine(vec![
            ("a.denier.weather", result(7, "Not allowed", 5, 1000)),
            ("fine.ns", result(0, "", 10, 1)),
            ("b.ns", result(1333, "never", 0, 0)),
        ]);
        assert_eq!(verdict.status.code, 7);
        assert_eq!(verdict.status.message, "a.denier.weather:Not allowed, b.ns:never");
        assert_eq!(
            (verdict.valid_duration, verdict.valid_use_count),
            (Duration::ZERO, 0)
        );
        let verdict = combine(vec![("b.ns", result(1333, "never", 0, 0))]);
        assert_eq!(
            (verdict.status.code, verdict.status.message.as_str()),
            (1333, "b.ns:never")
        );
    }

    #[test]
    fn spec_02_2_5_an_adapter_may_answer_the_caller_itself() {
        let response = DirectHttpResponse {
            code: 303,
            body: "elsewhere".to_owned(),
            headers: BTreeMap::from([("Location".to_owned(), "/login".to_owned())]),
        };
        let mut denial = result(16, "log in", 0, 0);
        denial.status.details = vec![Any::pack(&response)];
        let directive = combine(vec![("auth.ns", denial.clone())]).directive.unwrap();
        assert_eq!(
            (
                directive.direct_response_code,
                directive.direct_response_body.as_str()
            ),
            (303, "elsewhere")
        );
        let header = &directive.response_header_operations[0];
        assert_eq!(
            (header.name.as_str(), header.value.as_str()),
            ("location", "/login")
        );
        denial.status.details = vec![Any::pack(&DirectHttpResponse::default())];
        let directive = combine(vec![("auth.ns", denial)]).directive.unwrap();
        assert_eq!(directive.direct_response_code, 401);
    }
}
