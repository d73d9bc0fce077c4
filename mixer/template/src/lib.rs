//! Mixer's templates: what is handed to an adapter, and when (`spec 02` §6).

mod builder;
mod instance;
mod kind;

pub use builder::{
    Bindings, BuildError, Common, FieldError, Instance, InstanceBuilder, InstanceCompiler, Outputs,
};
pub use instance::{
    Action, ApiKey, Authorization, CheckNothing, Edge, Fields, Kubernetes, KubernetesOutput, KubernetesSide,
    ListEntry, LogEntry, Metric, Quota, ReportNothing, Subject, TraceSpan,
};
pub use kind::{Template, Variety};
