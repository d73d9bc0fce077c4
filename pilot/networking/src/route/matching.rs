//! Conditions on requests (§5.5).

use mesh_api::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use mesh_api::envoy::config::route::v3::route_match::PathSpecifier;
use mesh_api::envoy::config::route::v3::{HeaderMatcher, RouteMatch};
use mesh_api::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_api::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use mesh_api::istio::networking::v1alpha3::string_match::MatchType;
use mesh_api::istio::networking::v1alpha3::{HttpMatchRequest, StringMatch};

use super::{re2, value};

/// Keys of `headers` that do not name headers; conditions on them are ignored, as the API says.
const RESERVED: [&str; 4] = ["authority", "method", "scheme", "uri"];

/// Why Envoy would not take a condition: the field and the reason.
pub(super) fn check(condition: &HttpMatchRequest) -> Result<(), String> {
    let HttpMatchRequest {
        uri,
        scheme,
        method,
        authority,
        headers,
        port: _,
        source_labels: _,
        gateways: _,
    } = condition;
    let fields = [
        ("uri", uri),
        ("scheme", scheme),
        ("method", method),
        ("authority", authority),
    ];
    for (name, condition) in fields {
        check_string(condition.as_ref()).map_err(|reason| format!("{name}: {reason}"))?;
    }
    for (name, condition) in headers {
        if !value::is_header_name(name) {
            return Err(format!("headers: {name:?} is not the name of a header"));
        }
        check_string(Some(condition)).map_err(|reason| format!("headers[{name}]: {reason}"))?;
    }
    Ok(())
}

fn check_string(condition: Option<&StringMatch>) -> Result<(), String> {
    match condition.and_then(|condition| condition.match_type.as_ref()) {
        Some(MatchType::Regex(pattern)) => {
            re2::check(pattern).map_err(|error| format!("pattern {pattern:?} is not valid in RE2: {error}"))
        }
        _ => Ok(()),
    }
}

/// Whether a condition holds for every request that gets as far as its evaluation.
pub(super) fn catches_all(condition: &HttpMatchRequest) -> bool {
    let any_path = match condition.uri.as_ref().and_then(|uri| uri.match_type.as_ref()) {
        None => true,
        Some(MatchType::Prefix(prefix)) => prefix == "/" || prefix.is_empty(),
        Some(MatchType::Exact(_) | MatchType::Regex(_)) => false,
    };
    any_path && header_conditions(condition).next().is_none()
}

/// The match of a route; no condition matches everything.
pub(super) fn route_match(condition: Option<&HttpMatchRequest>) -> RouteMatch {
    let uri = condition
        .and_then(|condition| condition.uri.as_ref())
        .and_then(|uri| uri.match_type.as_ref());
    let path = match uri {
        None => PathSpecifier::Prefix("/".to_owned()),
        Some(MatchType::Exact(path)) => PathSpecifier::Path(path.clone()),
        Some(MatchType::Prefix(prefix)) => PathSpecifier::Prefix(prefix.clone()),
        Some(MatchType::Regex(pattern)) => PathSpecifier::SafeRegex(regex(pattern)),
    };
    let headers = condition.into_iter().flat_map(header_conditions);
    RouteMatch {
        path_specifier: Some(path),
        headers: headers
            .map(|(name, condition)| header_matcher(name, condition))
            .collect(),
        ..RouteMatch::default()
    }
}

/// Holds for requests whose host is an address.
pub(super) fn of_addresses() -> RouteMatch {
    const ADDRESS: &str = r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\])(:\d+)?";

    let address = StringMatch {
        match_type: Some(MatchType::Regex(ADDRESS.to_owned())),
    };
    RouteMatch {
        headers: vec![header_matcher(":authority", &address)],
        ..route_match(None)
    }
}

fn header_conditions(condition: &HttpMatchRequest) -> impl Iterator<Item = (&str, &StringMatch)> {
    let pseudo = [
        (":scheme", &condition.scheme),
        (":method", &condition.method),
        (":authority", &condition.authority),
    ];
    let pseudo = pseudo
        .into_iter()
        .filter_map(|(name, condition)| Some((name, condition.as_ref()?)));
    let headers = condition
        .headers
        .iter()
        .map(|(name, condition)| (name.as_str(), condition));
    pseudo.chain(headers.filter(|(name, _)| !RESERVED.contains(name)))
}

fn header_matcher(name: &str, condition: &StringMatch) -> HeaderMatcher {
    let pattern = match &condition.match_type {
        Some(MatchType::Exact(value)) => Some(MatchPattern::Exact(value.clone())),
        Some(MatchType::Prefix(prefix)) if !prefix.is_empty() => Some(MatchPattern::Prefix(prefix.clone())),
        Some(MatchType::Regex(pattern)) => Some(MatchPattern::SafeRegex(regex(pattern))),
        // Any value begins with nothing; Envoy has a form of its own for that.
        Some(MatchType::Prefix(_)) | None => None,
    };
    let specifier = match pattern {
        Some(pattern) => HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ..StringMatcher::default()
        }),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    }
}

fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher {
        regex: pattern.to_owned(),
        ..RegexMatcher::default()
    }
}
