//! Addresses: pods one after another, services by their names.
//!
//! Every mesh has a network of its own, so all meshes use the same addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The node: gateway and name server of all pods.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 1);

/// The node's own name server. It belongs to the network outside of the cluster, and knows no service.
pub(crate) const NODE_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 45, 0, 53);

/// Pods have 10.44.0.2 to 10.44.255.254.
const PODS: (u32, u32) = (
    u32::from_be_bytes([10, 44, 0, 2]),
    u32::from_be_bytes([10, 44, 255, 254]),
);

/// The addresses of services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";

/// Services have 10.96.0.1 to 10.96.255.254.
const SERVICES: (u32, u32) = (
    u32::from_be_bytes([10, 96, 0, 1]),
    u32::from_be_bytes([10, 96, 255, 254]),
);

/// Hands out pod addresses. A freed address is the last to be used again: whoever still remembers it must not
/// meet another pod there. Networks of clusters may be less careful.
#[derive(Debug)]
pub(crate) struct PodAddresses {
    next: u32,
    used: BTreeSet<u32>,
    /// The next pod gets the lowest free address.
    reuse: bool,
}

// === impl PodAddresses ===

impl Default for PodAddresses {
    fn default() -> Self {
        Self {
            next: PODS.0,
            used: BTreeSet::new(),
            reuse: false,
        }
    }
}

impl PodAddresses {
    /// Addresses that the next pod takes over from the last one that has ended.
    pub(crate) fn reused_at_once() -> Self {
        Self {
            reuse: true,
            ..Self::default()
        }
    }

    /// The next free address; `None` when 65 thousand pods run.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let free = (self.next..=PODS.1)
            .chain(PODS.0..self.next)
            .find(|address| !self.used.contains(address))?;
        self.used.insert(free);
        self.next = if self.reuse || free == PODS.1 {
            PODS.0
        } else {
            free + 1
        };
        Some(Ipv4Addr::from(free))
    }

    /// Gives an address back. Others than those of pods, such as that of the node, are left alone.
    pub(crate) fn free(&mut self, address: Ipv4Addr) {
        self.used.remove(&u32::from(address));
    }
}

/// Cluster addresses of services, by `(namespace, name)`.
///
/// An address depends on the name alone unless two names collide, so that it survives restarts and is the same in
/// every mesh. `fixed` are the addresses that services ask for.
pub(crate) fn service_addresses<'a>(
    names: impl IntoIterator<Item = (&'a str, &'a str)>,
    fixed: &BTreeSet<Ipv4Addr>,
) -> BTreeMap<(String, String), Ipv4Addr> {
    let mut used: BTreeSet<u32> = fixed.iter().copied().map(u32::from).collect();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    let size = SERVICES.1 - SERVICES.0 + 1;
    let mut addresses = BTreeMap::new();
    for (namespace, name) in names {
        let start = hash(namespace, name) % size;
        let free = (0..size)
            .map(|step| SERVICES.0 + (start + step) % size)
            .find(|a| used.insert(*a));
        if let Some(address) = free {
            addresses.insert((namespace.to_owned(), name.to_owned()), Ipv4Addr::from(address));
        }
    }
    addresses
}

/// FNV-1a: stable over releases and platforms.
fn hash(namespace: &str, name: &str) -> u32 {
    let bytes = namespace.bytes().chain([b'/']).chain(name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_pod_address_is_not_used_again_at_once() {
        let mut addresses = PodAddresses::default();
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 44, 0, 2));
        addresses.free(first);
        assert_ne!(addresses.take().unwrap(), first);
    }

    #[test]
    fn a_freed_pod_address_is_the_next_where_that_is_wanted() {
        let mut addresses = PodAddresses::reused_at_once();
        let [first, second] = [addresses.take().unwrap(), addresses.take().unwrap()];
        assert_ne!(first, second);
        addresses.free(first);
        assert_eq!(addresses.take().unwrap(), first);
    }

    #[test]
    fn all_pod_addresses_can_be_taken_and_come_back() {
        let mut addresses = PodAddresses::default();
        let count = std::iter::from_fn(|| addresses.take()).count();
        assert_eq!(count, (PODS.1 - PODS.0 + 1) as usize);
        addresses.free(Ipv4Addr::new(10, 44, 7, 7));
        assert_eq!(addresses.take(), Some(Ipv4Addr::new(10, 44, 7, 7)));
    }

    #[test]
    fn a_service_keeps_its_address_when_others_come_and_go() {
        let few = service_addresses([("weather", "forecast")], &BTreeSet::new());
        let many = service_addresses(
            [
                ("weather", "frontend"),
                ("weather", "forecast"),
                ("default", "forecast"),
            ],
            &BTreeSet::new(),
        );
        let key = ("weather".to_owned(), "forecast".to_owned());
        assert_eq!(few[&key], many[&key]);
        assert_eq!(many.values().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn an_address_that_a_service_asks_for_is_left_to_it() {
        let name = ("weather".to_owned(), "forecast".to_owned());
        let wanted = service_addresses([("weather", "forecast")], &BTreeSet::new())[&name];
        let moved = service_addresses([("weather", "forecast")], &BTreeSet::from([wanted]))[&name];
        assert_ne!(wanted, moved);
    }
}
