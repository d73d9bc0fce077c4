//! Names of objects, and how they refer to each other (`spec 02` §5.3).

use std::fmt;
use std::sync::Arc;

use mesh_config::ConfigKey;

/// `name.kind.namespace`: what an object is called among all that Mixer knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullName(Arc<str>);

// === impl FullName ===

impl FullName {
    /// The name of an object.
    #[must_use]
    pub fn of(key: &ConfigKey) -> Self {
        Self(format!("{}.{}.{}", key.name, key.kind, key.namespace).into())
    }

    /// What `reference` means in an object of `namespace` where an object of the uniform kind `desired` is expected:
    /// one part is a name beside the object, two are a name and either the legacy kind or the namespace of what is
    /// meant, three or more are a full name.
    pub fn resolve(reference: &str, namespace: &str, desired: &str, exists: impl Fn(&Self) -> bool) -> Self {
        let Some((name, rest)) = reference.split_once('.') else {
            return Self(format!("{reference}.{desired}.{namespace}").into());
        };
        if rest.contains('.') {
            return Self(reference.into());
        }
        let legacy = Self(format!("{name}.{rest}.{namespace}").into());
        if exists(&legacy) {
            legacy
        } else {
            Self(format!("{name}.{desired}.{rest}").into())
        }
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first part, by which quotas are asked for (`spec 02` §2.6).
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(short, _)| short)
    }
}

impl std::borrow::Borrow<str> for FullName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::Kind;

    use super::*;

    /// `spec 02` §5.3: one, two and three parts.
    #[test]
    fn m13_references_resolve_from_where_they_stand() {
        let legacy = FullName::of(&ConfigKey::new(Kind::Denier, "weather", "deny"));
        let known = |name: &FullName| *name == legacy;
        for (reference, expected) in [
            ("deny", "deny.handler.weather"),
            ("deny.denier", "deny.denier.weather"),
            ("deny.istio-system", "deny.handler.istio-system"),
            ("deny.denier.other", "deny.denier.other"),
            ("a.b.c.d", "a.b.c.d"),
        ] {
            let name = FullName::resolve(reference, "weather", "handler", known);
            assert_eq!(name.as_str(), expected, "{reference}");
            assert_eq!(name.short(), reference.split('.').next().unwrap());
        }
    }
}
