//! Who this process is: what it writes into its answers.

use clap::Args;
use serde::Serialize;

/// The workload's name, version and pod, from flags or from the environment of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Name of the application, by default the name of the role.
    pub app: String,
    /// Version of the workload, by default `v1`.
    pub version: String,
    /// Name of the pod, by default the host's name.
    pub pod: String,
    /// Namespace of the pod; empty when nobody said it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

#[derive(Debug, Args)]
pub(super) struct IdentityArgs {
    /// Name of the application [default: the role]
    #[arg(long, global = true, env = "APP", value_name = "NAME")]
    app: Option<String>,
    /// Version of the workload
    #[arg(
        long = "app-version",
        global = true,
        env = "VERSION",
        value_name = "VERSION",
        default_value = "v1"
    )]
    version: String,
    /// Name of the pod [default: the host's name]
    #[arg(long, global = true, env = "POD_NAME", value_name = "NAME")]
    pod: Option<String>,
    /// Namespace of the pod
    #[arg(
        long,
        global = true,
        env = "POD_NAMESPACE",
        value_name = "NAME",
        default_value = ""
    )]
    namespace: String,
}

// === impl Identity ===

impl Identity {
    pub(super) fn new(args: IdentityArgs, role: &str) -> Self {
        let IdentityArgs {
            app,
            version,
            pod,
            namespace,
        } = args;
        Self {
            app: app.unwrap_or_else(|| role.to_owned()),
            version,
            pod: pod.unwrap_or_else(host_name),
            namespace,
        }
    }
}

/// The container's `HOSTNAME`, which Kubernetes sets to the pod's name, else the name of the machine.
fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}
