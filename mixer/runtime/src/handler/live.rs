//! A handler at work.

use std::fmt;
use std::sync::Arc;

use mixer_adapter::{Env, Handle, Handler, Workers};
use mixer_dynamic::Backend;
use mixer_template::Template;
use tokio::sync::mpsc;

use super::close::Closing;
use super::signature::Signature;
use crate::config::{FullName, HandlerConfig};

/// A handler at work. It is handed over to be closed when nobody uses it any more: no configuration, and no request
/// that began under an earlier one.
pub struct LiveHandler {
    name: FullName,
    label: Arc<str>,
    adapter: Arc<str>,
    /// The configuration that it was built for.
    config_id: u64,
    signature: Signature,
    /// There until it is dropped.
    work: Option<Work>,
    env: Env,
    closing: mpsc::UnboundedSender<Closing>,
}

/// What does the work of a handler.
pub(super) enum Work {
    /// An adapter that is built in.
    BuiltIn(Handler),
    /// One of another process.
    Remote(Backend),
}

// === impl Work ===

impl Work {
    /// Sends what it has, and closes its connections.
    pub(super) async fn close(self) {
        match self {
            Self::BuiltIn(handler) => handler.close().await,
            Self::Remote(backend) => backend.close().await,
        }
    }
}

// === impl LiveHandler ===

impl LiveHandler {
    pub(super) fn new(
        config: &HandlerConfig,
        config_id: u64,
        signature: Signature,
        work: Work,
        env: Env,
        closing: mpsc::UnboundedSender<Closing>,
    ) -> Self {
        Self {
            name: config.name.clone(),
            label: Arc::clone(&config.label),
            adapter: config.adapter.name().into(),
            config_id,
            signature,
            work: Some(work),
            env,
            closing,
        }
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &FullName {
        &self.name
    }

    /// What it is called in the messages of denials and in metrics (§2.5).
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The adapter that it is made of.
    #[must_use]
    pub fn adapter(&self) -> &str {
        &self.adapter
    }

    /// The configuration that it was built for.
    #[must_use]
    pub fn config_id(&self) -> u64 {
        self.config_id
    }

    /// What it was made of.
    pub(crate) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// How it serves a template; `None` if it does not.
    #[must_use]
    pub fn handle(&self, template: Template) -> Option<&Handle> {
        match self.work.as_ref()? {
            Work::BuiltIn(handler) => handler.handle(template),
            Work::Remote(_) => None,
        }
    }

    /// The process of its adapter; `None` if the adapter is built in.
    #[must_use]
    pub fn backend(&self) -> Option<&Backend> {
        match self.work.as_ref()? {
            Work::BuiltIn(_) => None,
            Work::Remote(backend) => Some(backend),
        }
    }

    /// How many tasks of it are running.
    #[must_use]
    pub fn workers(&self) -> Workers {
        self.env.workers()
    }
}

impl Drop for LiveHandler {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let closing = Closing {
                name: self.name.clone(),
                work,
                env: self.env.clone(),
            };
            // Without a closer the process is at its end, and so is the handler.
            let _at_the_end = self.closing.send(closing);
        }
    }
}

impl fmt::Debug for LiveHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveHandler")
            .field("name", &self.name)
            .field("adapter", &self.adapter)
            .field("config_id", &self.config_id)
            .finish_non_exhaustive()
    }
}
