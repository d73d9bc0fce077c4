//! An adapter's process, as a handler sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::uri::PathAndQuery;
use mesh_api::Any;
use mesh_api::istio::policy::v1beta1::Connection;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::BytesCodec;
use mixer_adapter::session::{SessionParams, close_session, told};
use mixer_adapter::{Answer, BuildError, Env, HandlerError, QuotaArgs, QuotaResult};
use mixer_attribute::span;
use tokio::time::Instant;
use tonic::Status;
use tonic::client::Grpc;
use tracing::{debug, warn};

use super::answer::{self, Checked};
use super::endpoint::Endpoint;
use super::pool::{Pace, Pool};
use super::request::Request;
use super::security::Security;
use super::session::Slot;
use crate::output::Output;
use crate::template::Template;

/// How long the first session may take: less than [`mixer_adapter::BUILD_LIMIT`], so that the reason is told.
const BEGIN_LIMIT: Duration = Duration::from_secs(8);

/// How long the end of a session may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What a handler of an adapter in a process of its own is made of.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// Where it is, and how it is talked to.
    pub connection: Connection,
    /// Its parameters, if it has any.
    pub config: Option<Any>,
    /// Whether it wants sessions.
    pub session_based: bool,
    /// Types of what it is sent, by full name of the instance; for sessions.
    pub inferred: BTreeMap<String, Any>,
    /// How long things are waited for.
    pub pace: Pace,
}

/// An adapter's process. Clones are the same one.
#[derive(Clone)]
pub struct Backend(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    security: Security,
    config: Option<Any>,
    sessions: Option<SessionParams>,
    /// For each call; `None`: as long as the caller waits.
    timeout: Option<Duration>,
    /// Makes the ids of calls.
    calls: AtomicU64,
}

// === impl BackendOptions ===

impl BackendOptions {
    /// Where the adapter is.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection: field and reason.
    pub fn address(&self) -> Result<HostPort, (&'static str, String)> {
        const ADDRESS: &str = "connection.address";
        let text = self.connection.address.trim();
        if text.is_empty() {
            return Err((ADDRESS, "is missing".to_owned()));
        }
        let address: HostPort = text
            .parse()
            .map_err(|error: mesh_runtime::args::AddressError| (ADDRESS, error.to_string()))?;
        match address {
            HostPort { host: None, .. } => Err((ADDRESS, format!("{text} has no host"))),
            HostPort { port: 0, .. } => Err((ADDRESS, format!("{text} has no port"))),
            address => Ok(address),
        }
    }

    /// The time limit of a call; `None`: none of its own.
    ///
    /// # Errors
    ///
    /// When it is negative.
    pub fn timeout(&self) -> Result<Option<Duration>, (&'static str, String)> {
        match self.connection.timeout.as_ref().map(span) {
            None | Some(Some(Duration::ZERO)) => Ok(None),
            Some(Some(timeout)) => Ok(Some(timeout)),
            Some(None) => Err(("connection.timeout", "must not be negative".to_owned())),
        }
    }
}

// === impl Backend ===

impl Backend {
    /// Resolves the address, reads the secrets, and makes the session if the adapter wants one: before, nothing is sent.
    ///
    /// # Errors
    ///
    /// When any of these is not possible now.
    pub async fn build(options: BackendOptions, env: &Env) -> Result<Self, BuildError> {
        let fault = |(field, reason): (&str, String)| BuildError(format!("{field}: {reason}"));
        let address = options.address().map_err(fault)?;
        let timeout = options.timeout().map_err(fault)?;
        let host = address.host.clone().unwrap_or_default();
        let authentication = options.connection.authentication.as_ref();
        let security = Security::new(authentication, &host, env)
            .await
            .map_err(BuildError)?;
        let pool = Pool::new(address, security.tls.clone(), options.pace).await;
        let pool = Arc::new(pool.map_err(BuildError)?);
        let sessions = options.session_based.then(|| SessionParams {
            config: options.config.clone(),
            inferred: options.inferred,
        });
        let backend = Self(Arc::new(Inner {
            pool: Arc::clone(&pool),
            security,
            config: options.config,
            sessions,
            timeout,
            // Two Mixers, or one before and after a restart, must not use the same ids.
            calls: AtomicU64::new(RandomState::new().build_hasher().finish()),
        }));
        let begun = tokio::time::timeout(BEGIN_LIMIT, backend.0.begin()).await;
        let silent = |_| {
            Err(format!(
                "{}: no session within {BEGIN_LIMIT:?}",
                options.connection.address
            ))
        };
        begun.unwrap_or_else(silent).map_err(BuildError)?;
        if pool.moves() {
            env.spawn(Arc::clone(&backend.0).follow());
        }
        Ok(backend)
    }

    /// Asks for a decision. `until`: when nobody waits any more.
    pub fn check(&self, template: &Arc<Template>, instance: Vec<u8>, until: Instant) -> Answer<Checked> {
        let template = Arc::clone(template);
        self.call(
            template.path().clone(),
            self.request(instance),
            until,
            move |bytes| answer::check(&template, bytes),
        )
    }

    /// Tells what happened: instances one after another, as they were encoded.
    pub fn report(&self, template: &Arc<Template>, instances: Vec<u8>, until: Instant) -> Answer<()> {
        let request = self.request(instances);
        self.call(template.path().clone(), request, until, answer::report)
    }

    /// Asks for an amount. `name`: full name of the instance.
    pub fn quota(
        &self,
        template: &Arc<Template>,
        name: &str,
        instance: Vec<u8>,
        args: &QuotaArgs,
        until: Instant,
    ) -> Answer<QuotaResult> {
        let mut request = self.request(instance);
        request.deduplication_id.clone_from(&args.deduplication_id);
        request.quota = Some(Request::quota(name, args));
        let name = name.to_owned();
        self.call(template.path().clone(), request, until, move |bytes| {
            answer::quota(&name, bytes)
        })
    }

    /// Asks for attributes.
    pub fn generate(&self, template: &Arc<Template>, instance: Vec<u8>, until: Instant) -> Answer<Output> {
        let template = Arc::clone(template);
        self.call(
            template.path().clone(),
            self.request(instance),
            until,
            move |bytes| answer::output(&template, &bytes),
        )
    }

    /// Ends the sessions. An adapter that does not answer keeps them.
    pub async fn close(&self) {
        for endpoint in self.0.pool.all() {
            self.0.leave(&endpoint).await;
        }
    }

    fn request(&self, instances: Vec<u8>) -> Request {
        Request {
            instances,
            deduplication_id: self.0.calls.fetch_add(1, Ordering::Relaxed).to_string(),
            quota: None,
        }
    }

    fn call<T>(
        &self,
        path: PathAndQuery,
        request: Request,
        until: Instant,
        read: impl FnOnce(Bytes) -> Result<T, HandlerError> + Send + 'static,
    ) -> Answer<T> {
        let inner = Arc::clone(&self.0);
        Answer::Later(Box::pin(async move {
            let limit = until.saturating_duration_since(Instant::now());
            let limit = inner.timeout.map_or(limit, |timeout| timeout.min(limit));
            let answered = tokio::time::timeout(limit, inner.answer(path, &request, limit)).await;
            let answered = answered.map_err(|_| HandlerError::new(format!("no answer within {limit:?}")))?;
            read(answered.map_err(HandlerError::new)?)
        }))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("pool", &self.0.pool)
            .finish_non_exhaustive()
    }
}

// === impl Inner ===

impl Inner {
    /// Makes the first session, of the address whose turn it is.
    async fn begin(&self) -> Result<(), String> {
        let Some(params) = &self.sessions else {
            return Ok(());
        };
        let endpoint = self.pool.pick()?;
        let credentials = self.security.credentials().await?;
        let slot = endpoint.sessions.slot();
        let session = slot.session(&endpoint, params, &credentials).await?;
        debug!(session = session.id, address = %endpoint.address, "session");
        Ok(())
    }

    /// Follows the addresses; never ends.
    async fn follow(self: Arc<Self>) {
        loop {
            let moved = match self.pool.next().await {
                Ok(found) => self.move_to(&found).await,
                Err(reason) => Err(reason),
            };
            if let Err(reason) = moved {
                warn!(reason, "the former addresses of the adapter stay in use");
            }
        }
    }

    /// These are the addresses from now on. Sessions end with those that left before.
    async fn move_to(&self, found: &BTreeSet<SocketAddr>) -> Result<(), String> {
        let over = self.pool.assign(found)?;
        // Most of these are no more, and do not answer: none waits for another.
        join_all(over.iter().map(|endpoint| self.leave(endpoint))).await;
        Ok(())
    }

    /// Ends the session with an address, if there is one.
    async fn leave(&self, endpoint: &Endpoint) {
        let slot = endpoint.sessions.slot();
        if let Some(session) = slot.get() {
            self.end(endpoint, session.id.clone()).await;
        }
    }

    async fn answer(&self, path: PathAndQuery, request: &Request, limit: Duration) -> Result<Bytes, String> {
        let endpoint = self.pool.pick()?;
        let Some(params) = &self.sessions else {
            let message = request.encode(self.config.as_ref());
            let answer = self.send(&endpoint, path, message, limit).await?;
            return answer.map_err(|status| told(&status));
        };
        let slot = endpoint.sessions.slot();
        let status = match self
            .under(&endpoint, &slot, params, path.clone(), request, limit)
            .await?
        {
            Ok(answer) => return Ok(answer),
            Err(status) if !slot.is_lost(&endpoint, status.code()) => return Err(told(&status)),
            Err(status) => status,
        };
        // Without its session the adapter has done nothing, so that it can be asked again.
        warn!(address = %endpoint.address, error = told(&status), "the adapter may have lost its session");
        endpoint.sessions.renew(&slot);
        let renewed = endpoint.sessions.slot();
        let answer = self
            .under(&endpoint, &renewed, params, path, request, limit)
            .await?;
        self.settle(&endpoint, &slot, &renewed).await;
        answer.map_err(|status| told(&status))
    }

    /// Calls under the session of a place.
    async fn under(
        &self,
        endpoint: &Endpoint,
        slot: &Slot,
        params: &SessionParams,
        path: PathAndQuery,
        request: &Request,
        limit: Duration,
    ) -> Result<Result<Bytes, Status>, String> {
        let credentials = self.security.credentials().await?;
        let session = slot.session(endpoint, params, &credentials).await?;
        let message = request.encode(Some(&session.config()));
        self.send(endpoint, path, message, limit).await
    }

    /// A process that had not lost its session has two now. Where both have one id it cannot be told whether that counts
    /// once or twice, and ending a session in use would be worse than keeping one that is not.
    async fn settle(&self, endpoint: &Endpoint, before: &Slot, now: &Slot) {
        if let (Some(before), Some(now)) = (before.get(), now.get())
            && before.id != now.id
        {
            self.end(endpoint, before.id.clone()).await;
        }
    }

    async fn end(&self, endpoint: &Endpoint, session: String) {
        let close = async {
            let credentials = self.security.credentials().await?;
            close_session(endpoint.channel.clone(), session, &credentials).await
        };
        match tokio::time::timeout(CLOSE_LIMIT, close).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => debug!(address = %endpoint.address, reason, "the session is not closed"),
            Err(_) => {
                warn!(address = %endpoint.address, "the adapter does not answer when its session is closed")
            }
        }
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        path: PathAndQuery,
        message: Bytes,
        limit: Duration,
    ) -> Result<Result<Bytes, Status>, String> {
        let credentials = self.security.credentials().await?;
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = credentials;
        request.set_timeout(limit);
        let mut grpc = Grpc::new(endpoint.channel.clone());
        if let Err(error) = grpc.ready().await {
            return Err(format!(
                "{}: {}",
                endpoint.address,
                mesh_runtime::error_chain(&error)
            ));
        }
        let answer = grpc.unary(request, path, BytesCodec).await;
        Ok(answer.map(tonic::Response::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use mesh_api::istio::mixer::adapter::model::v1beta1::CreateSessionResponse;
    use mesh_runtime::Spawner;
    use prost::Message as _;

    use super::*;
    use crate::testing::FakeAdapter;

    /// One whose answers say nothing, but for the id of a session.
    async fn adapter() -> FakeAdapter {
        FakeAdapter::start(|call| {
            let created = CreateSessionResponse {
                session_id: "one".to_owned(),
                ..CreateSessionResponse::default()
            };
            let creates = call.path.ends_with("/CreateSession");
            let answer = if creates {
                created.encode_to_vec()
            } else {
                Vec::new()
            };
            async move { Ok(answer.into()) }.boxed()
        })
        .await
    }

    fn closed(adapter: &FakeAdapter) -> usize {
        let calls = adapter.calls();
        let closes = calls.iter().filter(|call| call.path.ends_with("/CloseSession"));
        closes.count()
    }

    #[tokio::test]
    async fn spec_02_10_4_a_session_ends_after_its_address_has_left_and_its_calls_are_over() {
        let (first, second) = (adapter().await, adapter().await);
        let options = BackendOptions {
            connection: Connection {
                address: first.address().to_string(),
                ..Connection::default()
            },
            config: None,
            session_based: true,
            inferred: BTreeMap::new(),
            pace: Pace::default(),
        };
        let env = Env::new("handler.test", Spawner::default());
        let backend = Backend::build(options, &env).await.unwrap();
        let only = |adapter: &FakeAdapter| BTreeSet::from([adapter.address()]);
        let call = backend.0.pool.pick().unwrap();
        backend.0.move_to(&only(&second)).await.unwrap();
        backend.0.move_to(&only(&second)).await.unwrap();
        assert_eq!(closed(&first), 0, "a call uses it");
        // It comes back as it was, and leaves again.
        backend.0.move_to(&only(&first)).await.unwrap();
        assert!(Arc::ptr_eq(&call, &backend.0.pool.pick().unwrap()));
        drop(call);
        backend.0.move_to(&only(&second)).await.unwrap();
        assert_eq!(closed(&first), 0, "it may come back");
        backend.0.move_to(&only(&second)).await.unwrap();
        assert_eq!(closed(&first), 1);
        // What left last is not forgotten at the end.
        backend.0.begin().await.unwrap();
        backend.0.move_to(&only(&first)).await.unwrap();
        backend.close().await;
        assert_eq!((closed(&first), closed(&second)), (1, 1));
    }
}
