//! Names in TLS handshakes, as far as Envoy can match them.

use std::fmt;

use mesh_config::Host;

/// A name, or `*.` followed by one, in lower case as Envoy compares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServerName(Host);

// === impl ServerName ===

impl ServerName {
    /// `None` for what Envoy cannot match: `*-x.example.com`, and nothing at all.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let bare = name.strip_prefix("*.").unwrap_or(name);
        let is_name = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
        is_name.then(|| Self(Host::new(name.to_ascii_lowercase())))
    }

    /// The wildcards over it, narrowest first: those of `www.example.com` are `*.example.com` and `*.com`.
    pub(crate) fn wider(&self) -> impl Iterator<Item = Self> {
        let name = self.0.as_str();
        let name = name.strip_prefix("*.").unwrap_or(name);
        name.match_indices('.')
            .map(move |(dot, _)| Self(Host::new(format!("*{}", &name[dot..]))))
    }

    /// The name as a host.
    pub(crate) fn as_host(&self) -> &Host {
        &self.0
    }

    /// Whether every name that it covers is covered by `host` too.
    pub(crate) fn is_subset_of(&self, host: &Host) -> bool {
        self.0
            .is_subset_of(&Host::new(host.as_str().to_ascii_lowercase()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_envoy_can_match_are_server_names() {
        for (text, expected) in [
            ("www.example.com", Some("www.example.com")),
            ("WWW.Example.com", Some("www.example.com")),
            ("*.example.com", Some("*.example.com")),
            ("*", None),
            ("*.", None),
            ("", None),
            ("*-x.example.com", None),
            ("a.*.com", None),
            ("a b", None),
        ] {
            let name = ServerName::new(text).map(|name| name.to_string());
            assert_eq!(name.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn wider_names_are_the_wildcards_over_a_name() {
        for (name, expected) in [
            ("www.example.com", &["*.example.com", "*.com"][..]),
            ("*.example.com", &["*.com"]),
            ("localhost", &[]),
        ] {
            let name = ServerName::new(name).expect("a name");
            let wider: Vec<String> = name.wider().map(|name| name.to_string()).collect();
            assert_eq!(wider, expected);
        }
    }
}
