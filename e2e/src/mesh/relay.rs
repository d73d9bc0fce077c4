//! TCP relays between the machine and the mesh: its ingress, the administration ports of its Envoys, its API server.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::Spawner;
use mesh_runtime::task::AbortOnDrop;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use super::sockets::{Sockets, loopback};

/// How long a relay tries to reach its target.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a relay leads at the moment: a process in the network to connect from, and an address.
pub(crate) type Target = Arc<dyn Fn() -> Option<(i32, SocketAddrV4)> + Send + Sync>;

/// A listening port on the loopback address of the machine. Closed when dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    _accepting: AbortOnDrop,
}

// === impl Relay ===

impl Relay {
    /// Listens on `preferred` if it is free, else on any free port.
    pub(crate) async fn start(
        preferred: Option<u16>,
        sockets: Sockets,
        target: Target,
        spawner: &Spawner,
    ) -> io::Result<Self> {
        let listener = match preferred {
            Some(port) => match TcpListener::bind(loopback(port)).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(loopback(0)).await?,
            },
            None => TcpListener::bind(loopback(0)).await?,
        };
        let port = listener.local_addr()?.port();
        let connections = spawner.clone();
        let accepting = spawner.spawn(format!("relay {port}"), async move {
            accept(listener, sockets, target, connections).await;
        });
        Ok(Self {
            port,
            _accepting: accepting.abort_on_drop(),
        })
    }

    /// `127.0.0.1:port`
    pub(crate) fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }
}

/// Carries connections from inside the mesh to a port of the machine's loopback address.
pub(crate) fn inward(listener: TcpListener, port: u16, spawner: &Spawner) -> AbortOnDrop {
    let connections = spawner.clone();
    let accepting = spawner.spawn(format!("way out to {port}"), async move {
        loop {
            let Ok((mut inbound, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            connections.spawn("connection out", async move {
                // Closed where nobody listens, as it would be there.
                if let Ok(mut outbound) = TcpStream::connect(loopback(port)).await {
                    let _ = outbound.set_nodelay(true);
                    let _ = inbound.set_nodelay(true);
                    let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                }
            });
        }
    });
    accepting.abort_on_drop()
}

async fn accept(listener: TcpListener, sockets: Sockets, target: Target, spawner: Spawner) {
    loop {
        let Ok((mut inbound, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: wait for some to come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some((pid, address)) = target() else { continue };
        let sockets = sockets.clone();
        spawner.spawn("relayed connection", async move {
            let _ = inbound.set_nodelay(true);
            match sockets.connect(pid, address, CONNECT_TIMEOUT).await {
                Ok(mut outbound) => {
                    let _ = outbound.set_nodelay(true);
                    // Either side may end the connection at any time; both see it.
                    let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                }
                Err(error) => debug!(%address, %error, "relay: cannot connect"),
            }
        });
    }
}
