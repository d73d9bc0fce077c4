//! Pods: what Kubernetes' kubelet does, on this machine.

mod container;
mod env;
mod handle;
mod host_ports;
pub(crate) mod plan;
mod probe;
mod resolver;
mod status;
mod volumes;
mod worker;

pub(crate) use self::handle::{PodContext, PodHandle, PodIdentity, PodUpdate, Stop};
pub(crate) use self::host_ports::{HostPort, host_ports, is_on_host};
pub(crate) use self::plan::{PlanInputs, PodPlan};
pub(crate) use self::status::{Phase, PodStatus};
pub(crate) use self::volumes::Content;
