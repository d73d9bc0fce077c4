//! Where the programs of a pod look names up: `dnsPolicy` and `dnsConfig` (pure).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};

use crate::mesh::dns::DOMAIN;
use crate::mesh::ipam;

/// More name servers than these are not asked by anybody.
const MAX_SERVERS: usize = 3;

/// What stands in `/etc/resolv.conf`.
#[derive(Clone, Debug, Default)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<(String, Option<String>)>,
}

/// The resolver settings of a pod.
///
/// A pod on the network of its node that wants `ClusterFirst`, which is also what it gets if it wants nothing, has the
/// resolver of the node. `ClusterFirstWithHostNet` is the way to that of the cluster.
///
/// # Errors
/// What the API server would refuse, naming the field.
pub(super) fn resolv_conf(spec: &PodSpec, namespace: &str) -> Result<String, String> {
    let on_host = spec.host_network.unwrap_or_default();
    let mut resolver = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" if on_host => Resolver::of_node(),
        "ClusterFirst" | "ClusterFirstWithHostNet" => Resolver::of_cluster(namespace),
        "Default" => Resolver::of_node(),
        "None" => Resolver::default(),
        other => {
            return Err(format!(
                "dnsPolicy {other} is none of ClusterFirst, ClusterFirstWithHostNet, Default, None"
            ));
        }
    };
    if let Some(config) = &spec.dns_config {
        resolver.add(config)?;
    }
    if resolver.servers.is_empty() {
        return Err("dnsConfig.nameservers: dnsPolicy None needs one at least".to_owned());
    }
    Ok(resolver.text())
}

// === impl Resolver ===

impl Resolver {
    fn of_cluster(namespace: &str) -> Self {
        Self {
            servers: vec![ipam::NODE.to_string()],
            searches: vec![
                format!("{namespace}.svc.{DOMAIN}"),
                format!("svc.{DOMAIN}"),
                DOMAIN.to_owned(),
            ],
            options: vec![("ndots".to_owned(), Some("5".to_owned()))],
        }
    }

    fn of_node() -> Self {
        Self {
            servers: vec![ipam::NODE_RESOLVER.to_string()],
            ..Self::default()
        }
    }

    /// Adds what the pod asks for; an option of the same name is replaced.
    fn add(&mut self, config: &PodDNSConfig) -> Result<(), String> {
        for server in config.nameservers.iter().flatten() {
            server
                .parse::<IpAddr>()
                .map_err(|_| format!("dnsConfig.nameservers: {server} is no address"))?;
            add_new(&mut self.servers, server);
        }
        for search in config.searches.iter().flatten() {
            add_new(&mut self.searches, search);
        }
        for option in config.options.iter().flatten() {
            let name = option
                .name
                .clone()
                .ok_or("dnsConfig.options: an option has no name")?;
            self.options.retain(|(known, _)| *known != name);
            self.options.push((name, option.value.clone()));
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for server in self.servers.iter().take(MAX_SERVERS) {
            text += &format!("nameserver {server}\n");
        }
        if !self.searches.is_empty() {
            text += &format!("search {}\n", self.searches.join(" "));
        }
        if !self.options.is_empty() {
            let options = self.options.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
            text += &format!("options {}\n", options.collect::<Vec<_>>().join(" "));
        }
        text
    }
}

fn add_new(list: &mut Vec<String>, text: &str) {
    if !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CLUSTER: &str = "nameserver 10.44.0.1\n\
                           search weather.svc.cluster.local svc.cluster.local cluster.local\n\
                           options ndots:5\n";
    const NODE: &str = "nameserver 10.45.0.53\n";

    fn of(mut spec: Value) -> Result<String, String> {
        spec["containers"] = json!([]);
        resolv_conf(&serde_json::from_value(spec).unwrap(), "weather")
    }

    #[test]
    fn on_the_network_of_the_node_the_names_of_the_cluster_must_be_asked_for() {
        for (policy, own, host) in [
            (json!(null), CLUSTER, NODE),
            (json!("ClusterFirst"), CLUSTER, NODE),
            (json!("ClusterFirstWithHostNet"), CLUSTER, CLUSTER),
            (json!("Default"), NODE, NODE),
        ] {
            assert_eq!(of(json!({"dnsPolicy": policy})).unwrap(), own, "{policy}");
            let spec = json!({"dnsPolicy": policy, "hostNetwork": true});
            assert_eq!(of(spec).unwrap(), host, "{policy}");
        }
    }

    #[test]
    fn what_a_pod_adds_comes_after_what_the_policy_gives() {
        let config = json!({
            "nameservers": ["10.44.0.1", "192.0.2.1"], "searches": ["example.com"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]
        });
        assert_eq!(
            of(json!({ "dnsConfig": config })).unwrap(),
            "nameserver 10.44.0.1\nnameserver 192.0.2.1\n\
             search weather.svc.cluster.local svc.cluster.local cluster.local example.com\n\
             options ndots:2 edns0\n"
        );
        assert_eq!(
            of(json!({"dnsPolicy": "None", "dnsConfig": config})).unwrap(),
            "nameserver 10.44.0.1\nnameserver 192.0.2.1\nsearch example.com\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn what_the_api_server_refuses_is_named() {
        for (spec, want) in [
            (
                json!({"dnsPolicy": "Cluster"}),
                "dnsPolicy Cluster is none of ClusterFirst, ClusterFirstWithHostNet, Default, None",
            ),
            (
                json!({"dnsPolicy": "None"}),
                "dnsConfig.nameservers: dnsPolicy None needs one at least",
            ),
            (
                json!({"dnsConfig": {"nameservers": ["dns.example.com"]}}),
                "dnsConfig.nameservers: dns.example.com is no address",
            ),
        ] {
            assert_eq!(of(spec).unwrap_err(), want);
        }
    }
}
