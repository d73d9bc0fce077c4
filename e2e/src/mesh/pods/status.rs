//! What is known about a running pod.

use crate::mesh::helper::protocol::Exit;

/// The life of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not all containers run yet.
    #[default]
    Pending,
    /// All containers have been started.
    Running,
    /// All containers have ended well and stay so.
    Succeeded,
    /// The pod will not come back.
    Failed,
    /// The pod is being ended.
    Terminating,
}

/// The state of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodStatus {
    pub(crate) phase: Phase,
    /// Every container that should be ready is.
    pub(crate) ready: bool,
    /// Why the pod is not what it should be.
    pub(crate) message: String,
    pub(crate) containers: Vec<ContainerStatus>,
    /// The process that holds the pod's namespaces.
    pub(crate) sandbox: Option<i32>,
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    /// Whether the pod's readiness depends on it.
    pub(crate) lasting: bool,
    pub(crate) state: ContainerState,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Not started yet, or not yet again.
    #[default]
    Waiting,
    /// Its command runs.
    Running {
        /// The container's first process.
        init: i32,
        /// The command's process.
        command: Option<i32>,
    },
    /// It has ended.
    Exited(Exit),
}

// === impl Phase ===

impl Phase {
    /// As Kubernetes prints it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Terminating => "Terminating",
        }
    }
}

// === impl ContainerStatus ===

impl ContainerStatus {
    /// The first process, if the container runs.
    pub(crate) fn init(&self) -> Option<i32> {
        match self.state {
            ContainerState::Running { init, .. } => Some(init),
            _ => None,
        }
    }

    /// The command's process, if the container runs.
    pub(crate) fn command(&self) -> Option<i32> {
        match self.state {
            ContainerState::Running { command, .. } => command,
            _ => None,
        }
    }
}
