//! The hosts of a server: whose rules may bind to them, and which connections they name (§7.1, §7.3).

use mesh_api::istio::networking::v1alpha3::Server;
use mesh_config::Host;
use pilot_model::{Gateway, VirtualService};

use crate::l4::ServerName;

/// The hosts of a server in lower case, each with the namespace whose VirtualServices may bind; `None` means any.
pub(crate) fn published<'a>(
    gateway: &'a Gateway,
    server: &'a Server,
) -> impl Iterator<Item = (Option<&'a str>, Host)> {
    server.hosts.iter().map(|entry| {
        let (namespace, host) = match entry.split_once('/') {
            Some(("*", host)) => (None, host),
            Some((".", host)) => (Some(&*gateway.key.namespace), host),
            Some((namespace, host)) => (Some(namespace), host),
            None => (None, entry.as_str()),
        };
        (namespace, Host::new(host.to_ascii_lowercase()))
    })
}

/// The names that both a server and a VirtualService cover (§7.3): of two that overlap, the narrower one. None when the
/// VirtualService does not bind to the server.
pub(crate) fn common(gateway: &Gateway, server: &Server, object: &VirtualService) -> Vec<Host> {
    let mut common = Vec::new();
    for (namespace, published) in published(gateway, server) {
        if namespace.is_some_and(|namespace| namespace != &*object.key.namespace) {
            continue;
        }
        for host in &object.hosts {
            common.extend(published.intersection(&Host::new(host.as_str().to_ascii_lowercase())));
        }
    }
    common
}

/// What the server names of a server's connections are; empty for any. Sorted, each once.
pub(super) fn server_names(
    gateway: &Gateway,
    server: &Server,
    findings: &mut Vec<String>,
) -> Result<Vec<ServerName>, String> {
    let mut names = Vec::with_capacity(server.hosts.len());
    for (_, host) in published(gateway, server) {
        if host.as_str() == "*" {
            return Ok(Vec::new());
        }
        match ServerName::new(host.as_str()) {
            Some(name) => names.push(name),
            None => findings.push(format!(
                "hosts: {host} is left out: it cannot be told from others by TLS server name"
            )),
        }
    }
    if names.is_empty() {
        return Err("it has no host that could be a server name".to_owned());
    }
    names.sort();
    names.dedup();
    Ok(names)
}
