//! Ports that nobody else has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::TcpListener;

/// Below what Linux hands out by itself, above what Istio's own components listen on.
const PORTS: Range<u16> = 20_000..32_000;

/// Spreads processes, whose numbers are neighbours, over [`PORTS`].
const SCATTER: u32 = 1009;

/// What this process tries next, as an offset in [`PORTS`].
static NEXT: OnceLock<AtomicU32> = OnceLock::new();

/// Listens on a port of loopback that the system picks.
///
/// Hand the listener to the server: there is no moment at which somebody else can take the port.
///
/// # Errors
///
/// When the system has no port left.
pub async fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A port that was free a moment ago on every address, for programs that insist on a number; prefer port 0 and reading the
/// number back from the program.
///
/// It is below those that the system hands out by itself, so that no connection takes it meanwhile, and this process gets
/// none twice until it has had them all.
///
/// # Errors
///
/// When no port is left.
pub fn unused() -> io::Result<u16> {
    let offset = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(SCATTER)));
    for _ in PORTS {
        let step = offset.fetch_add(1, Ordering::Relaxed) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(step).map_err(io::Error::other)?;
        match std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_not_those_of_the_system() {
        let first = unused().unwrap();
        let _taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let second = unused().unwrap();
        assert_ne!(first, second);
        let system = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let lowest: u16 = system.split_whitespace().next().unwrap().parse().unwrap();
        assert!(lowest < PORTS.end || first.max(second) < lowest);
    }
}
