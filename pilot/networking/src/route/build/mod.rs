//! Virtual hosts from their keys (§5.4 to §5.12, P13.3).

mod action;
mod filters;
mod headers;

use mesh_api::envoy::config::core::v3::DataSource;
use mesh_api::envoy::config::core::v3::data_source::Specifier;
use mesh_api::envoy::config::route::v3::route::Action as EnvoyAction;
use mesh_api::envoy::config::route::v3::route_match::PathSpecifier;
use mesh_api::envoy::config::route::v3::virtual_host::TlsRequirementType;
use mesh_api::envoy::config::route::v3::{Decorator, DirectResponseAction, Route, RouteMatch, VirtualHost};
use mesh_api::istio::networking::v1alpha3::HttpRoute;
use mesh_config::{ConfigKey, Str};
use pilot_model::{Warning, WarningKind};

use self::headers::HeaderChanges;
use super::hash_policy::HashPolicy;
use super::key::{Action, Routes, Rule, RuleSet, Shared, VirtualHostInput};
use super::matching;
use crate::gateway::DefaultEndpoint;
use crate::name::OutboundCluster;
use crate::{Built, origin};

/// What the workload is told whose request is blocked (pain 33).
const BLOCKED: &str = "blocked by outboundTrafficPolicy REGISTRY_ONLY: no Service or ServiceEntry that this workload may see \
has the host on this port\n";

/// Makes a virtual host.
pub(super) fn virtual_host(input: &VirtualHostInput) -> Built<VirtualHost> {
    let mut warnings = Vec::new();
    let routes = match &input.routes {
        Routes::Service {
            cluster,
            service,
            hash_policy,
        } => vec![default_route(cluster, service.as_ref(), hash_policy.as_ref())],
        Routes::Rules(sets) => {
            let routes = rule_sets(sets, &mut warnings).into_iter();
            routes.map(|(_, route)| route).collect()
        }
        Routes::RulesOrDefault(sets, default) => {
            let mut routes = rule_sets(sets, &mut warnings);
            if !routes.last().is_some_and(|(catches_all, _)| *catches_all) {
                routes.push((true, of_default_endpoint(&input.name, default)));
            }
            routes.into_iter().map(|(_, route)| route).collect()
        }
        Routes::Cluster(cluster) => vec![Route {
            name: input.name.to_string(),
            r#match: Some(matching::route_match(None)),
            action: Some(EnvoyAction::Route(action::plain(cluster))),
            ..Route::default()
        }],
        Routes::Addresses(cluster) => vec![
            Route {
                name: input.name.to_string(),
                r#match: Some(matching::of_addresses()),
                action: Some(EnvoyAction::Route(action::plain(cluster))),
                ..Route::default()
            },
            status_route(404, None),
        ],
        Routes::Status(status) => vec![status_route(*status, None)],
        Routes::Blocked => vec![status_route(502, Some(BLOCKED))],
    };
    let require_tls = if input.require_tls {
        TlsRequirementType::All
    } else {
        TlsRequirementType::None
    };
    let message = VirtualHost {
        name: input.name.to_string(),
        domains: input.domains.to_vec(),
        routes,
        require_tls: require_tls.into(),
        ..VirtualHost::default()
    };
    Built { message, warnings }
}

/// Answers everything with a status.
fn status_route(status: u16, body: Option<&str>) -> Route {
    Route {
        r#match: Some(matching::route_match(None)),
        action: Some(EnvoyAction::DirectResponse(DirectResponseAction {
            status: status.into(),
            body: body.map(|body| DataSource {
                specifier: Some(Specifier::InlineString(body.to_owned())),
                ..DataSource::default()
            }),
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    }
}

/// The route of a service that no VirtualService is about.
fn default_route(cluster: &Str, service: Option<&ConfigKey>, hash_policy: Option<&HashPolicy>) -> Route {
    let mut action = action::plain(cluster);
    action.retry_policy = Some(action::default_retry_policy());
    action.hash_policy = hash_policy.into_iter().map(HashPolicy::to_message).collect();
    let condition = matching::route_match(None);
    Route {
        metadata: origin::metadata(
            None,
            service.into_iter().chain(hash_policy.map(|policy| &policy.rule)),
        ),
        decorator: Some(decorator(Some(cluster), "", 0, &condition)),
        r#match: Some(condition),
        action: Some(EnvoyAction::Route(action)),
        ..Route::default()
    }
}

/// What a server of a gateway does with requests of a virtual host that no rule takes.
fn of_default_endpoint(virtual_host: &str, default: &DefaultEndpoint) -> Route {
    Route {
        metadata: origin::metadata(None, [&default.gateway]),
        decorator: Some(Decorator {
            operation: format!("{virtual_host}/*"),
            ..Decorator::default()
        }),
        r#match: Some(matching::route_match(None)),
        action: Some(EnvoyAction::Route(action::plain(&default.cluster))),
        ..Route::default()
    }
}

/// The routes of VirtualServices, those that match everything last, each with whether it does.
fn rule_sets(sets: &[Shared<RuleSet>], warnings: &mut Vec<Warning>) -> Vec<(bool, Route)> {
    let mut routes: Vec<_> = sets.iter().flat_map(|set| rule_set(set, warnings)).collect();
    // Stable, so that otherwise the order of the VirtualServices and of their rules stays.
    routes.sort_by_key(|(catches_all, _)| *catches_all);
    routes
}

/// The routes of one VirtualService, each with whether it matches everything.
fn rule_set(set: &RuleSet, warnings: &mut Vec<Warning>) -> Vec<(bool, Route)> {
    let mut routes = Vec::new();
    for rule in &set.rules {
        // The key holds the object that its positions belong to.
        let Some(spec) = set.object.spec.http.get(rule.position) else {
            continue;
        };
        let mut findings = Findings {
            set,
            rule: rule.position,
            warnings,
        };
        let template = template(set, rule, spec, &mut findings);
        let last = rule.matches.len().saturating_sub(1);
        for (index, &position) in rule.matches.iter().enumerate() {
            let condition = matching::route_match(position.and_then(|position| spec.r#match.get(position)));
            let only_cluster = match &rule.action {
                Action::Forward { targets, .. } if targets.len() == 1 => Some(&targets[0].cluster),
                Action::Forward { .. } | Action::Redirect => None,
            };
            let decorator = decorator(only_cluster, &set.object.key.name, set.port, &condition);
            let catches_all = rule.catches_all && index == last;
            let route = Route {
                r#match: Some(condition),
                decorator: Some(decorator),
                ..template.clone()
            };
            routes.push((catches_all, route));
        }
    }
    routes
}

/// What the routes of one rule have in common: everything except the condition.
fn template(set: &RuleSet, rule: &Rule, spec: &HttpRoute, findings: &mut Findings<'_>) -> Route {
    let mut changes = HeaderChanges::of_route(spec, findings);
    let action = match (&rule.action, &spec.redirect) {
        (Action::Redirect, Some(redirect)) => EnvoyAction::Redirect(action::redirect(redirect)),
        (Action::Redirect, None) => EnvoyAction::Redirect(Default::default()),
        (
            Action::Forward {
                targets,
                mirror,
                hash_policies,
            },
            _,
        ) => {
            let forward = action::forward(spec, targets, mirror.as_ref(), hash_policies, findings);
            changes.append(forward.changes);
            EnvoyAction::Route(forward.action)
        }
    };
    Route {
        metadata: origin::metadata(
            Some(&set.object.key),
            rule.action.hash_policies().iter().map(|policy| &policy.rule),
        ),
        typed_per_filter_config: filters::per_route(spec, findings),
        request_headers_to_add: changes.request.add,
        request_headers_to_remove: changes.request.remove,
        response_headers_to_add: changes.response.add,
        response_headers_to_remove: changes.response.remove,
        action: Some(action),
        ..Route::default()
    }
}

/// What spans of requests on a route are called (P3.2): where they go, or the VirtualService when that is open.
fn decorator(only_cluster: Option<&Str>, object: &str, port: u16, condition: &RouteMatch) -> Decorator {
    let path = match &condition.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => regex.regex.clone(),
        _ => "/*".to_owned(),
    };
    let operation = match only_cluster.and_then(|cluster| OutboundCluster::parse(cluster)) {
        Some(cluster) => format!("{}:{}{path}", cluster.host, cluster.port),
        None => format!("{object}:{port}{path}"),
    };
    Decorator {
        operation,
        ..Decorator::default()
    }
}

/// Where findings about one rule go.
struct Findings<'a> {
    set: &'a RuleSet,
    rule: usize,
    warnings: &'a mut Vec<Warning>,
}

// === impl Findings ===

impl Findings<'_> {
    /// A part of the rule is left out. `field` is relative to the rule.
    fn left_out(&mut self, field: &str, reason: impl std::fmt::Display) {
        self.warnings.push(Warning {
            object: self.set.object.key.clone(),
            kind: WarningKind::Unsupported,
            reason: format!("http[{}].{field}: {reason}", self.rule),
        });
    }
}
