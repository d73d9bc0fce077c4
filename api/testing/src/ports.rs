//! Ports that nobody else has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

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

/// A port of loopback that was free a moment ago, for programs that insist on a number.
///
/// The system hands out other ports first for a while, so a clash is unlikely but possible; prefer port 0 and reading
/// the number back from the program.
///
/// # Errors
///
/// When the system has no port left.
pub fn unused() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
