//! DestinationRules: hosts that nobody knows, subsets without pods, and rules that contradict others.
//!
//! A subset that no VirtualService leads to is no mistake: rules come before the routes that need them.

use std::net::IpAddr;

use mesh_api::istio::networking::v1alpha3 as networking;
use mesh_config::{Config, ConfigKey, Host, Kind, Labels};

use crate::Known;
use crate::facts::{Fact, Rule};
use crate::warnings::Warnings;

pub(crate) fn check(known: &Known, config: &Config, spec: &networking::DestinationRule, out: &mut Warnings) {
    let key = &config.meta.key;
    let fact = Rule::of(spec, &key.namespace, &known.domain);
    let host = &fact.host;
    let is_known = host.as_str().parse::<IpAddr>().is_ok() || known.services(host).next().is_some();
    if known.knows_services() && !is_known {
        out.say(
            "host",
            format!("no Service of this cluster and no ServiceEntry is called {host}"),
        );
    }
    for (other, _) in known.with_host(Kind::DestinationRule, host, key) {
        if other.namespace == key.namespace {
            out.say(
                "host",
                format!(
                    "{other} is for {host} too; subsets are put together, of the policies the older counts"
                ),
            );
        }
    }
    let Some((namespace, name)) = known.kubernetes_name(host) else {
        return;
    };
    if fact.plain_text
        && let Some((policy, it)) = known.policy(namespace, name)
        && it.strict
    {
        out.say(
            "trafficPolicy.tls.mode",
            format!("DISABLE, but {policy} asks callers of {host} for mutual TLS: they are refused"),
        );
    }
    check_subsets(
        known,
        spec,
        host,
        &ConfigKey::new(Kind::Service, namespace, name),
        out,
    );
}

/// Labels that no pod of the service has, while it has others.
fn check_subsets(
    known: &Known,
    spec: &networking::DestinationRule,
    host: &Host,
    service: &ConfigKey,
    out: &mut Warnings,
) {
    if !known.knows_all(&[Kind::Pod, Kind::Service]) {
        return;
    }
    let Some(Fact::Service(fact)) = known.get(service) else {
        return;
    };
    if fact.selector.is_empty() {
        return;
    }
    let pods = || {
        let pods = known.pods(Some(&service.namespace));
        pods.filter(|labels| fact.selector.is_subset_of(labels))
    };
    if pods().next().is_none() {
        return;
    }
    for (index, subset) in spec.subsets.iter().enumerate() {
        let labels = Labels::from(&subset.labels);
        if !pods().any(|pod| labels.is_subset_of(pod)) {
            out.say(
                format!("subsets[{index}].labels"),
                format!("no pod of {host} has them: subset {} is empty", subset.name),
            );
        }
    }
}
