//! Which kind a request is about, and what it wants.

use http::{Method, Uri};

/// A request for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The plural name of the kind, as in the path.
    pub(super) plural: String,
    pub(super) verb: Verb,
}

/// What is done to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    List,
    Watch,
    Other,
}

// === impl Target ===

impl Target {
    /// Reads `/api/v1/…` and `/apis/<group>/<version>/…`; nothing for discovery and health.
    pub(super) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let mut parts = uri.path().trim_matches('/').split('/');
        let below = match parts.next()? {
            "api" => parts.nth(0),
            "apis" => parts.nth(1),
            _ => None,
        };
        below?;
        let mut plural = parts.next()?;
        let mut name = parts.next();
        // `namespaces/<name>` is the object, `namespaces/<name>/<plural>` what is in it.
        if plural == "namespaces"
            && let Some(inner) = parts.next()
            && !matches!(inner, "status" | "finalize")
        {
            plural = inner;
            name = parts.next();
        }
        let verb = match parameter(uri, "watch") {
            Some("true" | "1") => Verb::Watch,
            _ if method == Method::GET && name.is_none() => Verb::List,
            _ => Verb::Other,
        };
        let plural = plural.to_owned();
        Some(Self { plural, verb })
    }
}

/// A parameter of the query, as it is written.
pub(super) fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &Method, uri: &str) -> Option<(String, Verb)> {
        let target = Target::of(method, &uri.parse().unwrap())?;
        Some((target.plural, target.verb))
    }

    #[test]
    fn kinds_and_verbs_are_read_from_paths() {
        let get = |uri| target(&Method::GET, uri).unwrap();
        let is = |plural: &str, verb| (plural.to_owned(), verb);
        assert_eq!(get("/api/v1/pods?limit=500"), is("pods", Verb::List));
        assert_eq!(get("/api/v1/namespaces/a/pods"), is("pods", Verb::List));
        assert_eq!(
            get("/api/v1/namespaces/a/pods?watch=true&resourceVersion=7"),
            is("pods", Verb::Watch)
        );
        assert_eq!(get("/api/v1/namespaces/a/pods/b/status"), is("pods", Verb::Other));
        assert_eq!(get("/api/v1/namespaces"), is("namespaces", Verb::List));
        assert_eq!(get("/api/v1/namespaces/a"), is("namespaces", Verb::Other));
        assert_eq!(
            get("/apis/networking.istio.io/v1alpha3/gateways"),
            is("gateways", Verb::List)
        );
        let post = target(&Method::POST, "/api/v1/namespaces/a/pods").unwrap();
        assert_eq!(post, is("pods", Verb::Other));
        for other in [
            "/api/v1",
            "/apis",
            "/apis/networking.istio.io/v1alpha3",
            "/readyz",
            "/",
        ] {
            assert_eq!(target(&Method::GET, other), None, "{other}");
        }
    }
}
