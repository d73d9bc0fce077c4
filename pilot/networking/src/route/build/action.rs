//! What is done with a request: forward or redirect (§5.6 to §5.10).

use mesh_api::Any;
use mesh_api::envoy::config::route::v3::redirect_action::PathRewriteSpecifier;
use mesh_api::envoy::config::route::v3::retry_policy::RetryHostPredicate;
use mesh_api::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use mesh_api::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy,
};
use mesh_api::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use mesh_api::envoy::config::route::v3::{RedirectAction, RetryPolicy, RouteAction, WeightedCluster};
use mesh_api::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use mesh_api::istio::networking::v1alpha3::{HttpRedirect, HttpRetry, HttpRewrite, HttpRoute};
use mesh_config::Str;
use prost_types::Duration;

use super::Findings;
use super::headers::HeaderChanges;
use crate::route::hash_policy::HashPolicy;
use crate::route::key::Target;
use crate::route::value;

/// Retries after the first attempt when nobody says otherwise (`R-VS-18`).
const DEFAULT_RETRIES: u32 = 2;
/// What is retried when nobody says otherwise.
const DEFAULT_RETRY_ON: &str =
    "connect-failure,refused-stream,unavailable,cancelled,resource-exhausted,retriable-status-codes";
const DEFAULT_RETRIABLE_STATUS: u32 = 503;
/// How often another endpoint is looked for when the chosen one has failed already.
const HOST_SELECTION_ATTEMPTS: i64 = 3;

/// An action, and the header changes that belong to the route around it.
pub(super) struct Forward {
    pub(super) action: RouteAction,
    pub(super) changes: HeaderChanges,
}

/// Forwards to a cluster without a deadline: never Envoy's 15 seconds (`R-VS-21`).
pub(super) fn plain(cluster: &Str) -> RouteAction {
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_string())),
        ..RouteAction::default()
    };
    set_timeout(&mut action, Duration::default());
    action
}

/// Forwards to the targets of a rule.
pub(super) fn forward(
    spec: &HttpRoute,
    targets: &[Target],
    mirror: Option<&Str>,
    hash_policies: &[HashPolicy],
    findings: &mut Findings<'_>,
) -> Forward {
    let (cluster, changes) = cluster_specifier(spec, targets, findings);
    let mut action = RouteAction {
        cluster_specifier: Some(cluster),
        retry_policy: retry_policy(spec.retries.as_ref(), findings),
        request_mirror_policies: mirror.into_iter().map(mirror_policy).collect(),
        hash_policy: hash_policies.iter().map(HashPolicy::to_message).collect(),
        ..RouteAction::default()
    };
    let timeout = spec.timeout.as_ref().map(|timeout| {
        value::duration(timeout).unwrap_or_else(|| {
            findings.left_out("timeout", "not a valid duration, requests have no deadline");
            Duration::default()
        })
    });
    set_timeout(&mut action, timeout.unwrap_or_default());
    if let Some(rewrite) = &spec.rewrite {
        apply_rewrite(&mut action, rewrite, findings);
    }
    Forward { action, changes }
}

/// Answers with 301 (`R-VS-16`). What is not given stays: Envoy takes an empty text for that.
pub(super) fn redirect(redirect: &HttpRedirect) -> RedirectAction {
    let path = (!redirect.uri.is_empty()).then(|| PathRewriteSpecifier::PathRedirect(redirect.uri.clone()));
    RedirectAction {
        host_redirect: redirect.authority.clone(),
        path_rewrite_specifier: path,
        ..RedirectAction::default()
    }
}

/// The policy of routes without one of their own.
pub(super) fn default_retry_policy() -> RetryPolicy {
    RetryPolicy {
        retry_on: DEFAULT_RETRY_ON.to_owned(),
        num_retries: Some(DEFAULT_RETRIES),
        retriable_status_codes: vec![DEFAULT_RETRIABLE_STATUS],
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(Any::pack(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: HOST_SELECTION_ATTEMPTS,
        ..RetryPolicy::default()
    }
}

/// A user's policy starts from the default and overrides what it gives (`R-VS-20`); no attempts, no retries
/// (`R-VS-19`).
fn retry_policy(retries: Option<&HttpRetry>, findings: &mut Findings<'_>) -> Option<RetryPolicy> {
    let mut policy = default_retry_policy();
    let Some(retries) = retries else {
        return Some(policy);
    };
    let attempts = u32::try_from(retries.attempts)
        .ok()
        .filter(|attempts| *attempts > 0)?;
    policy.num_retries = Some(attempts);
    if !retries.retry_on.is_empty() {
        (policy.retry_on, policy.retriable_status_codes) = retry_on(&retries.retry_on);
    }
    policy.per_try_timeout = retries.per_try_timeout.as_ref().and_then(|timeout| {
        let valid = value::duration(timeout);
        if valid.is_none() {
            findings.left_out(
                "retries.perTryTimeout",
                "not a valid duration, attempts have no deadline",
            );
        }
        valid
    });
    Some(policy)
}

/// Splits `5xx,connect-failure,503` into Envoy's conditions and status codes.
fn retry_on(text: &str) -> (String, Vec<u32>) {
    let (mut conditions, mut codes) = (Vec::new(), Vec::new());
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse() {
            Ok(code) => codes.push(code),
            Err(_) => conditions.push(word),
        }
    }
    let retriable = "retriable-status-codes";
    if !codes.is_empty() && !conditions.contains(&retriable) {
        // Envoy looks at the codes only when the condition is there.
        conditions.push(retriable);
    }
    (conditions.join(","), codes)
}

/// One cluster, or several with weights. Header changes of the only destination belong to the route.
fn cluster_specifier(
    spec: &HttpRoute,
    targets: &[Target],
    findings: &mut Findings<'_>,
) -> (ClusterSpecifier, HeaderChanges) {
    let mut changes = |target: &Target| {
        let destination = target
            .position
            .and_then(|position| Some((position, spec.route.get(position)?)));
        destination.map_or_else(HeaderChanges::default, |(position, destination)| {
            HeaderChanges::of_destination(destination, position, findings)
        })
    };
    if let [only] = targets {
        return (ClusterSpecifier::Cluster(only.cluster.to_string()), changes(only));
    }
    let clusters = targets.iter().map(|target| {
        let changes = changes(target);
        ClusterWeight {
            name: target.cluster.to_string(),
            weight: Some(target.weight),
            request_headers_to_add: changes.request.add,
            request_headers_to_remove: changes.request.remove,
            response_headers_to_add: changes.response.add,
            response_headers_to_remove: changes.response.remove,
            ..ClusterWeight::default()
        }
    });
    let weighted = WeightedCluster {
        clusters: clusters.collect(),
        ..WeightedCluster::default()
    };
    (
        ClusterSpecifier::WeightedClusters(weighted),
        HeaderChanges::default(),
    )
}

/// The deadline of a request with its retries, also for what a gRPC caller asks for; zero means none.
///
/// The newer `max_stream_duration` is no replacement: Envoy ignores the timeout of a route that has it (`R-VS-21`).
#[expect(deprecated, reason = "the newer field turns the timeout off")]
fn set_timeout(action: &mut RouteAction, timeout: Duration) {
    action.timeout = Some(timeout);
    action.max_grpc_timeout = Some(timeout);
}

/// After a match by prefix the new path takes the place of the prefix, else of the whole path (`R-VS-17`).
fn apply_rewrite(action: &mut RouteAction, rewrite: &HttpRewrite, findings: &mut Findings<'_>) {
    if value::is_header_value(&rewrite.uri) {
        action.prefix_rewrite.clone_from(&rewrite.uri);
    } else {
        findings.left_out("rewrite.uri", "not fit for a header, the path stays");
    }
    if !value::is_header_value(&rewrite.authority) {
        findings.left_out("rewrite.authority", "not fit for a header, the host stays");
    } else if !rewrite.authority.is_empty() {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(
            rewrite.authority.clone(),
        ));
    }
}

/// Envoy copies every request unless a fraction is given, and appends `-shadow` to the host (`R-VS-23`).
fn mirror_policy(cluster: &Str) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: cluster.to_string(),
        ..RequestMirrorPolicy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_conditions_and_status_codes_are_told_apart() {
        for (text, conditions, codes) in [
            ("5xx,connect-failure", "5xx,connect-failure", vec![]),
            (
                "gateway-error, 409 ,",
                "gateway-error,retriable-status-codes",
                vec![409],
            ),
            ("retriable-status-codes,503", "retriable-status-codes", vec![503]),
            (",", "", vec![]),
        ] {
            assert_eq!(retry_on(text), (conditions.to_owned(), codes), "{text}");
        }
    }
}
