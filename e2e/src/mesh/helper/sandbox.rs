//! A pod's namespaces, and the process that holds them.

use std::fs::{self, File};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use super::protocol::{Link, Network, Report, SandboxSpec};
use super::{mounts, namespaces, network, read_spec, report, wait_for_the_mesh_to_go};

/// What every pod has for itself.
const OWN: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

pub(super) fn run() -> Result<ExitCode> {
    let spec: SandboxSpec = read_spec()?;
    match &spec.network {
        Network::Own(link) => {
            let node = open(&network_of(spec.node))?;
            unshare(OWN | CloneFlags::CLONE_NEWNET).context("cannot create namespaces")?;
            connect(link, spec.node, &node).context("cannot connect the pod")?;
        }
        Network::Host => {
            unshare(OWN).context("cannot create namespaces")?;
            enter_node(spec.node).context("cannot enter the network of the node")?;
        }
    }
    sethostname(&spec.hostname).context("cannot set the host name")?;
    mounts::enter_root(&spec.scratch, &spec.files, &spec.binds).context("cannot prepare the pod's files")?;
    report(&Report::Ready);
    wait_for_the_mesh_to_go();
    Ok(ExitCode::SUCCESS)
}

fn network_of(node: i32) -> String {
    format!("/proc/{node}/ns/net")
}

fn open(node: &str) -> Result<File> {
    File::open(node).context("the node is gone")
}

/// Makes the node's network that of the pod. The network in which the mesh was started is the machine's: no pod runs there,
/// whatever becomes of the node.
fn enter_node(node: i32) -> Result<()> {
    let path = network_of(node);
    let file = open(&path)?;
    ensure!(
        fs::read_link(&path)? != fs::read_link("/proc/self/ns/net")?,
        "process {node} has no network of its own"
    );
    Ok(setns(&file, CloneFlags::CLONE_NEWNET)?)
}

/// Links the pod with the node and routes both ways.
fn connect(link: &Link, node_pid: i32, node: &File) -> Result<()> {
    let Link {
        name,
        address,
        gateway,
    } = link;
    let pod = namespaces::own_network()?;
    network::set_common()?;
    network::ip(&[format!(
        "link add name eth0 type veth peer name {name} netns {node_pid}"
    )])?;
    setns(node, CloneFlags::CLONE_NEWNET)?;
    let routed = network::ip(&[
        format!("link set {name} up"),
        format!("route add {address}/32 dev {name}"),
    ]);
    setns(&pod, CloneFlags::CLONE_NEWNET)?;
    routed?;
    network::ip(&[
        "link set lo up".to_owned(),
        format!("addr add {address}/32 dev eth0"),
        "link set eth0 up".to_owned(),
        format!("route add {gateway}/32 dev eth0"),
        format!("route add default via {gateway} dev eth0"),
    ])
}
