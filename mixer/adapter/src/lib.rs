//! What an adapter of Mixer is written against (`spec 02` §11.1).
//!
//! An [`Adapter`] is code with parameters; a [`Handler`] is an adapter that was built with parameters somebody
//! configured. Rules send instances of templates to handlers. A handler never waits inside a call: what takes time is
//! returned as a future that owns what it needs ([`Answer::Later`]), or goes to a task of its own ([`Env::spawn`]).

mod adapter;
mod env;
mod handler;
mod params;
pub mod session;
#[cfg(feature = "testing")]
pub mod testing;
pub mod text;

pub use adapter::{
    Adapter, BUILD_LIMIT, BuildError, ConfigError, ConfigErrors, Configured, Inferred, Info, SomeAdapter,
};
pub use env::{Env, Workers};
pub use handler::{
    Answer, CheckResult, Handle, HandleApiKey, HandleAuthorization, HandleCheckNothing, HandleEdge,
    HandleKubernetes, HandleListEntry, HandleLogEntry, HandleMetric, HandleQuota, HandleReportNothing,
    HandleTraceSpan, Handler, HandlerError, QuotaArgs, QuotaResult, status,
};
pub use params::merge;
pub use tonic::Code;
