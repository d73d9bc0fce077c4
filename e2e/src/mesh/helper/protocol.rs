//! What the mesh and its helper processes say to each other: one line of JSON at a time.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The node: the network namespace that routes between pods.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeSpec {
    /// Addresses of the node itself. The first is that of the node in the cluster: the pods' gateway and name server.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Range of addresses that exist in rules only, such as `10.96.0.0/16`.
    pub(crate) virtual_range: String,
}

/// A pod's namespaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxSpec {
    /// Process of the node.
    pub(crate) node: i32,
    /// The pod's network.
    pub(crate) network: Network,
    /// Host name of the pod.
    pub(crate) hostname: String,
    /// An empty folder, over which the pod's writable layer is mounted.
    pub(crate) scratch: PathBuf,
    /// Files that the pod sees instead of the machine's.
    pub(crate) files: Vec<FileSpec>,
    /// Files and folders of the machine that the pod sees elsewhere.
    pub(crate) binds: Vec<Bind>,
}

/// Which network a pod is in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Network {
    /// One of its own.
    Own(Link),
    /// That of the node.
    Host,
}

/// The link between a pod's network and that of the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Name of the node's end, at most 15 bytes.
    pub(crate) name: String,
    /// Address of the pod.
    pub(crate) address: Ipv4Addr,
    /// Address of the node.
    pub(crate) gateway: Ipv4Addr,
}

/// A file inside the pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileSpec {
    /// Absolute path.
    pub(crate) path: PathBuf,
    /// What it holds.
    pub(crate) content: String,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// What is shown: for a sandbox a path of the machine, for a container a path of the pod.
    pub(crate) source: PathBuf,
    /// Where it is shown.
    pub(crate) target: PathBuf,
    /// Refuse writing.
    pub(crate) read_only: bool,
}

/// A container of a pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerSpec {
    /// Process of the pod's sandbox.
    pub(crate) sandbox: i32,
    /// Where output goes, on the machine.
    pub(crate) log: PathBuf,
    /// What runs.
    pub(crate) process: ProcessSpec,
    /// Volumes.
    pub(crate) mounts: Vec<Bind>,
}

/// The command of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Working directory.
    pub(crate) cwd: PathBuf,
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// What a helper process tells the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Namespaces are complete.
    Ready,
    /// The container's first process, as the machine numbers it.
    Init(i32),
    /// The container's command runs.
    Started,
    /// The container's command has ended.
    Exited(Exit),
    /// It will not work.
    Failed(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

// === impl Exit ===

impl Exit {
    pub(crate) fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// As shells number it.
    pub(crate) fn as_code(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}
