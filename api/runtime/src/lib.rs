//! How every binary starts, logs, reports readiness, serves and stops.
//!
//! A binary parses its flags, describes itself to a [`RuntimeBuilder`] and hands [`run`] an async
//! function that does the wiring:
//!
//! ```no_run
//! # use mesh_runtime::{Runtime, admin::AdminArgs, log::LogArgs};
//! # async fn load() {}
//! fn main() -> std::process::ExitCode {
//!     let builder = Runtime::builder("pilot-discovery").log(LogArgs::default());
//!     mesh_runtime::run(builder, async |runtime: Runtime| {
//!         let synced = runtime.readiness().task("config sync");
//!         runtime.spawn_admin(&AdminArgs::default(), runtime.admin_router()).await?;
//!         runtime.spawner().spawn("loader", async move {
//!             load().await;
//!             synced.ready();
//!         });
//!         Ok::<(), mesh_runtime::BindError>(())
//!     })
//! }
//! ```
//!
//! Libraries take what they need and no more: a [`Spawner`], a [`Drain`], a [`Readiness`] or
//! [`Metrics`].

pub mod admin;
pub mod args;
pub mod backoff;
pub mod drain;
pub mod grpc;
pub mod http;
pub mod limits;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod probe;
pub mod readiness;
pub mod rotate;
mod runtime;
pub mod shutdown;
pub mod task;
pub mod tls;
pub mod version;
pub mod watch;

use std::error::Error as StdError;

pub use self::backoff::Backoff;
pub use self::drain::{Drain, DrainGuard};
pub use self::listen::BindError;
pub use self::metrics::Metrics;
pub use self::readiness::{Readiness, ReadyGuard};
pub use self::runtime::{AdminAddresses, Runtime, RuntimeBuilder, RuntimeError, run};
pub use self::shutdown::Shutdown;
pub use self::task::{Spawner, TaskHandle};

/// An error with all its sources on one line, `outer: middle: root`.
#[must_use]
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn chain(texts: &[&'static str]) -> String {
        let error = texts
            .iter()
            .rev()
            .fold(None, |source, text| Some(Box::new(Layer { text, source })));
        error_chain(&*error.unwrap())
    }

    #[test]
    fn an_error_is_shown_with_its_sources_once() {
        assert_eq!(chain(&["cannot start"]), "cannot start");
        assert_eq!(
            chain(&["cannot start", "cannot read", "no such file"]),
            "cannot start: cannot read: no such file"
        );
        assert_eq!(
            chain(&["cannot start: no such file", "no such file"]),
            "cannot start: no such file"
        );
    }
}
