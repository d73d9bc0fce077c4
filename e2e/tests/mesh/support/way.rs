//! A port of this machine that leads into a pod's network: a load sent there is captured by the pod's sidecar.

use std::net::SocketAddr;

use anyhow::Result;
use hyper::Uri;
use tokio::net::TcpListener;

use super::Caller;

/// An open port; closed with the future that [`Caller::way`] hands out beside it.
pub(crate) struct Way {
    address: SocketAddr,
}

// === impl Way ===

impl Way {
    /// URL of a path behind the port.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

// === impl Caller ===

impl Caller<'_> {
    /// Opens a port through which connections reach where `url` leads to from inside of the pod. It works as long as
    /// the future is polled.
    pub(crate) async fn way(self, url: &str) -> Result<(Way, impl Future<Output = ()>)> {
        let uri: Uri = url.parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let way = Way {
            address: listener.local_addr()?,
        };
        let relay = async move {
            let connections = async |mut outside: tokio::net::TcpStream| {
                // Whoever waits for an answer notices that there is none.
                let Ok(mut inside) = self.connect(&uri).await else {
                    return;
                };
                let _ = (outside.set_nodelay(true), inside.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            };
            let accepted = futures::stream::unfold(listener, async |listener| {
                let accepted = listener.accept().await.ok()?;
                Some((accepted.0, listener))
            });
            futures::StreamExt::for_each_concurrent(accepted, None, connections).await;
        };
        Ok((way, relay))
    }
}
