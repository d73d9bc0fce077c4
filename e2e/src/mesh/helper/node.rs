//! The node: a network namespace whose routes and rules connect the pods, as a Kubernetes node does.
//!
//! Pods hang on point-to-point links. There is no bridge: every packet between pods passes the node's rules, so
//! that service addresses are translated there, both ways, as kube-proxy does it.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::protocol::{NodeSpec, Report};
use super::{network, read_spec, report, wait_for_the_mesh_to_go};

pub(super) fn run() -> Result<ExitCode> {
    let spec: NodeSpec = read_spec()?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot create namespaces")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("cannot make mounts private")?;
    // The lock of iptables lives in /run; two meshes must not wait for each other.
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("cannot mount /run")?;
    network::set_common()?;
    // Forwarding first: it resets the settings of interfaces.
    network::set("ipv4/ip_forward", "1")?;
    for interfaces in ["all", "default"] {
        network::set(&format!("ipv4/conf/{interfaces}/rp_filter"), "0")?;
        network::set(&format!("ipv4/conf/{interfaces}/send_redirects"), "0")?;
    }
    let mut commands = vec!["link set lo up".to_owned()];
    commands.extend(
        spec.addresses
            .iter()
            .map(|address| format!("addr add {address}/32 dev lo")),
    );
    // Rules for packets that are forwarded see only what has a route.
    commands.push(format!("route add {} dev lo", spec.virtual_range));
    network::ip(&commands)?;
    report(&Report::Ready);
    wait_for_the_mesh_to_go();
    Ok(ExitCode::SUCCESS)
}
