//! The names of services (pure).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::wire::{Answer, Query, Record, TYPE_A, TYPE_CNAME};

/// Domain of the cluster.
pub(crate) const DOMAIN: &str = "cluster.local";

/// What is known about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    names: BTreeMap<String, Entry>,
}

/// What a service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// The cluster address, or the ready pods of a headless service.
    Addresses(Vec<Ipv4Addr>),
    /// A name outside of the cluster.
    Alias(String),
}

// === impl Zone ===

impl Zone {
    /// A service with addresses; with none the name exists but leads nowhere.
    pub(crate) fn insert(&mut self, namespace: &str, service: &str, mut addresses: Vec<Ipv4Addr>) {
        addresses.sort_unstable();
        self.names
            .insert(full_name(namespace, service), Entry::Addresses(addresses));
    }

    /// A service that stands for a name elsewhere (`ExternalName`).
    pub(crate) fn insert_alias(&mut self, namespace: &str, service: &str, target: &str) {
        let target = target.trim_end_matches('.').to_ascii_lowercase();
        self.names
            .insert(full_name(namespace, service), Entry::Alias(target));
    }

    /// Answers a query. Short names are completed by the asking side, through the search list of its pod.
    pub(super) fn answer(&self, query: &Query) -> Answer {
        let Some(entry) = self.names.get(&query.name) else {
            return Answer::NoSuchName;
        };
        Answer::Records(match (entry, query.kind) {
            (Entry::Addresses(addresses), TYPE_A) => addresses.iter().copied().map(Record::A).collect(),
            (Entry::Alias(target), TYPE_A | TYPE_CNAME) => vec![Record::Cname(target.clone())],
            // The name exists and has no such records (IPv6 addresses, for one).
            _ => Vec::new(),
        })
    }
}

fn full_name(namespace: &str, service: &str) -> String {
    format!("{service}.{namespace}.svc.{DOMAIN}")
}

/// The resolver settings of a pod.
pub(crate) fn resolv_conf(namespace: &str, server: Ipv4Addr) -> String {
    format!("nameserver {server}\nsearch {namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\noptions ndots:5\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(zone: &Zone, name: &str, kind: u16) -> Answer {
        let mut message = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        zone.answer(&Query::parse(&message).unwrap())
    }

    #[test]
    fn services_aliases_and_strangers_are_told_apart() {
        let address = Ipv4Addr::new(10, 96, 0, 7);
        let mut zone = Zone::default();
        zone.insert("weather", "forecast", vec![address]);
        zone.insert("weather", "empty", Vec::new());
        zone.insert_alias("weather", "outside", "Example.com.");
        let full = |name: &str| format!("{name}.weather.svc.cluster.local");
        assert_eq!(
            ask(&zone, &full("forecast"), TYPE_A),
            Answer::Records(vec![Record::A(address)])
        );
        assert_eq!(ask(&zone, &full("forecast"), 28), Answer::Records(Vec::new()));
        assert_eq!(ask(&zone, &full("empty"), TYPE_A), Answer::Records(Vec::new()));
        let alias = Answer::Records(vec![Record::Cname("example.com".to_owned())]);
        assert_eq!(ask(&zone, &full("outside"), TYPE_A), alias);
        assert_eq!(ask(&zone, "forecast.weather", TYPE_A), Answer::NoSuchName);
    }

    #[test]
    fn a_pod_completes_short_names_in_its_namespace_first() {
        assert_eq!(
            resolv_conf("weather", Ipv4Addr::new(10, 44, 0, 1)),
            "nameserver 10.44.0.1\nsearch weather.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        );
    }
}
