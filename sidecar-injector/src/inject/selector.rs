//! Label selectors as the injection configuration uses them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether `selector` picks `labels`.
///
/// An empty selector picks nothing here (unlike in Kubernetes), and neither does one with an unknown operator or
/// an operator without its values: a mistake in the configuration must not inject a whole cluster (INJ-32).
pub(super) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    if exact.clone().next().is_none() && expressions.clone().next().is_none() {
        return false;
    }
    exact
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.into_iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let values = requirement.values.as_deref().unwrap_or_default();
            match requirement.operator.as_str() {
                "In" => value.is_some_and(|v| values.contains(v)),
                "NotIn" => !values.is_empty() && value.is_none_or(|v| !values.contains(v)),
                "Exists" => value.is_some() && values.is_empty(),
                "DoesNotExist" => value.is_none() && values.is_empty(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: (!values.is_empty()).then(|| values.iter().map(ToString::to_string).collect()),
            }]),
            match_labels: None,
        }
    }

    #[test]
    fn inj_32_empty_and_invalid_selectors_match_nothing() {
        let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
        assert!(!matches(&LabelSelector::default(), &labels));
        assert!(!matches(&requirement("app", "Like", &["a"]), &labels));
        assert!(!matches(&requirement("app", "NotIn", &[]), &labels));
    }

    #[test]
    fn expressions_follow_kubernetes() {
        let labels = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
        for (operator, key, values, want) in [
            ("In", "app", &["a", "b"][..], true),
            ("In", "app", &["b"], false),
            ("NotIn", "app", &["b"], true),
            ("NotIn", "other", &["b"], true),
            ("Exists", "app", &[], true),
            ("DoesNotExist", "app", &[], false),
            ("DoesNotExist", "other", &[], true),
        ] {
            assert_eq!(
                matches(&requirement(key, operator, values), &labels),
                want,
                "{operator} {key}"
            );
        }
    }
}
