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

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// The cluster address, or the ready pods of a headless service; the address of a node.
    Addresses(Vec<Ipv4Addr>),
    /// A name outside of the cluster.
    Alias(String),
}

// === impl Zone ===

impl Zone {
    /// What a node's own resolver knows: the node.
    pub(crate) fn of_node(name: &str, address: Ipv4Addr) -> Self {
        Self {
            names: BTreeMap::from([(name.to_owned(), Entry::Addresses(vec![address]))]),
        }
    }

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
    fn the_nodes_own_resolver_knows_the_node_and_no_service() {
        let zone = Zone::of_node("node-1", Ipv4Addr::new(10, 44, 0, 1));
        let address = Answer::Records(vec![Record::A(Ipv4Addr::new(10, 44, 0, 1))]);
        assert_eq!(ask(&zone, "node-1", TYPE_A), address);
        assert_eq!(
            ask(&zone, "kubernetes.default.svc.cluster.local", TYPE_A),
            Answer::NoSuchName
        );
    }
}
