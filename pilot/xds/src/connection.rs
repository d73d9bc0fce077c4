//! One stream with its I/O: reads requests, watches publications, sends what the state says.

mod isolation;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mesh_api::envoy::config::core::v3::{ControlPlane, Node};
use pilot_model::{Proxy, ProxyType, Published};
use pilot_networking::XdsType;
use tokio::sync::{mpsc, watch};
use tonic::Status;

pub(crate) use self::isolation::Verdicts;
use crate::discovery::{Current, Shared};
use crate::generator::ProxyContext;
use crate::messages::Messages;
use crate::name_list::Fingerprint;
use crate::names::Names;
use crate::status::ClientStatus;
use crate::stream::{Impact, Isolation, Outgoing, Protocol, Step, StreamState};
use crate::transport::Chunks;
use crate::wire::{Incoming, Wire};

/// One stream of one proxy.
pub(crate) struct Connection<W: Wire> {
    id: u64,
    peer: String,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Result<Chunks, Status>>,
    /// The names that the proxy asked for last, of each type: it repeats thousands of them in every answer.
    asked: [Option<Fingerprint>; 4],
    /// `None` only while generating.
    state: Option<StreamState>,
    proxy: Option<Arc<Proxy>>,
    /// What the proxy is served.
    context: Option<ProxyContext>,
    /// What that was made from, with the objects that are left out for the proxy.
    published: Option<Published>,
    /// The objects that are left out.
    isolation: Isolation,
    /// How long publications wait for the running search for bad objects.
    search_until: Option<Instant>,
    /// Whether there is a newer publication than that of the context.
    is_outdated: bool,
    /// When the proxy may be given the newer publication, once it has asked for a turn.
    turn: Option<Instant>,
    /// Since when its listeners or routes wait for its clusters and it says nothing about these.
    waiting_since: Option<Instant>,
    opened: Instant,
    /// When the publication was made that the proxy has not fully acknowledged.
    converging_since: Option<Instant>,
    wire: PhantomData<fn() -> W>,
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
        sender: mpsc::Sender<Result<Chunks, Status>>,
    ) -> Self {
        Self {
            id,
            peer,
            shared,
            sender,
            asked: [None; 4],
            wire: PhantomData,
            state: Some(StreamState::new(W::PROTOCOL)),
            proxy: None,
            context: None,
            published: None,
            isolation: Isolation::default(),
            search_until: None,
            is_outdated: false,
            turn: None,
            waiting_since: None,
            opened: Instant::now(),
            converging_since: None,
        }
    }

    pub(crate) async fn run(mut self, mut requests: Messages, current: watch::Receiver<Option<Current>>) {
        let end = self.serve(&mut requests, current).await;
        if let Some(proxy) = &self.proxy {
            self.shared.clients.remove(self.id);
            self.shared.metrics.clients.dec();
            tracing::info!(proxy = %proxy.node_id, connection = self.id, "proxy disconnected");
        }
        if let Err(End::Refused(status)) = end {
            tracing::warn!(peer = %self.peer, reason = status.message(), "stream refused");
            // A client that is gone or does not read cannot be told.
            let _ = self.sender.try_send(Err(status));
            // As long as its requests are read, HTTP/2 does not reset the stream before the status was read.
            let ends = async { while let Ok(Some(_)) = requests.next().await {} };
            let _ = tokio::time::timeout(self.shared.options.send_timeout, ends).await;
        }
    }

    async fn serve(
        &mut self,
        requests: &mut Messages,
        mut current: watch::Receiver<Option<Current>>,
    ) -> Result<(), End> {
        let drain = self.shared.drain.clone();
        let mut resends = current.borrow().as_ref().map_or(0, |current| current.resends);
        loop {
            let (patience, turn, search) = (self.end_of_patience(), self.turn, self.end_of_search());
            tokio::select! {
                () = drain.signaled() => return Err(End::Closed),
                () = self.sender.closed() => return Err(End::Closed),
                request = requests.next() => match request {
                    Ok(Some(request)) => self.on_request(&request)?,
                    Ok(None) => return Ok(()),
                    Err(status) => {
                        tracing::debug!(peer = %self.peer, reason = status.message(), "stream broke");
                        return Err(End::Closed);
                    }
                },
                changed = current.changed() => {
                    changed.map_err(|_| End::Closed)?;
                    self.is_outdated = true;
                    let wanted = current.borrow_and_update().as_ref().map_or(0, |current| current.resends);
                    if std::mem::replace(&mut resends, wanted) != wanted && let Some(state) = &mut self.state {
                        state.resend_all();
                    }
                }
                () = at(patience) => self.give_up_waiting(),
                () = at(turn) => {}
                () = at(search) => {}
            }
            if self.state.as_ref().is_some_and(StreamState::has_pending) {
                // What waited until now goes before anything newer, for which it would have to wait again.
                self.send_pending().await?;
            }
            self.follow(&current)?;
            self.send_pending().await?;
            while self.isolate() {
                self.follow(&current)?;
                self.send_pending().await?;
            }
        }
    }

    /// When listeners and routes follow although the proxy has not acknowledged its clusters: some time after its last
    /// word about these.
    fn end_of_patience(&mut self) -> Option<Instant> {
        let is_waiting = self
            .state
            .as_ref()
            .is_some_and(StreamState::is_waiting_for_clusters);
        if !is_waiting {
            self.waiting_since = None;
            return None;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        Some(since + self.shared.options.settle_timeout)
    }

    fn give_up_waiting(&mut self) {
        tracing::warn!(
            connection = self.id,
            "proxy does not acknowledge its clusters, listeners and routes follow anyway"
        );
        self.waiting_since = None;
        if let Some(state) = &mut self.state {
            state.give_up_waiting();
        }
    }

    fn on_request(&mut self, request: &Bytes) -> Result<(), End> {
        let Incoming {
            node,
            type_url,
            names,
            mut request,
        } = W::incoming(request)
            .map_err(|error| End::Refused(Status::invalid_argument(error.to_string())))?;
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
        let asked = (!names.is_empty()).then(|| names.fingerprint());
        // What delta asks for again is to be sent again.
        request.repeats = W::PROTOCOL == Protocol::StateOfTheWorld
            && asked.is_some()
            && asked == self.asked[xds_type as usize];
        let is_repeated = request.repeats;
        if !is_repeated {
            request.subscribe = self.shared.generator.requested(&names);
            self.asked[xds_type as usize] = asked;
        }
        let mut rejection = None;
        let waited_for = state.waits_for();
        let step = state.on_request(xds_type, &request);
        if state.waits_for() != waited_for {
            self.waiting_since = None;
        }
        match step {
            Step::Respond => tracing::debug!(proxy = %proxy.node_id, %xds_type, "request"),
            Step::Ack => tracing::debug!(proxy = %proxy.node_id, %xds_type, "ack"),
            Step::Nack(code, reason) => {
                tracing::warn!(proxy = %proxy.node_id, %xds_type, reason, "proxy rejected its configuration and keeps the last");
                self.shared.metrics.rejected(xds_type, &proxy.node_id, code);
                rejection = Some(reason);
            }
            Step::Stale => {
                tracing::debug!(proxy = %proxy.node_id, %xds_type, nonce = request.nonce, "stale nonce");
                self.shared.metrics.expired_nonce.inc();
            }
        }
        if !is_repeated {
            state.share_names(xds_type, |names| self.shared.generator.intern(names));
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
        if let Some(reason) = rejection {
            self.on_rejected(xds_type, &reason);
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
            types: BTreeMap::new(),
            isolated: BTreeMap::new(),
        };
        self.shared.clients.insert(self.id, status);
        self.shared.metrics.clients.inc();
        self.proxy = Some(proxy);
        Ok(())
    }

    /// Takes over the newest publication, when it is the proxy's turn.
    fn follow(&mut self, current: &watch::Receiver<Option<Current>>) -> Result<(), End> {
        if self.context.is_some() && (!self.is_outdated || self.is_searching()) {
            return Ok(());
        }
        let (Some(proxy), Some(current)) = (&self.proxy, current.borrow().clone()) else {
            return Ok(());
        };
        let proxy = Arc::clone(proxy);
        if self.is_held_up(&current.published) || !self.is_its_turn(&current.published) {
            return Ok(());
        }
        self.is_outdated = false;
        let context = ProxyContext::new(proxy, self.allowed(&current.published));
        if context.proxy.proxy_type == ProxyType::Router && context.workload.instances.is_empty() {
            // It would get no listeners and look healthy.
            if self.context.is_none() {
                // It asks again until its Service exists (P8.5).
                return Err(End::Refused(Status::unavailable(
                    "gateway has no associated service instances",
                )));
            }
            tracing::warn!(proxy = %context.proxy.node_id, "gateway has lost its service instances and keeps what it has");
            return Ok(());
        }
        let former = self.context.as_ref();
        let impact = former.map_or(Impact::Everything, |former| context.impact_since(former));
        self.context = Some(context);
        self.published = Some(current.published);
        if let Some(state) = &mut self.state {
            state.on_publish(impact);
        }
        self.shared.clients.isolate(self.id, self.isolation.guilty());
        self.converging_since.get_or_insert(current.at.max(self.opened));
        Ok(())
    }

    /// Whether a publication has to wait because listeners or routes of the last one still wait for their clusters. It
    /// could bring more clusters to wait for, and the next one as well. Endpoints alone do not wait.
    fn is_held_up(&self, published: &Published) -> bool {
        self.state
            .as_ref()
            .is_some_and(StreamState::is_waiting_for_clusters)
            && !self.is_about_endpoints(published)
    }

    /// Whether only endpoints may be different from what the proxy was served last.
    fn is_about_endpoints(&self, published: &Published) -> bool {
        let former = self.published.as_ref();
        former.is_some_and(|former| Arc::ptr_eq(&former.snapshot, &published.snapshot))
    }

    /// Whether the limit of pushes lets the proxy have a publication now. Endpoints alone are not limited (P9.4).
    fn is_its_turn(&mut self, published: &Published) -> bool {
        let throttle = match &self.context {
            None => &self.shared.first_pushes,
            Some(_) if self.is_about_endpoints(published) => return true,
            Some(_) => &self.shared.pushes,
        };
        let Some(throttle) = throttle else {
            return true;
        };
        let turn = *self.turn.get_or_insert_with(|| throttle.turn());
        if turn > Instant::now() {
            return false;
        }
        self.turn = None;
        true
    }

    async fn send_pending(&mut self) -> Result<(), End> {
        let Some(context) = self.context.clone() else {
            return Ok(());
        };
        for outgoing in self.pending(&context).await? {
            let xds_type = outgoing.xds_type;
            let (resources, nonce) = (outgoing.resources.len(), outgoing.nonce.clone());
            let control_plane = ControlPlane {
                identifier: self.shared.options.identifier.clone(),
            };
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
                    self.shared.metrics.push_timeout.inc();
                    self.shared.metrics.push_timeout_failures.inc();
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
        if self.state.as_ref().is_some_and(StreamState::is_settled) {
            // There was nothing to send.
            self.converging_since = None;
        }
        Ok(())
    }

    /// Generates what is to be sent now, away from the reactor, so that others are answered meanwhile.
    async fn pending(&mut self, context: &ProxyContext) -> Result<Vec<Outgoing>, End> {
        if self.state.as_ref().is_none_or(StreamState::is_idle) {
            return Ok(Vec::new());
        }
        let Some(mut state) = self.state.take() else {
            return Ok(Vec::new());
        };
        let shared = Arc::clone(&self.shared);
        let context = context.clone();
        let _permit = self.shared.permits.acquire().await.map_err(|_| End::Closed)?;
        let generated = tokio::task::spawn_blocking(move || {
            let version = context.published.generation.to_string();
            let generate =
                &mut |xds_type, names: &Names| shared.generator.generate(&context, xds_type, names);
            let outgoing = std::iter::from_fn(|| state.advance(&version, generate)).collect();
            (state, outgoing)
        });
        match generated.await {
            Ok((state, outgoing)) => {
                // Before sending, as the answer may be faster than we are (P8.7).
                self.shared.clients.update(self.id, &state);
                self.state = Some(state);
                Ok(outgoing)
            }
            Err(error) => {
                self.shared.metrics.internal_errors.inc();
                self.shared.metrics.push_context_errors.inc();
                tracing::error!(connection = self.id, %error, "planning failed");
                Err(End::Refused(Status::internal("planning failed")))
            }
        }
    }
}

/// Waits for a moment; for ever when there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
