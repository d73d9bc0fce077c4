//! Whether the node takes a pod: what Kubernetes' scheduler asks (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod};

use super::endpoints::NODE_NAME;
use super::objects::Key;
use super::pods::{HostPort, host_ports};

/// Whether a node with these labels takes `pod` beside the pods that it has.
///
/// # Errors
/// Why not.
pub(crate) fn fits<'a>(
    pod: &Pod,
    labels: &BTreeMap<String, String>,
    others: impl IntoIterator<Item = (&'a Key, &'a Pod)>,
) -> Result<(), String> {
    is_selected(pod, labels)?;
    let wanted = host_ports(pod)?;
    if wanted.is_empty() {
        return Ok(());
    }
    for ((namespace, name), other) in others {
        // A pod that runs has been asked the same.
        let taken = host_ports(other).unwrap_or_default();
        let conflict = |port: &&HostPort| taken.iter().any(|other| port.conflicts(other));
        if let Some(HostPort { port, protocol, .. }) = wanted.iter().find(conflict) {
            return Err(format!(
                "port {port}/{protocol} of {NODE_NAME} is taken by pod {namespace}/{name}"
            ));
        }
    }
    Ok(())
}

/// `nodeSelector`, and what is required of `nodeAffinity`.
fn is_selected(pod: &Pod, labels: &BTreeMap<String, String>) -> Result<(), String> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    for (name, value) in spec.node_selector.iter().flatten() {
        if labels.get(name) != Some(value) {
            return Err(format!("nodeSelector: {NODE_NAME} is not {name}={value}"));
        }
    }
    let affinity = spec.affinity.as_ref();
    let required = affinity
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    match required {
        Some(NodeSelector { node_selector_terms })
            if !node_selector_terms.iter().any(|term| holds(term, labels)) =>
        {
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Err(format!(
                "nodeAffinity wants another node than {NODE_NAME} with {}",
                labels.join(",")
            ))
        }
        _ => Ok(()),
    }
}

/// A term without a requirement selects nothing.
fn holds(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let of_label =
        |wanted: &NodeSelectorRequirement| meets(wanted, labels.get(&wanted.key).map(String::as_str));
    let of_field = |wanted: &NodeSelectorRequirement| {
        meets(wanted, (wanted.key == "metadata.name").then_some(NODE_NAME))
    };
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(of_label)
        && fields.iter().all(of_field)
}

fn meets(wanted: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = wanted.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compare = || {
        let value: i64 = value?.parse().ok()?;
        Some(value.cmp(&values.first()?.parse().ok()?))
    };
    match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare().is_some_and(|order| order.is_gt()),
        "Lt" => compare().is_some_and(|order| order.is_lt()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value) -> Pod {
        let mut pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 80}]}]}});
        pod["spec"]
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        serde_json::from_value(pod).unwrap()
    }

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("host".to_owned(), NODE_NAME.to_owned()),
            ("cores".to_owned(), "2".to_owned()),
        ])
    }

    #[test]
    fn a_port_of_the_node_belongs_to_one_pod() {
        let key = ("weather".to_owned(), "front-0".to_owned());
        let (own, host) = (pod(&json!({})), pod(&json!({"hostNetwork": true})));
        assert_eq!(fits(&host, &labels(), [(&key, &own)]), Ok(()));
        assert_eq!(fits(&own, &labels(), [(&key, &host)]), Ok(()));
        assert_eq!(
            fits(&host, &labels(), [(&key, &host)]).unwrap_err(),
            "port 80/TCP of node-1 is taken by pod weather/front-0"
        );
    }

    #[test]
    fn the_node_must_be_one_that_the_pod_selects() {
        let fits = |spec: Value| fits(&pod(&spec), &labels(), []);
        assert_eq!(fits(json!({"nodeSelector": {"cores": "2"}})), Ok(()));
        assert_eq!(
            fits(json!({"nodeSelector": {"cores": "3"}})).unwrap_err(),
            "nodeSelector: node-1 is not cores=3"
        );
        let affinity = |terms: Value| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
        };
        for (key, operator, values, holds) in [
            ("host", "In", &["a", "node-1"][..], true),
            ("host", "NotIn", &["a"], true),
            ("host", "Exists", &[], true),
            ("host", "DoesNotExist", &[], false),
            ("disk", "In", &["ssd"], false),
            ("disk", "NotIn", &["ssd"], true),
            ("disk", "DoesNotExist", &[], true),
            ("cores", "Gt", &["1"], true),
            ("cores", "Lt", &["2"], false),
            ("disk", "Gt", &["1"], false),
        ] {
            let wanted = json!({"key": key, "operator": operator, "values": values});
            let found = fits(affinity(json!([{"matchExpressions": [wanted]}])));
            assert_eq!(found.is_ok(), holds, "{key} {operator} {values:?}");
        }
        let named = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        assert_eq!(fits(affinity(json!([named("a"), named("node-1")]))), Ok(()));
        assert_eq!(
            fits(affinity(json!([{}]))).unwrap_err(),
            "nodeAffinity wants another node than node-1 with cores=2,host=node-1"
        );
    }
}
