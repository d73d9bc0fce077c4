//! Links, addresses, routes and settings, by iproute2 and `/proc/sys`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a list of `ip` commands in the current namespace with one process.
pub(super) fn ip(commands: &[String]) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .env("PATH", super::PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip: apt-get install -y iproute2")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.join("\n").as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip: {}",
            String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")
        );
    }
    Ok(())
}

/// Sets a network setting of the current namespace, such as `ipv4/ip_forward`.
pub(super) fn set(name: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/net/{name}"), value)
        .with_context(|| format!("cannot set net/{name} to {value}"))
}

/// Settings that every namespace of ours has.
pub(super) fn set_common() -> Result<()> {
    // As container runtimes do: ports below 1024 need no privilege inside a pod.
    set("ipv4/ip_unprivileged_port_start", "0")?;
    // The mesh speaks IPv4; link-local addresses would only confuse who looks for the pod's address.
    for interfaces in ["all", "default"] {
        if fs::exists("/proc/sys/net/ipv6").unwrap_or_default() {
            set(&format!("ipv6/conf/{interfaces}/disable_ipv6"), "1")?;
        }
    }
    Ok(())
}
