//! The domains of a virtual host: what callers may write into the Host header (P13.2).

use std::borrow::Cow;
use std::net::IpAddr;

use mesh_config::{Host, Str};

/// What the domains of a virtual host are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Domains {
    /// Every name that no other virtual host has.
    Any,
    /// The names of a host.
    Host(HostDomains),
    /// These.
    Listed(Vec<Str>),
}

/// What the names of a host are made from. Proxies that share the same number of labels with it get the same names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostDomains {
    pub(super) host: Host,
    pub(super) port: u16,
    /// How many of its trailing labels the domain of the proxy ends with as well: the caller may leave them out.
    pub(super) shared_labels: usize,
    /// Whether names under it are those of its pods.
    pub(super) has_pods: bool,
    /// Its virtual addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether only names with port count: in a configuration for all ports the others say nothing.
    pub(super) port_only: bool,
    /// Names that another virtual host has already.
    pub(super) taken: Vec<Str>,
}

// === impl Domains ===

impl Domains {
    /// The domains, each once.
    pub(super) fn to_vec(&self) -> Vec<String> {
        match self {
            Self::Any => vec!["*".to_owned()],
            Self::Host(host) => host.to_vec(),
            Self::Listed(domains) => domains.iter().map(ToString::to_string).collect(),
        }
    }
}

// === impl HostDomains ===

impl HostDomains {
    fn to_vec(&self) -> Vec<String> {
        let port = self.port;
        let mut domains = Vec::with_capacity(4 + 2 * (self.shared_labels + self.addresses.len()));
        let mut add = |name: Cow<'_, str>| {
            let with_port = format!("{name}:{port}");
            if !self.port_only {
                domains.push(name.into_owned());
            }
            domains.push(with_port);
        };
        let short = short_forms(self.host.as_str(), self.shared_labels);
        for name in std::iter::once(self.host.as_str()).chain(short) {
            let name = canonical(name);
            let is_taken = |name: &str| self.taken.iter().any(|taken| **taken == *name);
            if is_taken(&name) {
                continue;
            }
            let of_pods = names_of_pods(&name);
            add(name);
            if self.has_pods && !is_taken(&of_pods) {
                add(Cow::Owned(of_pods));
            }
        }
        for address in &self.addresses {
            add(Cow::Owned(match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            }));
        }
        domains
    }
}

/// The names under a name.
pub(super) fn names_of_pods(name: &str) -> String {
    format!("*.{name}")
}

/// The form in which Envoy compares a name: in lower case, an IPv6 address in brackets.
pub(super) fn canonical(name: &str) -> Cow<'_, str> {
    if name.contains(':') && name.parse::<IpAddr>().is_ok() {
        Cow::Owned(format!("[{}]", name.to_ascii_lowercase()))
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether Envoy takes the host as a domain: printable, and without what ends a header.
pub(super) fn is_valid(host: &Host) -> bool {
    !host.as_str().is_empty() && host.as_str().bytes().all(|byte| byte.is_ascii_graphic())
}

/// How many trailing labels of `host` may be left out by callers whose search domain is `domain`.
///
/// A name never becomes empty, and a wildcard never broader.
pub(super) fn shared_labels(host: &Host, domain: &str) -> usize {
    if host.is_wildcard() {
        return 0;
    }
    let mut ours = host.as_str().rsplit('.');
    let shared = ours
        .by_ref()
        .zip(domain.rsplit('.'))
        .take_while(|(ours, theirs)| !ours.is_empty() && ours.eq_ignore_ascii_case(theirs))
        .count();
    let labels = host.as_str().split('.').count();
    if shared < labels { shared } else { 0 }
}

/// The host without its shared labels, then with one more of them at a time, up to one less than all.
pub(super) fn short_forms(host: &str, shared_labels: usize) -> impl Iterator<Item = &str> {
    (1..=shared_labels).rev().filter_map(move |dropped| {
        let (end, _) = host.rmatch_indices('.').nth(dropped - 1)?;
        Some(&host[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(host: &str, port: u16, proxy_domain: &str, address: Option<&str>) -> Vec<String> {
        let host = Host::from(host);
        let shared_labels = shared_labels(&host, proxy_domain);
        let addresses = address
            .into_iter()
            .map(|address| address.parse().unwrap())
            .collect();
        HostDomains {
            host,
            port,
            shared_labels,
            has_pods: false,
            addresses,
            port_only: false,
            taken: Vec::new(),
        }
        .to_vec()
    }

    #[test]
    fn p13_2_short_forms_share_the_suffix_of_the_proxys_domain() {
        for (host, port, proxy_domain, expected) in [
            (
                "foo.local.campus.net",
                80,
                "local.campus.net",
                vec![
                    "foo.local.campus.net",
                    "foo.local.campus.net:80",
                    "foo",
                    "foo:80",
                    "foo.local",
                    "foo.local:80",
                    "foo.local.campus",
                    "foo.local.campus:80",
                ],
            ),
            (
                "foo.local.campus.net",
                80,
                "remote.campus.net",
                vec![
                    "foo.local.campus.net",
                    "foo.local.campus.net:80",
                    "foo.local",
                    "foo.local:80",
                    "foo.local.campus",
                    "foo.local.campus:80",
                ],
            ),
            (
                "foo.local.campus.net",
                80,
                "example.com",
                vec!["foo.local.campus.net", "foo.local.campus.net:80"],
            ),
            (
                "*.campus.net",
                80,
                "local.campus.net",
                vec!["*.campus.net", "*.campus.net:80"],
            ),
            (
                "campus.net",
                80,
                "local.campus.net",
                vec!["campus.net", "campus.net:80"],
            ),
            (
                "WWW.Weather.com",
                80,
                "local.campus.net",
                vec!["www.weather.com", "www.weather.com:80"],
            ),
        ] {
            assert_eq!(
                domains(host, port, proxy_domain, None),
                expected,
                "{host} seen from {proxy_domain}"
            );
        }
    }

    #[test]
    fn p13_2_the_virtual_address_is_a_domain() {
        let seen = domains("forecast.weather", 3002, "example.com", Some("10.96.0.7"));
        assert_eq!(
            seen,
            [
                "forecast.weather",
                "forecast.weather:3002",
                "10.96.0.7",
                "10.96.0.7:3002"
            ]
        );
        let seen = domains("forecast.weather", 3002, "example.com", Some("fd00::7"));
        assert_eq!(seen[2..], ["[fd00::7]", "[fd00::7]:3002"]);
    }

    #[test]
    fn p13_2_a_configuration_for_all_ports_names_them() {
        let host = HostDomains {
            host: "bookinfo.com".into(),
            port: 9999,
            shared_labels: 0,
            has_pods: false,
            addresses: Vec::new(),
            port_only: true,
            taken: Vec::new(),
        };
        assert_eq!(host.to_vec(), ["bookinfo.com:9999"]);
    }

    #[test]
    fn names_of_other_virtual_hosts_are_left_out() {
        let host = HostDomains {
            host: "a.b.c".into(),
            port: 80,
            shared_labels: 2,
            has_pods: false,
            addresses: Vec::new(),
            port_only: false,
            taken: vec!["a".into()],
        };
        assert_eq!(host.to_vec(), ["a.b.c", "a.b.c:80", "a.b", "a.b:80"]);
    }

    #[test]
    fn pain_15_names_of_pods_stand_under_each_name_of_a_headless_service() {
        let host = HostDomains {
            host: "db.apps.local".into(),
            port: 80,
            shared_labels: 1,
            has_pods: true,
            addresses: Vec::new(),
            port_only: true,
            taken: vec!["*.db.apps".into()],
        };
        assert_eq!(
            host.to_vec(),
            ["db.apps.local:80", "*.db.apps.local:80", "db.apps:80"]
        );
    }
}
