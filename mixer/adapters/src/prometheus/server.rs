//! The endpoint that Prometheus scrapes: one for all handlers, open as long as there is one.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use mesh_runtime::args::HostPort;
use mesh_runtime::drain::{self, DrainSignal};
use mesh_runtime::http::serve_http;
use mesh_runtime::listen;
use mesh_runtime::{BindError, Metrics, Spawner, TaskHandle};

use super::registry::Registry;

/// Shown in logs and in errors.
const NAME: &str = "prometheus handlers";

/// The endpoint.
pub(super) struct Endpoint {
    address: HostPort,
    registry: Arc<Registry>,
    running: tokio::sync::Mutex<Option<Running>>,
    local: Mutex<Option<SocketAddr>>,
}

/// Keeps the endpoint open.
pub(super) struct Open {
    signal: DrainSignal,
}

struct Running {
    open: Weak<Open>,
    task: TaskHandle,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(address: HostPort, registry: Arc<Registry>) -> Self {
        Self {
            address,
            registry,
            running: tokio::sync::Mutex::default(),
            local: Mutex::default(),
        }
    }

    /// Where it listened last.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        *self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it, unless it is open.
    pub(super) async fn open(&self, spawner: &Spawner) -> Result<Arc<Open>, BindError> {
        let mut running = self.running.lock().await;
        if let Some(open) = running.as_ref().and_then(|running| running.open.upgrade()) {
            return Ok(open);
        }
        if let Some(closing) = running.take() {
            // It is about to give the port back. How it ended has been logged.
            let _ = closing.task.join().await;
        }
        let (listener, local) = listen::bind(NAME, &self.address).await?;
        *self.local.lock().unwrap_or_else(PoisonError::into_inner) = Some(local);
        let registry = Arc::clone(&self.registry);
        let show = move || {
            let text = registry.encode();
            async move { ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text) }
        };
        let router = Router::new().route("/metrics", get(show));
        let (signal, drain) = drain::channel();
        let task = spawner.spawn(NAME, serve_http(NAME, listener, router, spawner.clone(), drain));
        let open = Arc::new(Open { signal });
        *running = Some(Running {
            open: Arc::downgrade(&open),
            task,
        });
        Ok(open)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("address", &self.address)
            .field("local", &self.local())
            .finish_non_exhaustive()
    }
}

// === impl Open ===

impl Drop for Open {
    fn drop(&mut self) {
        self.signal.start();
    }
}
