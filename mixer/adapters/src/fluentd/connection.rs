//! The connection to Fluentd.

use std::io;
use std::time::Duration;

use mesh_runtime::args::HostPort;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time;

use crate::batch::{BackEnd, SendError};

/// What Fluentd may send us at once. We ask for nothing, so that it is not looked at.
const UNASKED: usize = 1024;

/// Connects when there is something to send, and again when the connection has died.
#[derive(Debug)]
pub(super) struct Connection {
    address: HostPort,
    timeout: Duration,
    stream: Option<TcpStream>,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(address: HostPort, timeout: Duration) -> Self {
        Self {
            address,
            timeout,
            stream: None,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => {
                let host = self.address.host.as_deref().unwrap_or("localhost");
                let stream = TcpStream::connect((host, self.address.port)).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        // Kept only if all of it was written: a part of a message would spoil what follows.
        let stream = self.stream.insert(stream);
        let written = stream.write_all(bytes).await;
        if written.is_err() {
            self.stream = None;
        }
        written
    }
}

impl BackEnd for Connection {
    async fn send(&mut self, batch: &[u8]) -> Result<(), SendError> {
        let written = time::timeout(self.timeout, self.write(batch)).await;
        let address = &self.address;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SendError::Away(format!("{address}: {error}"))),
            Err(_) => {
                self.stream = None;
                let limit = self.timeout;
                Err(SendError::Away(format!("{address} takes longer than {limit:?}")))
            }
        }
    }
}

/// Whether the other side has not closed the connection: what is written into such a one is lost without a word.
fn is_open(stream: &TcpStream) -> bool {
    let mut unasked = [0; UNASKED];
    loop {
        match stream.try_read(&mut unasked) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
