//! Answers name queries of the pods.

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::wire::{Answer, Query};
use super::zone::Zone;

/// Answers every query that arrives at `socket` from the newest zone. Never ends.
pub(crate) async fn serve(socket: UdpSocket, zone: watch::Receiver<Arc<Zone>>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // Such as an unreachable peer of an earlier answer.
                debug!(%error, "dns: cannot receive");
                continue;
            }
        };
        let Some(query) = Query::parse(&buffer[..length]) else {
            continue;
        };
        let zone = Arc::clone(&zone.borrow());
        let answer = if query.kind == 0 {
            Answer::NotImplemented
        } else {
            zone.answer(&query)
        };
        if let Err(error) = socket.send_to(&query.respond(&answer), peer).await {
            warn!(%error, %peer, "dns: cannot answer");
        }
    }
}
