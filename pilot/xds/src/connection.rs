//! One stream with its I/O: reads requests, watches publications, sends what the state says.

use std::sync::Arc;
use std::time::Instant;

use mesh_api::envoy::config::core::v3::{ControlPlane, Node};
use mesh_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_api::{DeltaDiscoveryResponse, DiscoveryResponse};
use pilot_model::{Proxy, ProxyType};
use pilot_networking::XdsType;
use tokio::sync::{mpsc, watch};
use tonic::{Status, Streaming};

use crate::discovery::{Current, Shared};
use crate::generator::ProxyContext;
use crate::status::ClientStatus;
use crate::stream::{Outgoing, Protocol, Request, Step, StreamState};

/// One form of the protocol on the wire.
pub(crate) trait Wire: Send + 'static {
    /// What clients send.
    type Request: Send + 'static;
    /// What they get.
    type Response: Send + 'static;
    /// The form.
    const PROTOCOL: Protocol;

    /// Takes a request apart: who asks (on the first request), for which type, and what.
    fn request(request: Self::Request) -> (Option<Node>, String, Request);

    /// Puts a response together.
    fn response(outgoing: Outgoing, control_plane: ControlPlane) -> Self::Response;
}

/// State of the world.
#[derive(Debug)]
pub(crate) struct SotwWire;

/// Incremental.
#[derive(Debug)]
pub(crate) struct DeltaWire;

/// One stream of one proxy.
pub(crate) struct Connection<W: Wire> {
    id: u64,
    peer: String,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Result<W::Response, Status>>,
    /// `None` only while generating.
    state: Option<StreamState>,
    proxy: Option<Arc<Proxy>>,
    context: Option<ProxyContext>,
    /// When the publication was made that the proxy has not fully acknowledged.
    converging_since: Option<Instant>,
}

/// Why a stream ends.
enum End {
    /// The client is gone, or we are leaving.
    Closed,
    /// The client is told.
    Refused(Status),
}

// === impl Connection ===

impl<W: Wire> Connection<W> {
    pub(crate) fn new(
        id: u64,
        peer: String,
        shared: Arc<Shared>,
        sender: mpsc::Sender<Result<W::Response, Status>>,
    ) -> Self {
        Self {
            id,
            peer,
            shared,
            sender,
            state: Some(StreamState::new(W::PROTOCOL)),
            proxy: None,
            context: None,
            converging_since: None,
        }
    }

    pub(crate) async fn run(
        mut self,
        requests: Streaming<W::Request>,
        current: watch::Receiver<Option<Current>>,
    ) {
        let end = self.serve(requests, current).await;
        if let Some(proxy) = &self.proxy {
            self.shared.clients.remove(self.id);
            self.shared.metrics.clients.dec();
            tracing::info!(proxy = %proxy.node_id, connection = self.id, "proxy disconnected");
        }
        if let Err(End::Refused(status)) = end {
            tracing::warn!(peer = %self.peer, reason = status.message(), "stream refused");
            // The client may be gone already: nobody is left to tell.
            let _ = self.sender.send(Err(status)).await;
        }
    }

    async fn serve(
        &mut self,
        mut requests: Streaming<W::Request>,
        mut current: watch::Receiver<Option<Current>>,
    ) -> Result<(), End> {
        let drain = self.shared.drain.clone();
        let mut resends = 0;
        loop {
            let patience = self.shared.options.settle_timeout;
            let is_waiting = self
                .state
                .as_ref()
                .is_some_and(StreamState::is_waiting_for_clusters);
            tokio::select! {
                () = drain.signaled() => return Err(End::Closed),
                () = self.sender.closed() => return Err(End::Closed),
                request = requests.message() => match request {
                    Ok(Some(request)) => self.on_request(request)?,
                    Ok(None) => return Ok(()),
                    Err(status) => {
                        tracing::debug!(peer = %self.peer, reason = status.message(), "stream broke");
                        return Err(End::Closed);
                    }
                },
                changed = current.changed() => {
                    changed.map_err(|_| End::Closed)?;
                    let resend = current.borrow_and_update().as_ref().map_or(0, |current| current.resends);
                    self.on_publish(resend != std::mem::replace(&mut resends, resend));
                }
                () = tokio::time::sleep(patience), if is_waiting => {
                    tracing::warn!(connection = self.id, "proxy does not acknowledge its clusters, routes follow anyway");
                    if let Some(state) = &mut self.state {
                        state.give_up_waiting();
                    }
                }
            }
            self.refresh_context(&current)?;
            self.send_pending().await?;
        }
    }

    fn on_request(&mut self, request: W::Request) -> Result<(), End> {
        let (node, type_url, request) = W::request(request);
        if self.proxy.is_none() {
            self.identify(&node.unwrap_or_default())?;
        }
        let Some(xds_type) = XdsType::from_type_url(&type_url) else {
            tracing::warn!(
                connection = self.id,
                type_url,
                "request for a type that is not served"
            );
            return Ok(());
        };
        let (Some(state), Some(proxy)) = (&mut self.state, &self.proxy) else {
            return Ok(());
        };
        match state.on_request(xds_type, &request) {
            Step::Respond => tracing::debug!(proxy = %proxy.node_id, %xds_type, "request"),
            Step::Ack => tracing::debug!(proxy = %proxy.node_id, %xds_type, "ack"),
            Step::Nack(code, reason) => {
                tracing::warn!(proxy = %proxy.node_id, %xds_type, reason, "proxy rejected its configuration and keeps the last");
                self.shared.metrics.rejected(xds_type, &proxy.node_id, code);
            }
            Step::Stale => {
                tracing::debug!(proxy = %proxy.node_id, %xds_type, nonce = request.nonce, "stale nonce");
                self.shared.metrics.expired_nonce.inc();
            }
        }
        self.shared.clients.update(self.id, state);
        if state.is_settled()
            && let Some(since) = self.converging_since.take()
        {
            self.shared
                .metrics
                .convergence_time
                .observe(since.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn identify(&mut self, node: &Node) -> Result<(), End> {
        let proxy = Proxy::from_node(node)
            .map_err(|error| End::Refused(Status::invalid_argument(error.to_string())))?;
        let proxy = Arc::new(proxy);
        tracing::info!(proxy = %proxy.node_id, peer = %self.peer, connection = self.id, "proxy connected");
        let status = ClientStatus {
            connection: format!("{}-{}", proxy.node_id, self.id),
            peer: self.peer.clone(),
            proxy: Arc::clone(&proxy),
            types: std::collections::BTreeMap::new(),
        };
        self.shared.clients.insert(self.id, status);
        self.shared.metrics.clients.inc();
        self.proxy = Some(proxy);
        Ok(())
    }

    fn on_publish(&mut self, resend: bool) {
        if let Some(state) = &mut self.state {
            state.on_publish();
            if resend {
                state.resend_all();
            }
        }
        self.context = None;
    }

    /// Takes over the newest publication.
    fn refresh_context(&mut self, current: &watch::Receiver<Option<Current>>) -> Result<(), End> {
        if self.context.is_some() {
            return Ok(());
        }
        let (Some(proxy), Some(current)) = (&self.proxy, current.borrow().clone()) else {
            return Ok(());
        };
        let context = ProxyContext::new(Arc::clone(proxy), current.published);
        if proxy.proxy_type == ProxyType::Router && context.workload.instances.is_empty() {
            // It would get no listeners and look healthy; it asks again until its Service exists (P8.5).
            return Err(End::Refused(Status::unavailable(
                "gateway has no associated service instances",
            )));
        }
        self.context = Some(context);
        self.converging_since = Some(current.at);
        Ok(())
    }

    async fn send_pending(&mut self) -> Result<(), End> {
        let Some(context) = self.context.clone() else {
            return Ok(());
        };
        while let Some(outgoing) = self.next(&context).await? {
            let xds_type = outgoing.xds_type;
            let (resources, nonce) = (outgoing.resources.len(), outgoing.nonce.clone());
            let control_plane = ControlPlane {
                identifier: self.shared.options.identifier.clone(),
            };
            if let Some(state) = &self.state {
                // Before sending, as the answer may be faster than we are (P8.7).
                self.shared.clients.update(self.id, state);
            }
            let response = W::response(outgoing, control_plane);
            match self
                .sender
                .send_timeout(Ok(response), self.shared.options.send_timeout)
                .await
            {
                Ok(()) => {
                    self.shared
                        .metrics
                        .pushes
                        .with_label_values(&[xds_type.as_str()])
                        .inc();
                    tracing::debug!(proxy = %context.proxy.node_id, %xds_type, bytes = resources, nonce, "sent");
                }
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                    self.shared.metrics.write_timeout.inc();
                    self.shared
                        .metrics
                        .push_errors
                        .with_label_values(&[xds_type.as_str()])
                        .inc();
                    return Err(End::Refused(Status::deadline_exceeded(
                        "the proxy does not read its responses",
                    )));
                }
                Err(mpsc::error::SendTimeoutError::Closed(_)) => return Err(End::Closed),
            }
        }
        Ok(())
    }

    /// Generates the next response away from the reactor, so that others are answered meanwhile.
    async fn next(&mut self, context: &ProxyContext) -> Result<Option<Outgoing>, End> {
        if self.state.as_ref().is_none_or(StreamState::is_idle) {
            return Ok(None);
        }
        let Some(mut state) = self.state.take() else {
            return Ok(None);
        };
        let shared = Arc::clone(&self.shared);
        let context = context.clone();
        let _permit = self.shared.permits.acquire().await.map_err(|_| End::Closed)?;
        let generated = tokio::task::spawn_blocking(move || {
            let version = context.published.generation.to_string();
            let outgoing = state.advance(&version, &mut |xds_type, names| {
                shared
                    .generator
                    .generate(&context, xds_type, &shared.generator.names(names))
            });
            (state, outgoing)
        });
        match generated.await {
            Ok((state, outgoing)) => {
                self.state = Some(state);
                Ok(outgoing)
            }
            Err(error) => {
                self.shared.metrics.internal_errors.inc();
                tracing::error!(connection = self.id, %error, "planning failed");
                Err(End::Refused(Status::internal("planning failed")))
            }
        }
    }
}

// === impl Wire ===

impl Wire for SotwWire {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    const PROTOCOL: Protocol = Protocol::StateOfTheWorld;

    fn request(request: DiscoveryRequest) -> (Option<Node>, String, Request) {
        let parts = Request {
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| (status.code, status.message)),
            subscribe: request.resource_names,
            ..Request::default()
        };
        (request.node, request.type_url, parts)
    }

    fn response(outgoing: Outgoing, control_plane: ControlPlane) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: outgoing.version,
            resources: outgoing.resources,
            type_url: outgoing.xds_type.type_url().to_owned(),
            nonce: outgoing.nonce,
            control_plane: Some(control_plane),
        }
    }
}

impl Wire for DeltaWire {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    const PROTOCOL: Protocol = Protocol::Delta;

    fn request(request: DeltaDiscoveryRequest) -> (Option<Node>, String, Request) {
        let parts = Request {
            nonce: request.response_nonce,
            error: request.error_detail.map(|status| (status.code, status.message)),
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            initial_versions: request.initial_resource_versions.into_iter().collect(),
        };
        (request.node, request.type_url, parts)
    }

    fn response(outgoing: Outgoing, control_plane: ControlPlane) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: outgoing.version,
            resources: outgoing.resources,
            type_url: outgoing.xds_type.type_url().to_owned(),
            nonce: outgoing.nonce,
            removed_resources: outgoing.removed,
            control_plane: Some(control_plane),
        }
    }
}
