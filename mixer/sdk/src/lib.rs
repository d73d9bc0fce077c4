//! What adapters of Mixer that run in a process of their own are written against (`spec 02` §10, §11.3).
//!
//! An [`Adapter`] makes a handler of each configuration that it is sent, and a [`Server`] brings what Mixer says to the
//! handler of its configuration: with sessions, or with the parameters in every call. A handler implements a trait for each
//! template that it serves:
//!
//! ```no_run
//! use mixer_sdk::{Adapter, HandleMetric, Inferred, Server, Status, metric};
//!
//! struct Counter;
//! struct Count;
//!
//! impl Adapter for Counter {
//!     type Config = ();
//!     type Handler = Count;
//!
//!     async fn build(&self, _: (), _: &Inferred) -> Result<Count, Status> {
//!         Ok(Count)
//!     }
//! }
//!
//! impl HandleMetric for Count {
//!     async fn handle_metric(&self, instances: Vec<metric::InstanceMsg>) -> Result<(), Status> {
//!         tracing::info!(instances = instances.len(), "reported");
//!         Ok(())
//!     }
//! }
//!
//! #[derive(clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     process: mixer_sdk::ProcessArgs,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let args = <Args as clap::Parser>::parse();
//!     mixer_sdk::run("counter", args.process, Server::new(Counter).metric())
//! }
//! ```
//!
//! [`run`] is a whole process: TLS, `grpc.health.v1.Health` for probes, an end that loses no call. Who has a server already takes
//! [`Server::into_routes`]. [`template!`] declares templates of one's own.

mod backend;
mod health;
mod process;
mod registry;
mod server;
mod template;
mod verdict;

use std::collections::BTreeMap;

use prost::{Message, Name};

pub use mesh_api::adapter::template::kubernetes;
pub use mesh_api::google::rpc::Status as RpcStatus;
pub use mesh_api::istio::mixer::adapter::model::v1beta1::CheckResult;
pub use mesh_api::istio::policy::v1beta1::{Value, value};
pub use mesh_api::{
    Any, apikey, authorization, checknothing, edge, listentry, logentry, metric, quota, reportnothing,
    tracespan,
};
pub use process::{ProcessArgs, ServeError, run};
pub use server::{Handlers, Server};
pub use template::{
    Granted, HandleApiKey, HandleAuthorization, HandleCheckNothing, HandleEdge, HandleKubernetes,
    HandleListEntry, HandleLogEntry, HandleMetric, HandleQuota, HandleReportNothing, HandleTraceSpan, Wanted,
};
pub use tonic::{Code, Status};
pub use verdict::{permitted, refused};

#[doc(hidden)]
pub use tonic;

pub mod model {
    //! Mixer's model of adapters: answers, and the service for sessions.
    //!
    //! Code that is generated for a template of one's own takes the messages of its imports from here. In `build.rs`:
    //!
    //! ```text
    //! tonic_prost_build::configure()
    //!     .build_client(false)
    //!     .bytes(".")
    //!     .extern_path(".google.protobuf.Any", "::mixer_sdk::Any")
    //!     .extern_path(".google.rpc", "::mixer_sdk::rpc")
    //!     .extern_path(".istio.mixer.adapter.model.v1beta1", "::mixer_sdk::model")
    //!     .extern_path(".istio.policy.v1beta1", "::mixer_sdk::policy")
    //! ```
    pub use mesh_api::istio::mixer::adapter::model::v1beta1::*;
}

pub mod policy {
    //! Values that operators choose, and their types.
    pub use mesh_api::istio::policy::v1beta1::*;
}

pub mod rpc {
    //! Statuses.
    pub use mesh_api::google::rpc::*;
}

/// Types of what a handler will be sent: full name of the instance to the message `Type` of its template. Empty for
/// adapters without sessions, which are not told.
pub type Inferred = BTreeMap<String, Any>;

/// An adapter.
pub trait Adapter: Send + Sync + 'static {
    /// Its parameters: the message `Params` of its .proto file.
    type Config: Message + Name + Default;

    /// What does the work under one configuration. It is dropped when the configuration is not in use any more.
    type Handler: Send + Sync + 'static;

    /// Looks for what is wrong with parameters. Mixer tells the operator.
    ///
    /// # Errors
    ///
    /// What is wrong, as [`Code::InvalidArgument`].
    fn validate(&self, config: &Self::Config, inferred: &Inferred) -> Result<(), Status> {
        let _everything_is_good = (config, inferred);
        Ok(())
    }

    /// Makes a handler of parameters that are valid.
    ///
    /// # Errors
    ///
    /// Why that is not possible now.
    fn build(
        &self,
        config: Self::Config,
        inferred: &Inferred,
    ) -> impl Future<Output = Result<Self::Handler, Status>> + Send;
}
