//! Where listeners listen.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use mesh_api::envoy::config::core::v3::Address;
use mesh_api::envoy::config::listener::v3::AdditionalAddress;
use mesh_config::Str;
use pilot_model::Proxy;

use super::Access;
use crate::{envoy, name};

/// Where a listener listens. Envoy takes each only once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum At {
    Port(IpAddr, u16),
    /// The path of a Unix socket.
    Socket(Str),
}

/// Which addresses all addresses are: Envoy takes connections to those of one family only, unless it is told both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Families {
    V4,
    V6,
    Both,
}

// === impl Families ===

impl Families {
    /// Those of the addresses that a proxy has.
    pub(super) fn of(proxy: &Proxy) -> Self {
        let has_v6 = proxy.ips.iter().any(IpAddr::is_ipv6);
        match proxy.ips.iter().any(IpAddr::is_ipv4) {
            true if has_v6 => Self::Both,
            false if has_v6 => Self::V6,
            _ => Self::V4,
        }
    }
}

// === impl At ===

impl At {
    /// Whether it is a port of all addresses.
    pub(super) fn is_any_address(&self) -> bool {
        matches!(self, Self::Port(address, _) if address.is_unspecified())
    }

    /// The address; `None` for a socket.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Port(address, _) => Some(*address),
            Self::Socket(_) => None,
        }
    }

    /// The port, 0 for a socket.
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Port(_, port) => *port,
            Self::Socket(_) => 0,
        }
    }

    /// The name of a listener there.
    ///
    /// Where the others of the proxy are captured, one that is opened has another name: Envoy keeps the socket, or the lack
    /// of one, of a listener that changes in place.
    pub(super) fn listener_name(&self, captured: bool, access: Access) -> Str {
        match self {
            Self::Port(..) if captured && access == Access::Bound => format!("{self}_bound").into(),
            _ => self.to_string().into(),
        }
    }

    pub(super) fn to_envoy(&self, families: Families) -> Address {
        match self {
            Self::Port(_, port) if self.is_any_address() && families == Families::V6 => all_v6(*port),
            Self::Port(address, port) => envoy::socket_address(address.to_string(), *port),
            Self::Socket(path) => envoy::unix_socket(path),
        }
    }

    /// Where it is too.
    pub(super) fn further(&self, families: Families) -> Vec<AdditionalAddress> {
        match self {
            Self::Port(address, port)
                if families == Families::Both && address.is_unspecified() && address.is_ipv4() =>
            {
                vec![AdditionalAddress {
                    address: Some(all_v6(*port)),
                    ..AdditionalAddress::default()
                }]
            }
            _ => Vec::new(),
        }
    }
}

fn all_v6(port: u16) -> Address {
    envoy::socket_address(Ipv6Addr::UNSPECIFIED.to_string(), port)
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address, port) => f.write_str(&name::listener(*address, *port)),
            Self::Socket(path) => f.write_str(&name::socket(path)),
        }
    }
}
