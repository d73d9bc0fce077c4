//! The hosts of a server: whose rules may bind to them, and which connections they name (§7.1, §7.3).

use mesh_api::istio::networking::v1alpha3::Server;
use mesh_config::{Host, Str};
use pilot_model::Gateway;

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

/// What the server names of a server's connections are; empty for any. Sorted, each once.
pub(super) fn server_names(
    gateway: &Gateway,
    server: &Server,
    findings: &mut Vec<String>,
) -> Result<Vec<Str>, String> {
    let mut names = Vec::with_capacity(server.hosts.len());
    for (_, host) in published(gateway, server) {
        if host.as_str() == "*" {
            return Ok(Vec::new());
        }
        match server_name(&host) {
            Some(name) => names.push(name),
            None => findings.push(format!(
                "hosts: {host} is left out: a server name has a wildcard for whole labels only"
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

/// The host as Envoy compares it with the server name of a TLS handshake; `None` where it cannot, and for `*`.
pub(crate) fn server_name(host: &Host) -> Option<Str> {
    let name = host.as_str();
    let rest = match name.strip_prefix('*') {
        Some(rest) => rest.strip_prefix('.')?,
        None => name,
    };
    let valid = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*');
    valid.then(|| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_server_name_has_its_wildcard_for_whole_labels() {
        for (host, expected) in [
            ("weather.com", Some("weather.com")),
            ("*.Weather.com", Some("*.weather.com")),
            ("*", None),
            ("*-x.weather.com", None),
            ("*.", None),
            ("a.*.com", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(server_name(&Host::from(host)).as_deref(), expected, "{host:?}");
        }
    }
}
