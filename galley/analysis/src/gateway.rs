//! Gateways: selectors that nobody has, and servers that are in one another's way.
//!
//! A Gateway to which no VirtualService is bound is no mistake: it comes first.

use mesh_api::istio::networking::v1alpha3 as networking;
use mesh_config::{Config, Kind, Protocol};

use crate::Known;
use crate::facts::{Fact, Gateway};
use crate::warnings::Warnings;

pub(crate) fn check(known: &Known, config: &Config, spec: &networking::Gateway, out: &mut Warnings) {
    let key = &config.meta.key;
    let fact = Gateway::of(spec, &key.namespace);
    let is_selected = fact.selector.is_empty() || known.pods(None).any(|pod| fact.selector.is_subset_of(pod));
    if known.knows_all(&[Kind::Pod]) && !is_selected {
        out.say("selector", "no pod has these labels");
    }
    for (index, server) in fact.servers.iter().enumerate() {
        for (before, other) in fact.servers[..index].iter().enumerate() {
            if !server.is_beside(other) {
                continue;
            }
            if let Some((_, host)) = server.hosts.iter().find(|host| other.hosts.contains(host)) {
                out.say(
                    format!("servers[{index}]"),
                    format!("servers[{before}] has port {} and host {host} too", server.port),
                );
            }
        }
    }
    for (other_key, other) in known.of_kind(Kind::Gateway) {
        let Fact::Gateway(other) = other else { continue };
        if other_key == key || other.selector != fact.selector {
            continue;
        }
        for (index, server) in fact.servers.iter().enumerate() {
            let mut rivals = other.servers.iter();
            let rival = rivals.find(|it| it.is_beside(server) && differ(it.protocol, server.protocol));
            if let Some(rival) = rival {
                out.say(
                    format!("servers[{index}].port"),
                    format!(
                        "{other_key} has port {} of the same pods for {}: the older counts",
                        server.port,
                        rival.protocol.map_or("", Protocol::as_str)
                    ),
                );
            }
        }
    }
}

/// Plain HTTP, TLS and plain TCP cannot share a port.
fn differ(a: Option<Protocol>, b: Option<Protocol>) -> bool {
    let class = |protocol: Protocol| (protocol.is_http(), protocol.is_tls());
    matches!((a, b), (Some(a), Some(b)) if class(a) != class(b))
}
