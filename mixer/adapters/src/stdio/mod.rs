//! `stdio`: writes log entries and metrics to the standard streams or to files (`spec 02` §7.4).
//!
//! Calls only make lines. A task writes them; when it cannot keep up, calls wait for it, within limits.

mod config;
mod handler;
mod line;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::stdio::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::config::{Config, Target};
use self::handler::StdioHandler;
use self::queue::{Limits, queue};
use self::writer::Writer;

/// How long writing what waits may take when the handler is closed.
const CLOSE: Duration = Duration::from_secs(10);

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Stdio;

impl Adapter for Stdio {
    type Params = Params;

    const INFO: Info = Info {
        name: "stdio",
        description: "Writes logs and metrics to a standard I/O stream",
        templates: &[Template::LogEntry, Template::Metric],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        Config::new(params).err().unwrap_or_default()
    }

    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let config = Config::new(&params).map_err(|errors| BuildError(errors.to_string()))?;
        let writer = Writer::open(&config.target).await;
        let writer = writer.map_err(|error| match &config.target {
            Target::File(path, _) => BuildError(format!("cannot open {}: {error}", path.display())),
            _ => BuildError(error.to_string()),
        })?;
        let (queue, printer, closer) = queue(Limits::USUAL, writer, env.clone());
        env.spawn(printer.run());
        let handler = Arc::new(StdioHandler::new(config, queue));
        Ok(Handler::default()
            .with(Handle::LogEntry(handler.clone()))
            .with(Handle::Metric(handler))
            .on_close(move || closer.close(CLOSE)))
    }
}
