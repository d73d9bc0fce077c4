//! Paths of Ingresses, and which of two is looked at first.

use std::cmp::Reverse;

use mesh_api::istio::networking::v1alpha3::string_match::MatchType;
use mesh_api::istio::networking::v1alpha3::{HttpMatchRequest, StringMatch};

/// Which requests a path means.
///
/// The order of the variants decides between paths of one length: the first is the narrower.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathMatch {
    /// This path only.
    Exact(String),
    /// This path and what is below it, element by element; without a slash at its end.
    Below(String),
    /// All that begins with this text.
    Prefix(String),
    /// Every path.
    Any,
}

// === impl PathMatch ===

impl PathMatch {
    /// Reads a path by its type.
    ///
    /// `Exact` and `Prefix` are Kubernetes'. What is left to the implementation means what it meant in 1.1: a path that
    /// ends in `.*` or `/*` is a prefix, no path is any, anything else is exact.
    ///
    /// # Errors
    ///
    /// When there is no such type, or a path of Kubernetes' types does not begin with a slash.
    pub(super) fn read(path: &str, path_type: &str) -> Result<Self, String> {
        if matches!(path_type, "Exact" | "Prefix") && !path.starts_with('/') {
            return Err(format!("{path:?} does not begin with a slash"));
        }
        let matched = match path_type {
            "Exact" => Self::Exact(path.to_owned()),
            "Prefix" => Self::Below(path.trim_end_matches('/').to_owned()),
            "ImplementationSpecific" | "" => {
                match path.strip_suffix(".*").or_else(|| path.strip_suffix("/*")) {
                    Some(prefix) => Self::Prefix(prefix.to_owned()),
                    None if path.is_empty() => Self::Any,
                    None => Self::Exact(path.to_owned()),
                }
            }
            other => {
                return Err(format!(
                    "{other:?} is none of Exact, Prefix and ImplementationSpecific"
                ));
            }
        };
        Ok(match matched {
            // All that begins with nothing.
            Self::Below(path) | Self::Prefix(path) if path.is_empty() => Self::Any,
            matched => matched,
        })
    }

    /// Smaller for what is looked at earlier: the longest path, and of equally long ones the narrowest.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let (length, variant) = match self {
            Self::Exact(path) => (path.len(), 0),
            Self::Below(path) => (path.len(), 1),
            Self::Prefix(path) => (path.len(), 2),
            Self::Any => (0, 3),
        };
        (Reverse(length), variant)
    }

    /// The conditions, one of which must hold; none where all requests are meant.
    pub(super) fn to_matches(&self) -> Vec<HttpMatchRequest> {
        let request = |match_type| HttpMatchRequest {
            uri: Some(StringMatch {
                match_type: Some(match_type),
            }),
            ..HttpMatchRequest::default()
        };
        match self {
            Self::Exact(path) => vec![request(MatchType::Exact(path.clone()))],
            Self::Below(path) => vec![
                request(MatchType::Exact(path.clone())),
                request(MatchType::Prefix(format!("{path}/"))),
            ],
            Self::Prefix(path) => vec![request(MatchType::Prefix(path.clone()))],
            Self::Any => Vec::new(),
        }
    }

    /// Whether an exact path looks as if more was meant: 1.1 knew no expressions either.
    pub(super) fn looks_like_expression(&self) -> bool {
        matches!(self, Self::Exact(path) if path.contains(['*', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\', '?']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_5_paths_of_1_1_and_path_types_of_kubernetes() {
        let exact = |path: &str| PathMatch::Exact(path.to_owned());
        let below = |path: &str| PathMatch::Below(path.to_owned());
        let prefix = |path: &str| PathMatch::Prefix(path.to_owned());
        for (path, path_type, expected) in [
            ("/test", "ImplementationSpecific", exact("/test")),
            ("/test", "", exact("/test")),
            ("/test1.*", "", prefix("/test1")),
            ("/test/*", "", prefix("/test")),
            ("", "", PathMatch::Any),
            ("/*", "", PathMatch::Any),
            (".*", "", PathMatch::Any),
            ("/.*", "", prefix("/")),
            ("/", "", exact("/")),
            ("/test", "Exact", exact("/test")),
            ("/test/*", "Exact", exact("/test/*")),
            ("/test", "Prefix", below("/test")),
            ("/test/", "Prefix", below("/test")),
            ("/", "Prefix", PathMatch::Any),
        ] {
            assert_eq!(
                PathMatch::read(path, path_type),
                Ok(expected),
                "{path_type} {path}"
            );
        }
        for (path, path_type) in [("/", "Regex"), ("test", "Exact"), ("", "Prefix")] {
            assert!(PathMatch::read(path, path_type).is_err(), "{path_type} {path}");
        }
    }

    /// What Kubernetes' table of examples says of `Prefix`.
    #[test]
    fn p5_5_a_prefix_is_of_elements() {
        let holds = |matched: &PathMatch, path: &str| {
            let matches = matched.to_matches();
            matches.is_empty()
                || matches.iter().any(|request| {
                    match request.uri.as_ref().and_then(|uri| uri.match_type.as_ref()) {
                        Some(MatchType::Exact(exact)) => path == exact,
                        Some(MatchType::Prefix(prefix)) => path.starts_with(prefix),
                        _ => false,
                    }
                })
        };
        for (prefix, path, expected) in [
            ("/", "/any", true),
            ("/foo", "/foo", true),
            ("/foo", "/foo/", true),
            ("/foo/", "/foo", true),
            ("/foo/", "/foo/", true),
            ("/aaa/bb", "/aaa/bbb", false),
            ("/aaa/bbb", "/aaa/bbb", true),
            ("/aaa/bbb/", "/aaa/bbb", true),
            ("/aaa/bbb", "/aaa/bbb/ccc", true),
            ("/aaa/bbb", "/aaa/bbbxyz", false),
        ] {
            let matched = PathMatch::read(prefix, "Prefix").unwrap();
            assert_eq!(holds(&matched, path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn p5_5_the_longest_path_is_looked_at_first_and_then_the_narrowest() {
        let mut paths: Vec<PathMatch> = [
            ("", ""),
            ("/foo.*", ""),
            ("/foo", "Prefix"),
            ("/foo", "Exact"),
            ("/foo/bar", "Prefix"),
            ("/f", "Exact"),
        ]
        .into_iter()
        .map(|(path, path_type)| PathMatch::read(path, path_type).unwrap())
        .collect();
        paths.sort_by_key(PathMatch::rank);
        let text = |path: &str| path.to_owned();
        assert_eq!(
            paths,
            [
                PathMatch::Below(text("/foo/bar")),
                PathMatch::Exact(text("/foo")),
                PathMatch::Below(text("/foo")),
                PathMatch::Prefix(text("/foo")),
                PathMatch::Exact(text("/f")),
                PathMatch::Any,
            ]
        );
    }
}
