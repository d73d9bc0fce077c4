//! SPIFFE ids: what workloads are called in certificates and in policy.
//!
//! ```text
//! spiffe://cluster.local/ns/weather/sa/frontend      in certificates and in Envoy's matchers
//!          cluster.local/ns/weather/sa/frontend      in Istio's policies and Mixer's attributes (R-12)
//! ```
//!
//! [`SpiffeId`] is any id of the standard; [`ServiceAccount`] is the form that Istio gives to workloads of Kubernetes
//! (R-10). Ids of other platforms have other paths (R-13).

mod service_account;

use std::fmt;
use std::str::FromStr;

pub use self::service_account::ServiceAccount;

/// What every id begins with.
pub const SCHEME: &str = "spiffe://";

/// Longest id in bytes, as the standard has it.
const MAX_ID: usize = 2048;

/// Longest trust domain in bytes, as the standard has it.
const MAX_TRUST_DOMAIN: usize = 255;

/// An id of the SPIFFE standard: a trust domain and a path, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The whole id, scheme included.
    text: String,
    /// Where the trust domain ends.
    domain_end: usize,
}

/// A text is no SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{id:?} is no SPIFFE id: {reason}")]
pub struct InvalidId {
    id: String,
    reason: &'static str,
}

/// A trust domain as it stands in ids: `@` cannot, and a dot takes its place (R-11).
#[must_use]
pub fn trust_domain(configured: &str) -> String {
    configured.replace('@', ".")
}

// === impl SpiffeId ===

impl SpiffeId {
    /// Who vouches for the id.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.get(SCHEME.len()..self.domain_end).unwrap_or_default()
    }

    /// What the trust domain calls it, with a leading slash; empty for the trust domain itself.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.domain_end..).unwrap_or_default()
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As policies name it, without the scheme (R-12).
    #[must_use]
    pub fn principal(&self) -> &str {
        self.text.get(SCHEME.len()..).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = |reason| InvalidId {
            // Texts come from peers, and errors go to logs.
            id: text.chars().take(MAX_TRUST_DOMAIN).collect(),
            reason,
        };
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| invalid("it does not begin with spiffe://"))?;
        if text.len() > MAX_ID {
            return Err(invalid("it is longer than 2048 bytes"));
        }
        let domain = rest.split('/').next().unwrap_or_default();
        if domain.is_empty() {
            return Err(invalid("the trust domain is missing"));
        }
        if domain.len() > MAX_TRUST_DOMAIN {
            return Err(invalid("the trust domain is longer than 255 bytes"));
        }
        if !domain
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte))
        {
            return Err(invalid(
                "a trust domain has lower case letters, digits, dots, dashes and underscores",
            ));
        }
        let path = rest.get(domain.len()..).unwrap_or_default();
        for segment in path.split('/').skip(1) {
            if matches!(segment, "" | "." | "..") {
                return Err(invalid("a segment of the path is empty or leads elsewhere"));
            }
            if !segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            {
                return Err(invalid(
                    "a path has letters, digits, dots, dashes and underscores",
                ));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            domain_end: SCHEME.len() + domain.len(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_10_an_id_has_a_trust_domain_and_a_path() {
        let id: SpiffeId = "spiffe://cluster.local/ns/weather/sa/frontend".parse().unwrap();
        assert_eq!(
            (id.trust_domain(), id.path()),
            ("cluster.local", "/ns/weather/sa/frontend")
        );
        assert_eq!(id.principal(), "cluster.local/ns/weather/sa/frontend");
        assert_eq!(id.to_string(), id.as_str());
        let domain: SpiffeId = "spiffe://example.org".parse().unwrap();
        assert_eq!((domain.trust_domain(), domain.path()), ("example.org", ""));
    }

    #[test]
    fn what_is_no_id_says_why() {
        for (text, reason) in [
            ("", "begin"),
            ("cluster.local/ns/a/sa/b", "begin"),
            ("https://cluster.local/ns/a/sa/b", "begin"),
            ("spiffe:///ns/a/sa/b", "missing"),
            ("spiffe://Cluster.local/a", "lower case"),
            ("spiffe://cluster.local:80/a", "lower case"),
            ("spiffe://me@cluster.local/a", "lower case"),
            ("spiffe://cluster.local/", "empty"),
            ("spiffe://cluster.local/a//b", "empty"),
            ("spiffe://cluster.local/a/../b", "elsewhere"),
            ("spiffe://cluster.local/a?b", "a path has"),
            ("spiffe://cluster.local/ä", "a path has"),
            (&format!("spiffe://{}/a", "a".repeat(256)), "255"),
            (&format!("spiffe://a/{}", "a".repeat(2048)), "2048"),
        ] {
            let error = text.parse::<SpiffeId>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn r_11_an_at_sign_becomes_a_dot() {
        assert_eq!(trust_domain("user@example.org"), "user.example.org");
    }
}
