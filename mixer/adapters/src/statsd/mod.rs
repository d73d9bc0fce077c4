//! `statsd`: sends metrics to statsd (`spec 02` §7.3).

mod config;
mod handler;
mod name;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::statsd::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::config::Config;
use self::handler::{Sender, StatsdHandler};
use crate::outbox::outbox;

/// Calls whose values may wait.
const CALLS: usize = 1024;

/// How long sending what waits may take when the handler is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Statsd;

impl Adapter for Statsd {
    type Params = Params;

    const INFO: Info = Info {
        name: "statsd",
        description: "Produces statsd metrics",
        templates: &[Template::Metric],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        Config::new(params).err().unwrap_or_default()
    }

    async fn build(&self, params: Params, inferred: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let mut config = Config::new(&params).map_err(|errors| BuildError(errors.to_string()))?;
        config.fit(inferred);
        let (lines, inbox, closer) = outbox(CALLS);
        env.spawn(Sender::new(&config, env.clone()).run(inbox));
        Ok(Handler::default()
            .with(Handle::Metric(Arc::new(StatsdHandler::new(config, lines, env))))
            .on_close(move || closer.close(CLOSE)))
    }
}
