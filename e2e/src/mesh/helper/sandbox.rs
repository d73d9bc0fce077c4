//! A pod's namespaces, and the process that holds them.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::sethostname;

use super::protocol::{Report, SandboxSpec};
use super::{mounts, namespaces, network, read_spec, report, wait_for_the_mesh_to_go};

pub(super) fn run() -> Result<ExitCode> {
    let spec: SandboxSpec = read_spec()?;
    let node = File::open(format!("/proc/{}/ns/net", spec.node)).context("the node is gone")?;
    unshare(
        CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .context("cannot create namespaces")?;
    connect(&spec, &node).context("cannot connect the pod")?;
    sethostname(&spec.hostname).context("cannot set the host name")?;
    mounts::enter_root(&spec.scratch, &spec.files, &spec.binds).context("cannot prepare the pod's files")?;
    report(&Report::Ready);
    wait_for_the_mesh_to_go();
    Ok(ExitCode::SUCCESS)
}

/// Links the pod with the node and routes both ways.
fn connect(spec: &SandboxSpec, node: &File) -> Result<()> {
    let SandboxSpec {
        node: node_pid,
        link,
        address,
        gateway,
        ..
    } = spec;
    let pod = namespaces::own_network()?;
    network::set_common()?;
    network::ip(&[format!(
        "link add name eth0 type veth peer name {link} netns {node_pid}"
    )])?;
    setns(node, CloneFlags::CLONE_NEWNET)?;
    let routed = network::ip(&[
        format!("link set {link} up"),
        format!("route add {address}/32 dev {link}"),
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
