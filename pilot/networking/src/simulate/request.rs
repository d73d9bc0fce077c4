//! How Envoy takes a request through a route configuration.

use std::collections::BTreeMap;

use mesh_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use mesh_api::envoy::config::route::v3::redirect_action::PathRewriteSpecifier;
use mesh_api::envoy::config::route::v3::route::Action;
use mesh_api::envoy::config::route::v3::route_action::hash_policy::PolicySpecifier;
use mesh_api::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use mesh_api::envoy::config::route::v3::route_match::PathSpecifier;
use mesh_api::envoy::config::route::v3::virtual_host::TlsRequirementType;
use mesh_api::envoy::config::route::v3::{
    HeaderMatcher, RedirectAction, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost,
};
use mesh_api::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use mesh_api::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use mesh_api::envoy::extensions::filters::http::fault::v3::HttpFault;
use mesh_api::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use mesh_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_api::envoy::r#type::v3::FractionalPercent;
use mesh_api::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::outcome::{Abort, Cors, Delay, HeaderChanges, Outcome, Retries, Share, rule};
use super::{Call, SimulateError};

/// A request as Envoy sees it.
pub(super) struct Request {
    /// The port on which it arrives.
    pub(super) arrival_port: u16,
    /// The host of the URL, without its port.
    name: String,
    /// The Host header.
    host: String,
    path: String,
    query: String,
    /// In lower case, pseudo-headers included.
    headers: BTreeMap<String, String>,
}

// === impl Request ===

impl Request {
    /// Reads what follows `http://` or `https://`.
    pub(super) fn new(call: &Call, scheme: &str, rest: &str) -> Option<Self> {
        let default_port = if scheme == "https" {
            DEFAULT_TLS_PORT
        } else {
            DEFAULT_PORT
        };
        let (authority, path) = match rest.find('/') {
            Some(start) => rest.split_at(start),
            None => (rest, "/"),
        };
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if !authority.ends_with(']') => port.parse().ok()?,
            _ => default_port,
        };
        let mut headers: BTreeMap<String, String> = call
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        // Clients leave the default port out.
        let default_suffix = format!(":{default_port}");
        let host = headers.remove("host").unwrap_or_else(|| {
            authority
                .strip_suffix(&default_suffix)
                .unwrap_or(authority)
                .to_owned()
        });
        let (path, query) = match path.find('?') {
            Some(start) => path.split_at(start),
            None => (path, ""),
        };
        headers.insert(":authority".to_owned(), host.clone());
        headers.insert(":path".to_owned(), format!("{path}{query}"));
        headers.insert(
            ":method".to_owned(),
            call.method.clone().unwrap_or_else(|| "GET".to_owned()),
        );
        headers.insert(":scheme".to_owned(), scheme.to_owned());
        let name = authority
            .rsplit_once(':')
            .filter(|_| !authority.ends_with(']'))
            .map_or(authority, |(name, _)| name);
        Some(Self {
            name: name.to_owned(),
            arrival_port: call.port.unwrap_or(port),
            host,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
        })
    }

    /// What the client says in its TLS handshake, if there is one.
    pub(super) fn server_name(&self, call: &Call) -> Option<String> {
        self.is_tls()
            .then(|| call.sni.clone().unwrap_or_else(|| self.name.clone()))
    }

    fn is_tls(&self) -> bool {
        self.headers
            .get(":scheme")
            .is_some_and(|scheme| scheme == "https")
    }

    /// What becomes of it.
    pub(super) fn route(&self, routes: &RouteConfiguration) -> Result<Outcome, SimulateError> {
        let Some(virtual_host) = self.virtual_host(routes) else {
            return Ok(Outcome {
                status: Some(NOT_FOUND),
                ..Outcome::default()
            });
        };
        let name = Some(virtual_host.name.clone());
        if virtual_host.require_tls == i32::from(TlsRequirementType::All) && !self.is_tls() {
            return Ok(Outcome {
                virtual_host: name,
                status: Some(MOVED_PERMANENTLY),
                location: Some(format!("https://{}{}{}", self.host, self.path, self.query)),
                ..Outcome::default()
            });
        }
        for route in &virtual_host.routes {
            let condition = route
                .r#match
                .as_ref()
                .ok_or_else(|| fault(virtual_host, "route without match"))?;
            if self.matches(condition, virtual_host)? {
                let mut outcome = self.act(route, condition, virtual_host)?;
                outcome.virtual_host = name;
                return Ok(outcome);
            }
        }
        Ok(Outcome {
            virtual_host: name,
            status: Some(NOT_FOUND),
            ..Outcome::default()
        })
    }

    /// Exact names first, then the longest wildcard, then everything.
    fn virtual_host<'a>(&self, routes: &'a RouteConfiguration) -> Option<&'a VirtualHost> {
        let mut host = self.host.to_ascii_lowercase();
        if routes.ignore_port_in_host_matching
            && let Some((name, port)) = host.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            host = name.to_owned();
        }
        let specificity = |domain: &str| {
            let domain = domain.to_ascii_lowercase();
            let covers =
                |part: &str, matches: bool| (matches && host.len() > part.len()).then_some(part.len());
            if domain == host {
                Some((3, 0))
            } else if domain == "*" {
                Some((0, 0))
            } else if let Some(suffix) = domain.strip_prefix('*') {
                covers(suffix, host.ends_with(suffix)).map(|length| (2, length))
            } else if let Some(prefix) = domain.strip_suffix('*') {
                covers(prefix, host.starts_with(prefix)).map(|length| (1, length))
            } else {
                None
            }
        };
        routes
            .virtual_hosts
            .iter()
            .filter_map(|virtual_host| {
                let best = virtual_host
                    .domains
                    .iter()
                    .filter_map(|domain| specificity(domain))
                    .max()?;
                Some((best, virtual_host))
            })
            .max_by_key(|(specificity, _)| *specificity)
            .map(|(_, virtual_host)| virtual_host)
    }

    fn matches(&self, condition: &RouteMatch, virtual_host: &VirtualHost) -> Result<bool, SimulateError> {
        let path = match &condition.path_specifier {
            Some(PathSpecifier::Prefix(prefix)) => self.path.starts_with(prefix),
            Some(PathSpecifier::Path(path)) => self.path == *path,
            Some(PathSpecifier::SafeRegex(regex)) => full_match(&regex.regex, &self.path, virtual_host)?,
            other => {
                return Err(fault(
                    virtual_host,
                    &format!("path condition {other:?} is not simulated"),
                ));
            }
        };
        if !path {
            return Ok(false);
        }
        for header in &condition.headers {
            if !self.header_matches(header, virtual_host)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn header_matches(
        &self,
        header: &HeaderMatcher,
        virtual_host: &VirtualHost,
    ) -> Result<bool, SimulateError> {
        let value = self.headers.get(&header.name.to_ascii_lowercase());
        let Some(value) = value else { return Ok(false) };
        match &header.header_match_specifier {
            Some(HeaderMatchSpecifier::PresentMatch(present)) => Ok(*present),
            Some(HeaderMatchSpecifier::StringMatch(matcher)) => match &matcher.match_pattern {
                Some(MatchPattern::Exact(exact)) => Ok(value == exact),
                Some(MatchPattern::Prefix(prefix)) => Ok(value.starts_with(prefix)),
                Some(MatchPattern::SafeRegex(regex)) => full_match(&regex.regex, value, virtual_host),
                other => Err(fault(
                    virtual_host,
                    &format!("string condition {other:?} is not simulated"),
                )),
            },
            other => Err(fault(
                virtual_host,
                &format!("header condition {other:?} is not simulated"),
            )),
        }
    }

    fn act(
        &self,
        route: &Route,
        condition: &RouteMatch,
        virtual_host: &VirtualHost,
    ) -> Result<Outcome, SimulateError> {
        let mut outcome = Outcome {
            operation: route
                .decorator
                .as_ref()
                .map(|decorator| decorator.operation.clone()),
            rule: rule(route.metadata.as_ref()),
            request_headers: HeaderChanges::new(
                &route.request_headers_to_add,
                &route.request_headers_to_remove,
            ),
            response_headers: HeaderChanges::new(
                &route.response_headers_to_add,
                &route.response_headers_to_remove,
            ),
            ..Outcome::default()
        };
        self.apply_filters(route, virtual_host, &mut outcome)?;
        match &route.action {
            Some(Action::Redirect(redirect)) => {
                outcome.status = Some(MOVED_PERMANENTLY);
                outcome.location = Some(self.location(redirect));
            }
            Some(Action::DirectResponse(response)) => outcome.status = Some(response.status),
            Some(Action::Route(action)) => self.forward(action, condition, &mut outcome),
            other => return Err(fault(virtual_host, &format!("action {other:?} is not simulated"))),
        }
        Ok(outcome)
    }

    fn forward(&self, action: &RouteAction, condition: &RouteMatch, outcome: &mut Outcome) {
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(cluster)) => outcome.cluster = Some(cluster.clone()),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let shares = weighted.clusters.iter().map(|cluster| Share {
                    cluster: cluster.name.clone(),
                    weight: cluster.weight.unwrap_or_default(),
                    request_headers: HeaderChanges::new(
                        &cluster.request_headers_to_add,
                        &cluster.request_headers_to_remove,
                    ),
                    response_headers: HeaderChanges::new(
                        &cluster.response_headers_to_add,
                        &cluster.response_headers_to_remove,
                    ),
                });
                outcome.clusters = shares.collect();
            }
            _ => {}
        }
        outcome.path = Some(self.rewritten_path(action, condition));
        outcome.host = Some(match &action.host_rewrite_specifier {
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => host.clone(),
            _ => self.host.clone(),
        });
        outcome.timeout = action.timeout.map(|timeout| timeout.to_string());
        // As Envoy does: who limits the stream itself has no timeout of the route.
        if action.max_stream_duration.is_some() {
            outcome.timeout = None;
        }
        #[expect(deprecated, reason = "the newer field turns the timeout off")]
        let grpc = action.max_grpc_timeout;
        outcome.max_grpc_timeout = grpc.map(|timeout| timeout.to_string());
        outcome.retries = action.retry_policy.as_ref().map(retries);
        outcome.mirror = action
            .request_mirror_policies
            .first()
            .map(|mirror| mirror.cluster.clone());
        outcome.hash = action
            .hash_policy
            .iter()
            .filter_map(|policy| hash(policy.policy_specifier.as_ref()?))
            .collect();
    }

    fn rewritten_path(&self, action: &RouteAction, condition: &RouteMatch) -> String {
        let path = match (&condition.path_specifier, action.prefix_rewrite.as_str()) {
            (_, "") => self.path.clone(),
            (Some(PathSpecifier::Prefix(prefix)), rewrite) => {
                format!(
                    "{rewrite}{}",
                    self.path.strip_prefix(prefix.as_str()).unwrap_or(&self.path)
                )
            }
            (_, rewrite) => rewrite.to_owned(),
        };
        format!("{path}{}", self.query)
    }

    /// Envoy keeps what the redirect does not name, except the port of another host.
    fn location(&self, redirect: &RedirectAction) -> String {
        let host = if redirect.host_redirect.is_empty() {
            &self.host
        } else {
            &redirect.host_redirect
        };
        let path = match &redirect.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) if path.contains('?') => path.clone(),
            Some(PathRewriteSpecifier::PathRedirect(path)) => format!("{path}{}", self.query),
            _ => format!("{}{}", self.path, self.query),
        };
        format!("http://{host}{path}")
    }

    /// What the route tells the fault and CORS filters.
    fn apply_filters(
        &self,
        route: &Route,
        virtual_host: &VirtualHost,
        outcome: &mut Outcome,
    ) -> Result<(), SimulateError> {
        for (name, config) in &route.typed_per_filter_config {
            let unpacked = |error: prost::DecodeError| fault(virtual_host, &error.to_string());
            match name.as_str() {
                "envoy.filters.http.fault" => {
                    let filter: HttpFault = config.unpack().map_err(unpacked)?;
                    outcome.delay = filter.delay.and_then(|delay| match delay.fault_delay_secifier? {
                        FaultDelaySecifier::FixedDelay(duration) => Some(Delay {
                            duration: duration.to_string(),
                            percent: percent(delay.percentage),
                        }),
                        FaultDelaySecifier::HeaderDelay(_) => None,
                    });
                    outcome.abort = filter.abort.and_then(|abort| match abort.error_type? {
                        ErrorType::HttpStatus(status) => Some(Abort {
                            status,
                            percent: percent(abort.percentage),
                        }),
                        _ => None,
                    });
                }
                "envoy.filters.http.cors" => {
                    outcome.cors = Some(self.cors(config.unpack().map_err(unpacked)?))
                }
                other => return Err(fault(virtual_host, &format!("filter {other} is not simulated"))),
            }
        }
        Ok(())
    }

    fn cors(&self, policy: CorsPolicy) -> Cors {
        let origin = self.headers.get("origin");
        let allowed = policy
            .allow_origin_string_match
            .iter()
            .any(|matcher| match &matcher.match_pattern {
                Some(MatchPattern::Exact(exact)) => {
                    origin.is_some() && (exact == "*" || Some(exact) == origin)
                }
                _ => false,
            });
        Cors {
            allowed,
            methods: policy.allow_methods,
            headers: policy.allow_headers,
            expose: policy.expose_headers,
            max_age: policy.max_age,
            credentials: policy.allow_credentials,
        }
    }
}

const DEFAULT_PORT: u16 = 80;
const DEFAULT_TLS_PORT: u16 = 443;
const MOVED_PERMANENTLY: u32 = 301;
const NOT_FOUND: u32 = 404;

fn fault(virtual_host: &VirtualHost, reason: &str) -> SimulateError {
    SimulateError::Config {
        object: format!("virtual host {}", virtual_host.name),
        reason: reason.to_owned(),
    }
}

fn full_match(pattern: &str, text: &str, virtual_host: &VirtualHost) -> Result<bool, SimulateError> {
    let regex = regex::Regex::new(&format!("^(?:{pattern})$"));
    regex
        .map(|regex| regex.is_match(text))
        .map_err(|error| fault(virtual_host, &error.to_string()))
}

fn retries(policy: &RetryPolicy) -> Retries {
    Retries {
        attempts: policy.num_retries.unwrap_or(1),
        on: policy.retry_on.clone(),
        status_codes: policy.retriable_status_codes.clone(),
        per_try_timeout: policy.per_try_timeout.map(|timeout| timeout.to_string()),
        host_selection_attempts: policy.host_selection_retry_max_attempts,
        host_predicates: policy
            .retry_host_predicate
            .iter()
            .map(|predicate| predicate.name.clone())
            .collect(),
    }
}

fn hash(policy: &PolicySpecifier) -> Option<String> {
    match policy {
        PolicySpecifier::Header(header) => Some(format!("header {}", header.header_name)),
        PolicySpecifier::Cookie(cookie) => {
            let ttl = cookie.ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
            Some(
                format!("cookie {} {ttl} {}", cookie.name, cookie.path)
                    .trim_end()
                    .to_owned(),
            )
        }
        PolicySpecifier::ConnectionProperties(_) => Some("source ip".to_owned()),
        _ => None,
    }
}

fn percent(percent: Option<FractionalPercent>) -> f64 {
    let Some(percent) = percent else { return 0.0 };
    let scale = match percent.denominator() {
        DenominatorType::Hundred => 1.0,
        DenominatorType::TenThousand => 100.0,
        DenominatorType::Million => 10_000.0,
    };
    f64::from(percent.numerator) / scale
}
