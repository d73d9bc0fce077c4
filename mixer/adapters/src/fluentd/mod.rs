//! `fluentd`: sends log entries to Fluentd by its forward protocol (`spec 02` §7.2).
//!
//! Calls only encode. A task of the handler has the connection and the buffer: while Fluentd is away it tries again, and
//! entries that find no room are dropped, told as an error of the call, and counted.

mod config;
mod connection;
mod entry;
mod handler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::fluentd::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::config::Config;
use self::connection::Connection;
use self::handler::FluentdHandler;
use crate::batch::{Limits, Sender};
use crate::outbox::outbox;

/// How long sending what waits may take when the handler is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Fluentd;

impl Adapter for Fluentd {
    type Params = Params;

    const INFO: Info = Info {
        name: "fluentd",
        description: "Sends logentrys to a fluentd instance",
        templates: &[Template::LogEntry],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        Config::new(params).err().unwrap_or_default()
    }

    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let config = Config::new(&params).map_err(|errors| BuildError(errors.to_string()))?;
        let (entries, inbox, closer) = outbox(config.waiting);
        let limits = Limits {
            bytes: config.batch,
            things: usize::MAX,
            interval: config.interval,
            separator: b"",
        };
        let connection = Connection::new(config.address.clone(), config.timeout);
        env.spawn(Sender::new(inbox, limits, connection, env.clone()).run());
        let handler = FluentdHandler::new(&config, entries, env);
        Ok(Handler::default()
            .with(Handle::LogEntry(Arc::new(handler)))
            .on_close(move || closer.close(CLOSE)))
    }
}
