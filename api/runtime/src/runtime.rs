//! The life of a process: start, readiness, the first reason to stop, drain, exit code.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tracing::{error, info, warn};

use crate::admin::{self, AdminArgs};
use crate::args::GoDuration;
use crate::drain::{self, Drain, DrainSignal};
use crate::grpc::{self, GrpcMetrics, GrpcOptions, GrpcService};
use crate::http::serve_http;
use crate::limits::raise_file_limit;
use crate::listen::{BindError, Listener, bind_if_enabled};
use crate::log::{LogArgs, LogError, LogHandle, Scope};
use crate::metrics::{Metrics, MetricsError};
use crate::readiness::Readiness;
use crate::shutdown::{Shutdown, StopReason, StopSignal, signals};
use crate::task::{Spawner, panic_message};
use crate::version::BuildInfo;

/// What every part of a process stands on. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

/// Describes a process; see [`Runtime::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is run or built"]
pub struct RuntimeBuilder {
    name: String,
    log: Option<LogArgs>,
    scopes: &'static [Scope],
    drain_deadline: Duration,
    worker_threads: Option<usize>,
}

/// A [`Runtime`] could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Logging could not be set up.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The metrics of every process could not be registered.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// The addresses that the admin servers got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddresses {
    /// The monitoring server, if it is enabled.
    pub monitoring: Option<SocketAddr>,
    /// The control server, if it is enabled and its port was free.
    pub ctrlz: Option<SocketAddr>,
}

struct Inner {
    build: BuildInfo,
    readiness: Readiness,
    drain: Drain,
    drain_signal: DrainSignal,
    drain_deadline: Duration,
    metrics: Metrics,
    grpc_metrics: GrpcMetrics,
    spawner: Spawner,
    log: LogHandle,
}

/// Runs a binary: sets up logs, the limit of open files and tokio, calls `start` to wire everything, and stays until a signal
/// arrives, a vital task ends or somebody asks for the end; then drains. To be returned by `main`.
///
/// `start` returns when everything is wired; the process is not ready before. `SIGTERM` or `SIGINT`
/// makes the process unready and starts the drain, which waits for all guards up to the deadline; a
/// second signal ends the process at once.
///
/// The exit code is 0 after a signal or a request, 1 after a failure, and 128 plus the number of the
/// signal after a second one.
pub fn run<S, F, E>(builder: RuntimeBuilder, start: S) -> ExitCode
where
    S: FnOnce(Runtime) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let name = builder.name.clone();
    try_run(builder, start).unwrap_or_else(|error| {
        // The logs may be what has failed.
        let _nowhere_left = writeln!(io::stderr(), "{name}: {}", crate::error_chain(&*error));
        ExitCode::FAILURE
    })
}

fn try_run<S, F, E>(builder: RuntimeBuilder, start: S) -> Result<ExitCode, Box<dyn StdError + Send + Sync>>
where
    S: FnOnce(Runtime) -> F,
    F: Future<Output = Result<(), E>>,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = builder.worker_threads {
        tokio.worker_threads(threads.max(1));
    }
    let tokio = tokio.enable_all().build()?;
    let runtime = builder.build()?;
    log_panics();
    if let Err(error) = raise_file_limit() {
        warn!(%error, "the number of connections stays limited");
    }
    let code = tokio.block_on(async {
        // Signal handlers live in the tokio runtime.
        let signals = signals()?;
        Ok::<_, io::Error>(runtime.supervise(signals, start).await)
    })?;
    // Blocking work that is still going on must not hold up the end.
    tokio.shutdown_background();
    Ok(ExitCode::from(code))
}

/// Sends panics to the logs, with their place; tasks add their name to that.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let stack = std::backtrace::Backtrace::capture();
        let stack = (stack.status() == std::backtrace::BacktraceStatus::Captured).then(|| stack.to_string());
        error!(
            place,
            stack,
            thread = std::thread::current().name(),
            "panic: {}",
            panic_message(panic.payload())
        );
    }));
}

// === impl RuntimeBuilder ===

impl RuntimeBuilder {
    /// Sets up the logs of the process. Without this nothing is set up, as tests need it.
    pub fn log(self, args: LogArgs) -> Self {
        Self {
            log: Some(args),
            ..self
        }
    }

    /// Declares the log scopes of the binary.
    pub fn scopes(self, scopes: &'static [Scope]) -> Self {
        Self { scopes, ..self }
    }

    /// How long a drain may take, ten seconds unless set.
    pub fn drain_deadline(self, deadline: Duration) -> Self {
        Self {
            drain_deadline: deadline,
            ..self
        }
    }

    /// Number of threads that run tasks, one for each core unless set.
    pub fn worker_threads(self, threads: usize) -> Self {
        Self {
            worker_threads: Some(threads),
            ..self
        }
    }

    /// Builds the runtime without running it, inside a tokio runtime of the caller.
    ///
    /// # Errors
    /// [`RuntimeError`] when logs were asked for and cannot be set up.
    pub fn build(self) -> Result<Runtime, RuntimeError> {
        let Self {
            name,
            log,
            scopes,
            drain_deadline,
            worker_threads: _,
        } = self;
        let log = match log {
            Some(args) => args.install(scopes)?,
            None => LogHandle::detached(scopes),
        };
        let build = BuildInfo::of(name);
        let metrics = Metrics::for_process(&build)?;
        let grpc_metrics = GrpcMetrics::register(&metrics)?;
        let (drain_signal, drain) = drain::channel();
        let inner = Inner {
            build,
            readiness: Readiness::new(),
            drain,
            drain_signal,
            drain_deadline,
            metrics,
            grpc_metrics,
            spawner: Spawner::new(Shutdown::default()),
            log,
        };
        Ok(Runtime {
            inner: Arc::new(inner),
        })
    }
}

// === impl Runtime ===

impl Runtime {
    /// Describes the process of the component `name`, such as `pilot-discovery`.
    pub fn builder(name: impl Into<String>) -> RuntimeBuilder {
        RuntimeBuilder {
            name: name.into(),
            log: None,
            scopes: &[],
            drain_deadline: Duration::from_secs(10),
            worker_threads: None,
        }
    }

    /// Which component runs in which version.
    #[must_use]
    pub fn build_info(&self) -> &BuildInfo {
        &self.inner.build
    }

    /// What must happen before the process is ready.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.inner.readiness
    }

    /// Tells when the process leaves, and makes it wait.
    #[must_use]
    pub fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    /// Where metrics are registered.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Starts tasks.
    #[must_use]
    pub fn spawner(&self) -> &Spawner {
        &self.inner.spawner
    }

    /// Asks for the end of the process.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        self.inner.spawner.shutdown()
    }

    /// Reads and changes log levels.
    #[must_use]
    pub fn log(&self) -> &LogHandle {
        &self.inner.log
    }

    /// The routes that every process offers, to be merged with those of the service.
    pub fn admin_router(&self) -> Router {
        admin::router(self)
    }

    /// Serves `router` at the monitoring and the control address until the very end of the process, so
    /// that it can be observed while it drains.
    ///
    /// # Errors
    /// [`BindError`] when the monitoring address is not available. The control server is a convenience:
    /// it is left out with a warning, as several processes on one machine share its default port.
    pub async fn spawn_admin(&self, args: &AdminArgs, router: Router) -> Result<AdminAddresses, BindError> {
        let (flag, address) = args.monitoring();
        let mut addresses = AdminAddresses {
            monitoring: None,
            ctrlz: None,
        };
        if let Some((listener, local)) = bind_if_enabled(flag, &address).await? {
            addresses.monitoring = Some(local);
            self.spawn_forever("monitoring", listener, router.clone());
        }
        match bind_if_enabled("--ctrlz_port", &args.ctrlz()).await {
            Ok(Some((listener, local))) => {
                addresses.ctrlz = Some(local);
                self.spawn_forever("ctrlz", listener, router);
            }
            Ok(None) => {}
            Err(error) => warn!(error = &error as &dyn StdError, "no control server"),
        }
        Ok(addresses)
    }

    /// Serves HTTP as a vital task until the process leaves.
    pub fn spawn_http(&self, name: &'static str, listener: impl Into<Listener>, router: Router) {
        let server = serve_http(
            name,
            listener.into(),
            router,
            self.spawner().clone(),
            self.drain().clone(),
        );
        self.spawner().spawn_vital(name, server);
    }

    /// Serves gRPC as a vital task until the process leaves. Streams that never end by themselves
    /// must watch [`Self::drain`].
    pub fn spawn_grpc(
        &self,
        name: &'static str,
        listener: impl Into<Listener>,
        routes: Routes,
        options: GrpcOptions,
    ) {
        self.spawn_grpc_service(name, listener, routes.prepare(), options);
    }

    /// As [`Self::spawn_grpc`], for a service that does not leave it to tonic's routes to find the method.
    pub fn spawn_grpc_service(
        &self,
        name: &'static str,
        listener: impl Into<Listener>,
        service: impl GrpcService,
        options: GrpcOptions,
    ) {
        let server = grpc::serve(
            name,
            listener.into(),
            service,
            options,
            self.inner.grpc_metrics.clone(),
            self.spawner().clone(),
            self.drain().clone(),
        );
        self.spawner().spawn_vital(name, server);
    }

    fn spawn_forever(&self, name: &'static str, listener: TcpListener, router: Router) {
        let server = serve_http(name, listener, router, self.spawner().clone(), Drain::never());
        self.spawner().spawn_vital(name, server);
    }

    /// Runs `start` and stays until there is a reason to stop; drains; returns the exit code.
    async fn supervise<S, F, E>(&self, mut signals: impl Stream<Item = StopSignal> + Unpin, start: S) -> u8
    where
        S: FnOnce(Runtime) -> F,
        F: Future<Output = Result<(), E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let BuildInfo {
            component,
            version,
            revision,
        } = self.build_info();
        info!(component, version, revision, "starting");
        let wiring = self.readiness().task("start");
        let started = async {
            match start(self.clone()).await {
                Ok(()) => drop(wiring),
                Err(error) => self
                    .shutdown()
                    .fail(format!("cannot start: {}", crate::error_chain(&*error.into()))),
            }
            std::future::pending::<()>().await;
        };
        {
            let mut started = pin!(started);
            tokio::select! {
                biased;
                Some(signal) = signals.next() => self.shutdown().stop(StopReason::Signal(signal)),
                _reason = self.shutdown().requested() => {}
                () = &mut started => {}
            }
        }
        let reason = self.shutdown().requested().await;
        self.leave(&reason, signals).await
    }

    async fn leave(&self, reason: &StopReason, mut signals: impl Stream<Item = StopSignal> + Unpin) -> u8 {
        // Before anything else, so that who reads the log line already sees it.
        self.readiness().drain();
        let deadline = GoDuration::from(self.inner.drain_deadline);
        let code = match reason {
            StopReason::Failed(_) => {
                error!(%reason, %deadline, "stopping");
                1
            }
            StopReason::Signal(_) | StopReason::Requested(_) => {
                info!(%reason, %deadline, "stopping");
                0
            }
        };
        self.inner.drain_signal.start();
        tokio::select! {
            biased;
            Some(signal) = signals.next() => {
                warn!(%signal, "second signal, stopping at once");
                128 + signal.number()
            }
            drained = self.inner.drain_signal.drained(self.inner.drain_deadline) => {
                match drained {
                    Ok(()) => info!("stopped"),
                    Err(error) => warn!(%error, "stopped"),
                }
                code
            }
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("build", &self.inner.build)
            .field("readiness", &self.inner.readiness)
            .field("drain", &self.inner.drain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
