//! The addresses of this machine.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{info, warn};

/// How long is waited for an address, and how often is looked (spec 05 §3.2, `--ip`).
const WAIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// The addresses that others can reach, in the order of the interfaces.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            warn!(%error, "cannot list the network interfaces");
            return Vec::new();
        }
    };
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| {
            address
                .as_sockaddr_in6()
                .map(|address| IpAddr::from(address.ip()))
        })
    });
    addresses.filter(is_reachable).collect()
}

/// Waits until there is an address, at most two minutes.
pub async fn wait_for_addresses() -> Vec<IpAddr> {
    let found = async {
        loop {
            let addresses = addresses();
            if !addresses.is_empty() {
                return addresses;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(WAIT, found).await.unwrap_or_else(|_| {
        info!("no interface has an address");
        Vec::new()
    })
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}
