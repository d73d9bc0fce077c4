//! `zipkin`: sends spans to a Zipkin (`spec 02` §7.5).
//!
//! Spans are sent in the format that the URL asks for: version 1 where its path is that of version 1, else version 2.

mod collector;
mod config;
mod format;
mod handler;
mod span;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::zipkin::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::collector::Collector;
use self::config::Config;
use self::handler::ZipkinHandler;
use crate::batch::{Limits, Sender};
use crate::dial;
use crate::outbox::outbox;

/// Spans that may wait.
const WAITING: usize = 1000;

/// When spans are sent.
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    things: 100,
    interval: Duration::from_secs(1),
    separator: b",",
};

/// How long sending what waits may take when the handler is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// The adapter.
#[derive(Clone, Debug)]
pub struct Zipkin {
    /// Authorities by which collectors are recognized, a file of certificates (PEM).
    pub authorities: PathBuf,
}

impl Default for Zipkin {
    /// Collectors are recognized by the authorities of the system.
    fn default() -> Self {
        Self {
            authorities: PathBuf::from(dial::AUTHORITIES),
        }
    }
}

impl Adapter for Zipkin {
    type Params = Params;

    const INFO: Info = Info {
        name: "zipkin",
        description: "Publishes traces to Zipkin",
        templates: &[Template::TraceSpan],
    };

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        Config::new(params).err().unwrap_or_default()
    }

    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let config = Config::new(&params).map_err(|errors| BuildError(errors.to_string()))?;
        let (spans, inbox, closer) = outbox(WAITING);
        let collector = Collector::new(config.url, &self.authorities, env.clone());
        env.spawn(Sender::new(inbox, LIMITS, collector, env.clone()).run());
        let handler = ZipkinHandler::new(config.sampler, config.version, spans, env);
        Ok(Handler::default()
            .with(Handle::TraceSpan(Arc::new(handler)))
            .on_close(move || closer.close(CLOSE)))
    }
}
