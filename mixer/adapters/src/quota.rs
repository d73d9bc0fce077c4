//! What the adapters of quotas share: which limit an instance has.

use std::collections::BTreeMap;

use mixer_adapter::text::string_equals;
use mixer_adapter::{BuildError, ConfigErrors, Inferred};
use mixer_template::{Quota, Template};

/// The quotas of a handler by the instances that they are for.
#[derive(Clone, Debug)]
pub(crate) struct Quotas<L> {
    /// By name, as it is configured.
    quotas: BTreeMap<String, Limits<L>>,
    /// Of the handler; short names mean instances of it.
    namespace: String,
}

/// The limits of one quota.
#[derive(Clone, Debug)]
pub(crate) struct Limits<L> {
    /// Where no override matches.
    pub(crate) default: L,
    /// The first that matches counts.
    pub(crate) overrides: Vec<Override<L>>,
}

/// Another limit for instances with certain dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Override<L> {
    /// Dimensions that the instance must have.
    pub(crate) dimensions: BTreeMap<String, String>,
    pub(crate) limit: L,
}

/// The limit of an instance.
#[derive(Debug)]
pub(crate) struct Found<'q, L> {
    /// Name of the quota, as it is configured.
    pub(crate) quota: &'q str,
    pub(crate) limit: &'q L,
    /// Dimensions of the override that it is of; `None` for the quota's own.
    pub(crate) dimensions: Option<&'q BTreeMap<String, String>>,
}

/// Looks for names that are missing, empty or given twice, and for instances that have no quota.
pub(crate) fn check_names<'n>(
    names: impl IntoIterator<Item = &'n str>,
    inferred: &Inferred,
    errors: &mut ConfigErrors,
) {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, name) in names.into_iter().enumerate() {
        if name.is_empty() {
            errors.push(format!("quotas[{number}].name"), "must be given");
        } else if let Some(first) = known.insert(name, number) {
            errors.push(
                format!("quotas[{number}].name"),
                format!("{name:?} is that of quotas[{first}] too"),
            );
        }
    }
    for (instance, (template, _)) in inferred {
        let named = known.contains_key(instance.as_str()) || known.contains_key(short(instance));
        if *template == Template::Quota && !named {
            errors.push("quotas", format!("there is no quota for the instance {instance}"));
        }
    }
}

/// `requestquota` of `requestquota.instance.weather`.
fn short(full: &str) -> &str {
    full.split_once('.').map_or(full, |(short, _)| short)
}

/// The namespace of a full name.
fn namespace(full: &str) -> &str {
    full.rsplit_once('.').map_or("", |(_, namespace)| namespace)
}

// === impl Quotas ===

impl<L> Quotas<L> {
    /// The quotas of the handler with this full name.
    pub(crate) fn new(handler: &str, quotas: BTreeMap<String, Limits<L>>) -> Self {
        Self {
            quotas,
            namespace: namespace(handler).to_owned(),
        }
    }

    /// Whether every instance has a quota.
    pub(crate) fn check_covers(&self, inferred: &Inferred) -> Result<(), BuildError> {
        for (name, (template, _)) in inferred {
            let dimensions = Vec::new();
            if *template == Template::Quota && self.find(&Quota { name, dimensions }).is_none() {
                return Err(BuildError(format!("there is no quota for the instance {name}")));
            }
        }
        Ok(())
    }

    /// The limit of an instance: of the quota with its full name, else of that with its short name, which means
    /// instances of the namespace of the handler (`spec 02` D12).
    pub(crate) fn find(&self, instance: &Quota<'_>) -> Option<Found<'_, L>> {
        let by_short_name = || {
            let own = namespace(instance.name) == self.namespace;
            own.then(|| self.quotas.get_key_value(short(instance.name)))
                .flatten()
        };
        let (quota, limits) = self.quotas.get_key_value(instance.name).or_else(by_short_name)?;
        let matching = limits.overrides.iter().find(|other| other.matches(instance));
        Some(Found {
            quota,
            limit: matching.map_or(&limits.default, |other| &other.limit),
            dimensions: matching.map(|other| &other.dimensions),
        })
    }
}

// === impl Override ===

impl<L> Override<L> {
    fn matches(&self, instance: &Quota<'_>) -> bool {
        self.dimensions.iter().all(|(name, text)| {
            let mut dimensions = instance.dimensions.iter();
            let value = dimensions.find(|(dimension, _)| dimension == name);
            string_equals(text, value.map(|(_, value)| value))
        })
    }
}

#[cfg(test)]
mod tests {
    use mixer_attribute::Value;

    use super::*;

    fn quotas() -> Quotas<u32> {
        let limits = |default, overrides: &[(&[(&str, &str)], u32)]| Limits {
            default,
            overrides: overrides
                .iter()
                .map(|(dimensions, limit)| Override {
                    dimensions: dimensions
                        .iter()
                        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                        .collect(),
                    limit: *limit,
                })
                .collect(),
        };
        let full = limits(1, &[(&[("code", "7")], 2), (&[("code", "7"), ("who", "a")], 3)]);
        Quotas::new(
            "handler.weather",
            BTreeMap::from([
                ("full.instance.weather".to_owned(), full),
                ("short".to_owned(), limits(4, &[(&[("who", "")], 5)])),
            ]),
        )
    }

    fn limit(name: &str, dimensions: &[(&str, Value<'_>)]) -> Option<u32> {
        let dimensions = dimensions.to_vec();
        quotas()
            .find(&Quota { name, dimensions })
            .map(|found| *found.limit)
    }

    /// D12 of `spec 02` §14.
    #[test]
    fn quotas_are_found_by_full_and_by_short_name() {
        assert_eq!(limit("full.instance.weather", &[]), Some(1));
        assert_eq!(limit("full.quota.weather", &[]), None);
        let who = ("who", Value::from("a"));
        assert_eq!(
            limit("short.instance.weather", std::slice::from_ref(&who)),
            Some(4)
        );
        assert_eq!(limit("short.quota.weather", &[who]), Some(4));
        assert_eq!(limit("short.instance.elsewhere", &[]), None);
    }

    #[test]
    fn the_first_override_that_matches_counts() {
        let code = ("code", Value::Int64(7));
        let who = ("who", Value::from("a"));
        assert_eq!(limit("full.instance.weather", &[code, who.clone()]), Some(2));
        assert_eq!(limit("full.instance.weather", &[who]), Some(1));
        // A dimension that is missing equals the empty text.
        assert_eq!(limit("short.instance.weather", &[]), Some(5));
    }
}
