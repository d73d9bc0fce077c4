//! Sidecars that import nothing, or that nobody has.

use mesh_api::istio::networking::v1alpha3 as networking;
use mesh_config::{Config, Host, Kind, Labels};

use crate::Known;
use crate::facts::Fact;
use crate::warnings::Warnings;

pub(crate) fn check(known: &Known, config: &Config, spec: &networking::Sidecar, out: &mut Warnings) {
    let key = &config.meta.key;
    let namespace = &*key.namespace;
    let selector = spec.workload_selector.clone().unwrap_or_default();
    let selector = Labels::from(&selector.labels);
    if selector.is_empty() {
        for (other, fact) in known.in_namespace(Kind::Sidecar, namespace) {
            if other != key && matches!(fact, Fact::Sidecar(labels) if labels.is_empty()) {
                out.say(
                    "workloadSelector",
                    format!("missing, and {other} has none either: only the older is that of the namespace"),
                );
            }
        }
    } else if known.knows_all(&[Kind::Pod])
        && !known.pods(Some(namespace)).any(|pod| selector.is_subset_of(pod))
    {
        out.say(
            "workloadSelector",
            format!("no pod of {namespace} has these labels"),
        );
    }
    if known.knows_services() {
        for (listener, it) in spec.egress.iter().enumerate() {
            for (index, host) in it.hosts.iter().enumerate() {
                check_host(
                    known,
                    namespace,
                    &format!("egress[{listener}].hosts[{index}]"),
                    host,
                    out,
                );
            }
        }
    }
}

fn check_host(known: &Known, own: &str, field: &str, text: &str, out: &mut Warnings) {
    let Some((from, host)) = text.split_once('/') else {
        return;
    };
    // All hosts of the own namespace, or of all: what there is may be nothing yet.
    if from == "~" || host == "*" && matches!(from, "." | "*") {
        return;
    }
    let host = Host::from(host);
    let is_found = known.services(&host).any(|(key, service)| {
        let is_from = match from {
            "*" => true,
            "." => &*key.namespace == own,
            other => &*key.namespace == other,
        };
        is_from && (!service.private || &*key.namespace == own)
    });
    if !is_found {
        out.say(
            field,
            format!("{text} stands for no service: nothing is imported by it"),
        );
    }
}
