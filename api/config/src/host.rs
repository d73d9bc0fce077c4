//! Host names with an optional leading wildcard, and how they cover one another (P2.6).

use std::cmp::Ordering;
use std::fmt;

use crate::Str;

/// A DNS name, a name with a leading wildcard (`*.weather.com`, `*-x.weather.com`, `*`), or an IP address in text form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(Str);

impl Host {
    /// Takes a name as it is.
    pub fn new(name: impl Into<Str>) -> Self {
        Self(name.into())
    }

    /// The full name of a host that a rule in `namespace` mentions (`R-N-3`, `R-N-4`).
    ///
    /// A name without a dot is a Kubernetes service of the *rule's* namespace; anything else, `*` included, stays.
    pub fn resolve(name: &str, namespace: &str, domain: &str) -> Self {
        if name.contains('.') || name.contains('*') || name.is_empty() {
            Self::new(name)
        } else {
            Self::new(format!("{name}.{namespace}.svc.{domain}"))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name starts with a wildcard.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether some name is covered by both.
    pub fn matches(&self, other: &Self) -> bool {
        self.is_subset_of(other) || other.is_subset_of(self)
    }

    /// Whether every name that `self` covers is covered by `other` too. `*.foo.com` does not cover `foo.com` (`R-N-5`).
    pub fn is_subset_of(&self, other: &Self) -> bool {
        match (self.0.strip_prefix('*'), other.0.strip_prefix('*')) {
            (None, None) => self == other,
            (Some(_), None) => false,
            (None, Some(suffix)) => self.0.len() > suffix.len() && self.0.ends_with(suffix),
            (Some(ours), Some(suffix)) => ours.ends_with(suffix),
        }
    }

    /// The narrower of two overlapping names: what both cover.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_subset_of(other) {
            Some(self.clone())
        } else if other.is_subset_of(self) {
            Some(other.clone())
        } else {
            None
        }
    }
}

/// Orders names so that the first one that covers a host is the most specific: exact names before wildcards, longer
/// before shorter, then by name.
pub fn most_specific_first(a: &Host, b: &Host) -> Ordering {
    a.is_wildcard()
        .cmp(&b.is_wildcard())
        .then_with(|| b.0.len().cmp(&a.0.len()))
        .then_with(|| a.0.cmp(&b.0))
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Host {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Host {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl AsRef<str> for Host {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p2_6_acceptance_vector() {
        let mut hosts: Vec<Host> = ["*", "foo.com", "bar.com", "*.com", "baz.bar.com", "*.foo.com"]
            .map(Host::from)
            .to_vec();
        hosts.sort_by(most_specific_first);
        assert_eq!(
            hosts,
            ["baz.bar.com", "bar.com", "foo.com", "*.foo.com", "*.com", "*"].map(Host::from)
        );
    }

    /// `R-N-4`, `R-N-5`.
    #[test]
    fn cover_and_overlap() {
        for (a, b, subset, overlap) in [
            ("foo.com", "foo.com", true, true),
            ("foo.com", "bar.com", false, false),
            ("www.foo.com", "*.foo.com", true, true),
            ("foo.com", "*.foo.com", false, false),
            ("newfoo.com", "*.foo.com", false, false),
            ("*.foo.com", "*.com", true, true),
            ("*.com", "*.foo.com", false, true),
            ("*.foo.com", "*.bar.com", false, false),
            ("anything", "*", true, true),
            ("*", "*", true, true),
            ("*", "foo.com", false, true),
            ("a-x.foo.com", "*-x.foo.com", true, true),
        ] {
            let (a, b) = (Host::from(a), Host::from(b));
            assert_eq!(a.is_subset_of(&b), subset, "{a} within {b}");
            assert_eq!(a.matches(&b), overlap, "{a} overlaps {b}");
        }
    }

    #[test]
    fn r_n_3_short_names_belong_to_the_namespace_of_the_rule() {
        for (name, expected) in [
            ("forecast", "forecast.default.svc.cluster.local"),
            ("forecast.weather", "forecast.weather"),
            ("*", "*"),
            ("*.weather.com", "*.weather.com"),
        ] {
            assert_eq!(
                Host::resolve(name, "default", "cluster.local"),
                Host::from(expected)
            );
        }
    }

    fn host() -> impl Strategy<Value = Host> {
        (any::<bool>(), proptest::collection::vec("[ab]{1,2}", 1..4)).prop_map(|(wildcard, labels)| {
            let name = labels.join(".");
            if wildcard {
                Host::from(format!("*.{name}"))
            } else {
                Host::from(name)
            }
        })
    }

    proptest! {
        #[test]
        fn cover_is_a_partial_order(a in host(), b in host(), c in host()) {
            prop_assert!(a.is_subset_of(&a));
            prop_assert!(!(a.is_subset_of(&b) && b.is_subset_of(&a)) || a == b);
            prop_assert!(!(a.is_subset_of(&b) && b.is_subset_of(&c)) || a.is_subset_of(&c));
            prop_assert_eq!(a.matches(&b), b.matches(&a));
            prop_assert_eq!(a.intersection(&b).is_some(), a.matches(&b));
        }
    }
}
