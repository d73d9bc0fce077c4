//! One proxy on one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mesh_api::envoy::config::core::v3::Node;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::fleet::{Milestone, Shared};
use super::session::Session;
use super::wire::{PartsCodec, Response};

/// What Envoy lets a server send ahead, on a connection and on a stream.
const WINDOW: u32 = 256 << 20;
/// What is left of it for a proxy that stops reading.
const SMALL_WINDOW: u32 = 64 << 10;
/// How long a proxy waits before it opens a lost stream again.
const PAUSE: Duration = Duration::from_secs(1);

/// A proxy.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its number in the fleet.
    pub(crate) index: usize,
    /// Who it says it is.
    pub(crate) node: Node,
    /// Whether it stops reading once it has its configuration.
    pub(crate) is_stuck: bool,
    pub(crate) shared: Arc<Shared>,
}

/// What a client knows about the change that it waits for.
#[derive(Debug, Default)]
struct Progress {
    expectation: u32,
    found: Vec<bool>,
}

// === impl Client ===

impl Client {
    /// Asks for configuration until aborted.
    pub(crate) async fn run(self) {
        loop {
            if let Err(error) = self.stream().await {
                self.shared.lost(self.index, &error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn stream(&self) -> Result<()> {
        let protocol = self.shared.protocol;
        let mut session = Session::new(protocol, self.node.clone());
        let mut grpc = Grpc::new(self.connect().await?).max_decoding_message_size(usize::MAX);
        grpc.ready().await.context("cannot connect")?;
        let (requests, receiver) = mpsc::unbounded_channel();
        // The other end lives as long as the stream below.
        let _ = requests.send(session.open());
        let mut responses: Streaming<Bytes> = grpc
            .streaming(
                Request::new(UnboundedReceiverStream::new(receiver)),
                http::uri::PathAndQuery::from_static(protocol.method()),
                PartsCodec,
            )
            .await?
            .into_inner();

        let mut is_complete = false;
        let mut progress = Progress::default();
        loop {
            let message = responses.message().await?.context("the stream was closed")?;
            let at = Instant::now();
            let response = Response::scan(protocol, message.clone())?;
            self.shared.tally(&response, message.len());
            for request in session.on_response(&response, |names| self.shared.intern(names))? {
                let _ = requests.send(request);
            }
            if session.is_complete() && !is_complete {
                is_complete = true;
                self.shared.reached(self.index, Milestone::Complete, at);
            }
            self.shared.note(self.index, &session);
            if let Some(milestone) = progress.look(&self.shared, &response, &message) {
                self.shared.reached(self.index, milestone, at);
            }
            if self.is_stuck && is_complete {
                // The connection stays open, with what the window holds.
                return std::future::pending().await;
            }
        }
    }

    async fn connect(&self) -> Result<Channel> {
        let window = if self.is_stuck { SMALL_WINDOW } else { WINDOW };
        Endpoint::from_shared(format!("http://{}", self.shared.server))?
            .tcp_nodelay(true)
            .initial_connection_window_size(window)
            .initial_stream_window_size(window)
            .connect()
            .await
            .context("cannot connect")
    }
}

// === impl Progress ===

impl Progress {
    /// Looks for what is expected in a response; returns the milestone when the last part of it was found.
    fn look(&mut self, shared: &Shared, response: &Response, message: &Bytes) -> Option<Milestone> {
        let expectation = shared.expectation();
        if expectation.id != self.expectation {
            self.expectation = expectation.id;
            self.found = vec![false; expectation.wanted.len()];
        }
        if self.found.iter().all(|found| *found) {
            return None;
        }
        for (found, (xds_type, text)) in self.found.iter_mut().zip(&expectation.wanted) {
            if !*found && response.xds_type == Some(*xds_type) {
                *found = text.find(message).is_some();
            }
        }
        self.found
            .iter()
            .all(|found| *found)
            .then_some(Milestone::Change(expectation.id))
    }
}
