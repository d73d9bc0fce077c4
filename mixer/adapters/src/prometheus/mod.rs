//! `prometheus`: shows metrics to Prometheus, which scrapes them (`spec 02` §7.1).
//!
//! All handlers of a process share the endpoint and the metrics: a metric that is configured as before keeps its values
//! when a handler is replaced. What does not fit the budget of series that every handler has (`maxSeries`) is counted in one
//! series for each metric whose labels are all `other` (pain 24).

mod config;
mod exposition;
mod handler;
mod key;
mod registry;
mod series;
mod server;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::adapter::prometheus::config::Params;
use mesh_runtime::args::HostPort;
use mesh_runtime::error_chain;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::config::Config;
use self::handler::PrometheusHandler;
use self::registry::Registry;
use self::server::Endpoint;

/// Where Prometheus finds the metrics of 1.1.
pub const PORT: u16 = 42422;

/// The adapter.
#[derive(Debug)]
pub struct Prometheus {
    registry: Arc<Registry>,
    endpoint: Endpoint,
}

// === impl Prometheus ===

impl Prometheus {
    /// An adapter whose handlers share an endpoint at `address`, path `/metrics`.
    #[must_use]
    pub fn new(address: HostPort) -> Self {
        let registry = Arc::new(Registry::new());
        Self {
            endpoint: Endpoint::new(address, Arc::clone(&registry)),
            registry,
        }
    }

    /// Where the endpoint is; `None` before the first handler.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.endpoint.local()
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self::new(HostPort::any(PORT))
    }
}

impl Adapter for Prometheus {
    type Params = Params;

    const INFO: Info = Info {
        name: "prometheus",
        description: "Publishes prometheus metrics",
        templates: &[Template::Metric],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        Config::new(params).err().unwrap_or_default()
    }

    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let config = Config::new(&params).map_err(|errors| BuildError(errors.to_string()))?;
        let open = self.endpoint.open(env.spawner()).await;
        let open = open.map_err(|error| BuildError(error_chain(&error)))?;
        let handler = Arc::new(PrometheusHandler::new(
            env.handler(),
            &config,
            &self.registry,
            open,
        ));
        if let Some(expiry) = config.expiry {
            env.spawn(handler::expire(
                Arc::clone(&self.registry),
                handler.families(),
                expiry.check,
            ));
        }
        Ok(Handler::default().with(Handle::Metric(handler)))
    }
}
