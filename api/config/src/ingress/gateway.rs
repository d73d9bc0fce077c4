//! The Gateway of an Ingress: its TLS, and plain HTTP.

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3::server::TlsOptions;
use mesh_api::istio::networking::v1alpha3::server::tls_options::TlSmode;
use mesh_api::istio::networking::v1alpha3::{Gateway, Port, Server};
use mesh_api::k8s::io::api::networking::v1::IngressTls;

use super::{Converted, Flavour, Ingress};
use crate::{ConfigKey, Protocol, Timestamp, validation};

/// The label of the proxies that the Gateways are for.
const SELECTOR: (&str, &str) = ("istio", "ingress");
/// Where the certificate for Ingresses is mounted.
const KEY: &str = "/etc/istio/ingress-certs/tls.key";
const CHAIN: &str = "/etc/istio/ingress-certs/tls.crt";

/// The servers by Gateway. Ingresses of one name in several namespaces share one, as their Gateways have one name.
#[derive(Default)]
pub(super) struct Gateways(BTreeMap<ConfigKey, (Timestamp, Vec<Server>)>);

// === impl Gateways ===

impl Gateways {
    /// Adds the servers of an Ingress: one for each certificate, and the one without.
    pub(super) fn add(&mut self, flavour: &Flavour, ingress: &Ingress<'_>, converted: &mut Converted) {
        let key = &ingress.meta.key;
        let (_, servers) = self
            .0
            .entry(flavour.gateway_of(&key.name))
            .or_insert((ingress.meta.created, Vec::new()));
        let name = flavour.port_name("https", 443, key);
        for (index, certificate) in certificates(&ingress.spec.tls).into_iter().enumerate() {
            let mut server = certificate.server(match index {
                0 => name.clone(),
                _ => format!("{name}-{index}"),
            });
            // What one entry says wrong must not spoil the others.
            server.hosts = certificate.hosts(key, converted);
            if !server.hosts.is_empty() {
                servers.push(server);
            }
        }
        servers.push(server(80, Protocol::Http, flavour.port_name("http", 80, key)));
    }

    /// Hands the Gateways over.
    pub(super) fn finish(self, converted: &mut Converted) {
        for (key, (created, servers)) in self.0 {
            let gateway = Gateway {
                servers,
                selector: BTreeMap::from([(SELECTOR.0.to_owned(), SELECTOR.1.to_owned())]),
            };
            converted.insert(key, created, &gateway);
        }
    }
}

/// Entries of `spec.tls` that name one Secret.
struct Certificate<'a> {
    secret: &'a str,
    /// Whether it is the one that is mounted.
    is_mounted: bool,
    entries: Vec<(usize, &'a IngressTls)>,
}

/// The certificates that an Ingress asks for. The first one is that which is mounted, as in 1.1.
fn certificates(tls: &[IngressTls]) -> Vec<Certificate<'_>> {
    let mut certificates: Vec<Certificate<'_>> = Vec::new();
    for (index, entry) in tls.iter().enumerate() {
        let secret = entry.secret_name();
        match certificates.iter_mut().find(|known| known.secret == secret) {
            Some(known) => known.entries.push((index, entry)),
            None => certificates.push(Certificate {
                secret,
                is_mounted: index == 0,
                entries: vec![(index, entry)],
            }),
        }
    }
    certificates
}

// === impl Certificate ===

impl Certificate<'_> {
    /// A gateway that fetches secrets fetches this one; others have what is mounted, for the first certificate only:
    /// for another one it would be the wrong one. No authorities are named, as 1.1 did: clients are not asked who they are,
    /// and Envoy takes no listener that names a file which a Secret of type `kubernetes.io/tls` does not have.
    fn server(&self, name: String) -> Server {
        let mut tls = TlsOptions {
            mode: TlSmode::Simple.into(),
            credential_name: self.secret.to_owned(),
            ..TlsOptions::default()
        };
        if self.is_mounted {
            tls.private_key = KEY.to_owned();
            tls.server_certificate = CHAIN.to_owned();
        }
        Server {
            tls: Some(tls),
            ..server(443, Protocol::Https, name)
        }
    }

    /// The names that it is for; those that are none are reported.
    fn hosts(&self, key: &ConfigKey, converted: &mut Converted) -> Vec<String> {
        let mut hosts = Vec::new();
        for (index, entry) in &self.entries {
            if !self.is_mounted && self.secret.is_empty() {
                let reason =
                    "names no secret: only the first entry can be served from the mounted certificate";
                converted.warn(key, format!("tls[{index}].secretName"), reason);
                continue;
            }
            if entry.hosts.is_empty() {
                hosts.push("*".to_owned());
            }
            for (place, host) in entry.hosts.iter().enumerate() {
                match validation::public_host(host) {
                    Ok(()) => hosts.push(host.clone()),
                    Err(reason) => converted.warn(key, format!("tls[{index}].hosts[{place}]"), reason),
                }
            }
        }
        hosts.sort();
        hosts.dedup();
        hosts
    }
}

/// A server for all hosts.
fn server(number: u32, protocol: Protocol, name: String) -> Server {
    Server {
        port: Some(Port {
            number,
            protocol: protocol.to_string(),
            name,
        }),
        hosts: vec!["*".to_owned()],
        ..Server::default()
    }
}
