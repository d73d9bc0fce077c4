//! The networks that a mesh spans (P7.3): which endpoints belong to which, and how others get in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use mesh_api::istio::mesh::v1alpha1::MeshNetworks;
use mesh_api::istio::mesh::v1alpha1::network::istio_network_gateway::Gw;
use mesh_api::istio::mesh::v1alpha1::network::network_endpoints::Ne;
use mesh_config::{Host, Str};

/// The networks as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// By name.
    networks: BTreeMap<Str, Network<GatewayAddress>>,
}

/// The networks with the addresses of their gateways.
///
/// Nothing but networks and the services that gateways are named by goes into it, so it stays the same while other
/// services come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkTable {
    networks: BTreeMap<Str, Network<SocketAddr>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Network<G> {
    /// What belongs to it by address.
    ranges: Vec<IpNet>,
    /// The registries all of whose endpoints belong to it.
    registries: BTreeSet<Str>,
    /// Where connections from other networks enter: sorted, unique.
    gateways: Vec<G>,
}

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GatewayAddress {
    Ip(SocketAddr),
    /// Wherever a service of the mesh is reached from outside, and the port.
    Service(Host, u16),
}

// === impl Networks ===

impl Networks {
    /// Reads networks. Pure, hence the addresses behind names of gateways are given, by name.
    pub fn new(networks: &MeshNetworks, resolved: &BTreeMap<String, BTreeSet<IpAddr>>) -> Self {
        let networks = networks.networks.iter().map(|(name, network)| {
            let mut ranges = Vec::new();
            let mut registries = BTreeSet::new();
            for endpoints in &network.endpoints {
                match &endpoints.ne {
                    Some(Ne::FromCidr(range)) => ranges.extend(parse_range(range)),
                    Some(Ne::FromRegistry(registry)) => {
                        registries.insert(registry.as_str().into());
                    }
                    None => {}
                }
            }
            let mut gateways = BTreeSet::new();
            for gateway in &network.gateways {
                let Some(port) = u16::try_from(gateway.port).ok().filter(|port| *port != 0) else {
                    continue;
                };
                match &gateway.gw {
                    Some(Gw::Address(address)) => {
                        let literal = address.parse().ok();
                        let ips = literal.iter().chain(resolved.get(address).into_iter().flatten());
                        gateways.extend(ips.map(|ip| GatewayAddress::Ip(SocketAddr::new(*ip, port))));
                    }
                    Some(Gw::RegistryServiceName(host)) => {
                        gateways.insert(GatewayAddress::Service(host.as_str().into(), port));
                    }
                    None => {}
                }
            }
            let network = Network {
                ranges,
                registries,
                gateways: gateways.into_iter().collect(),
            };
            (name.as_str().into(), network)
        });
        Self {
            networks: networks.collect(),
        }
    }

    /// The names of gateways that are to be resolved.
    pub fn names(networks: &MeshNetworks) -> BTreeSet<String> {
        let gateways = networks.networks.values().flat_map(|network| &network.gateways);
        gateways
            .filter_map(|gateway| match &gateway.gw {
                Some(Gw::Address(address)) if address.parse::<IpAddr>().is_err() => Some(address.clone()),
                _ => None,
            })
            .collect()
    }

    /// Whether a change of services may change where gateways are.
    pub(crate) fn names_services(&self) -> bool {
        let mut gateways = self.networks.values().flat_map(|network| &network.gateways);
        gateways.any(|gateway| matches!(gateway, GatewayAddress::Service(..)))
    }

    /// Looks services up. `addresses` are those at which a service is reached from outside of its network.
    pub(crate) fn resolve(&self, addresses: impl Fn(&Host) -> BTreeSet<IpAddr>) -> NetworkTable {
        let networks = self.networks.iter().map(|(name, network)| {
            let mut gateways = BTreeSet::new();
            for gateway in &network.gateways {
                match gateway {
                    GatewayAddress::Ip(address) => {
                        gateways.insert(*address);
                    }
                    GatewayAddress::Service(host, port) => {
                        gateways.extend(addresses(host).into_iter().map(|ip| SocketAddr::new(ip, *port)));
                    }
                }
            }
            let network = Network {
                ranges: network.ranges.clone(),
                registries: network.registries.clone(),
                gateways: gateways.into_iter().collect(),
            };
            (name.clone(), network)
        });
        NetworkTable {
            networks: networks.collect(),
        }
    }
}

// === impl NetworkTable ===

impl NetworkTable {
    /// Whether there is none: endpoints are then reached as they are (P10.5).
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// The network of an endpoint that names none itself: that of its registry, else the narrowest range that holds
    /// its address (P4.2).
    pub fn of_endpoint(&self, registry: &str, ip: Option<IpAddr>) -> Option<&Str> {
        let of_registry = self
            .networks
            .iter()
            .find(|(_, network)| network.registries.contains(registry));
        if let Some((name, _)) = of_registry {
            return Some(name);
        }
        let ip = ip?;
        let mut narrowest: Option<(u8, &Str)> = None;
        for (name, network) in &self.networks {
            for range in network.ranges.iter().filter(|range| range.contains(&ip)) {
                if narrowest.is_none_or(|(length, _)| range.prefix_len() > length) {
                    narrowest = Some((range.prefix_len(), name));
                }
            }
        }
        narrowest.map(|(_, name)| name)
    }

    /// Where connections from other networks enter a network; nothing when it is unknown.
    pub fn gateways(&self, network: &str) -> &[SocketAddr] {
        self.networks
            .get(network)
            .map_or(&[], |network| network.gateways.as_slice())
    }

    /// How many gateways each network has.
    pub fn gateway_counts(&self) -> impl Iterator<Item = usize> {
        self.networks.values().map(|network| network.gateways.len())
    }
}

/// A range, or an address as a range of one.
fn parse_range(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::mesh::v1alpha1::Network;
    use mesh_api::istio::mesh::v1alpha1::network::{IstioNetworkGateway, NetworkEndpoints};

    use super::*;

    fn gateway(gw: Gw, port: u32) -> IstioNetworkGateway {
        IstioNetworkGateway {
            gw: Some(gw),
            port,
            ..IstioNetworkGateway::default()
        }
    }

    fn range(cidr: &str) -> NetworkEndpoints {
        NetworkEndpoints {
            ne: Some(Ne::FromCidr(cidr.to_owned())),
        }
    }

    fn mesh_networks() -> MeshNetworks {
        let by_range = Network {
            endpoints: vec![range("10.0.0.0/8"), range("192.0.2.7")],
            gateways: vec![
                gateway(Gw::Address("2.2.2.2".to_owned()), 443),
                gateway(Gw::Address("1.1.1.1".to_owned()), 443),
                gateway(Gw::Address("edge.example.com".to_owned()), 15443),
                gateway(Gw::Address("3.3.3.3".to_owned()), 0),
            ],
        };
        let by_registry = Network {
            endpoints: vec![NetworkEndpoints {
                ne: Some(Ne::FromRegistry("east".to_owned())),
            }],
            gateways: vec![gateway(
                Gw::RegistryServiceName("gateway.istio-system.svc.cluster.local".to_owned()),
                443,
            )],
        };
        let narrower = Network {
            endpoints: vec![range("10.9.0.0/16"), range("not a range")],
            gateways: Vec::new(),
        };
        let networks = [("n1", by_range), ("n2", by_registry), ("n3", narrower)];
        MeshNetworks {
            networks: networks.map(|(name, network)| (name.to_owned(), network)).into(),
        }
    }

    fn table(resolved: &[(&str, [u8; 4])]) -> NetworkTable {
        let resolved = resolved
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), BTreeSet::from([IpAddr::from(*ip)])))
            .collect();
        Networks::new(&mesh_networks(), &resolved).resolve(|host| {
            assert_eq!(host.as_str(), "gateway.istio-system.svc.cluster.local");
            BTreeSet::from([[9, 9, 9, 9].into()])
        })
    }

    #[test]
    fn p4_2_the_registry_decides_before_the_narrowest_range() {
        let table = table(&[]);
        let of = |registry, ip: &str| table.of_endpoint(registry, ip.parse().ok()).map(|name| &**name);
        assert_eq!(of("west", "10.1.0.1"), Some("n1"));
        assert_eq!(of("west", "10.9.0.1"), Some("n3"));
        assert_eq!(of("west", "192.0.2.7"), Some("n1"));
        assert_eq!(of("west", "192.0.2.8"), None);
        assert_eq!(of("east", "10.1.0.1"), Some("n2"));
        assert_eq!(table.of_endpoint("west", None), None);
    }

    #[test]
    fn p10_5_gateways_are_addresses_names_and_services() {
        let edge = ("edge.example.com", [4, 4, 4, 4]);
        let gateways = |table: &NetworkTable, network| -> Vec<String> {
            table.gateways(network).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            gateways(&table(&[edge]), "n1"),
            ["1.1.1.1:443", "2.2.2.2:443", "4.4.4.4:15443"]
        );
        assert_eq!(gateways(&table(&[]), "n1"), ["1.1.1.1:443", "2.2.2.2:443"]);
        assert_eq!(gateways(&table(&[]), "n2"), ["9.9.9.9:443"]);
        assert_eq!(gateways(&table(&[]), "n3"), [""; 0]);
        assert_eq!(gateways(&table(&[]), "unknown"), [""; 0]);
        assert_eq!(
            Networks::names(&mesh_networks()),
            BTreeSet::from(["edge.example.com".to_owned()])
        );
        assert!(Networks::new(&mesh_networks(), &BTreeMap::new()).names_services());
    }
}
