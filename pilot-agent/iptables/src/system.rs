//! What the program finds around it: privileges, addresses, programs, users, environment files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::sys::socket::SockaddrStorage;
use pilot_agent_iptables::{Family, parse_env_file};

/// The bit of CAP_NET_ADMIN in a capability mask.
const CAP_NET_ADMIN: u32 = 12;

/// Environment files of virtual machines: the variable that names one, and its usual place.
const ENV_FILES: [(&str, &str); 2] = [
    ("ISTIO_CLUSTER_CONFIG", "/var/lib/istio/envoy/cluster.env"),
    ("ISTIO_SIDECAR_CONFIG", "/var/lib/istio/envoy/sidecar.env"),
];

/// Fails with one line when the kernel would refuse every change.
pub(crate) fn require_net_admin() -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = mask
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    if mask >> CAP_NET_ADMIN & 1 == 0 {
        bail!(
            "needs root with the capability NET_ADMIN: run it as root, for example with sudo (apt-get install sudo)"
        );
    }
    Ok(())
}

/// The address families of this network namespace.
///
/// Link-local addresses do not count: every interface has one as soon as the kernel knows IPv6, and
/// nothing outside the link can be reached by it. Without any address IPv4 is prepared, since an
/// address may still come.
pub(crate) fn families() -> anyhow::Result<Vec<Family>> {
    let interfaces = nix::ifaddrs::getifaddrs().context("cannot list the network interfaces")?;
    let addresses: Vec<SockaddrStorage> = interfaces.filter_map(|interface| interface.address).collect();
    let v4 = addresses
        .iter()
        .filter_map(|address| address.as_sockaddr_in())
        .any(|address| usable_v4(address.ip()));
    let v6 = addresses
        .iter()
        .filter_map(|address| address.as_sockaddr_in6())
        .any(|address| usable_v6(address.ip()));
    let mut families = Vec::new();
    if v4 || !v6 {
        families.push(Family::V4);
    }
    if v6 {
        families.push(Family::V6);
    }
    Ok(families)
}

fn usable_v4(ip: Ipv4Addr) -> bool {
    !ip.is_loopback() && !ip.is_link_local()
}

fn usable_v6(ip: Ipv6Addr) -> bool {
    !ip.is_loopback() && !ip.is_unicast_link_local()
}

/// Adds the variables of the environment files that can be read. A file wins over the environment, as
/// it does when a shell sources it.
pub(crate) fn add_env_files(env: &mut BTreeMap<String, String>) {
    for (variable, default) in ENV_FILES {
        let path = env
            .get(variable)
            .map_or_else(|| PathBuf::from(default), PathBuf::from);
        if let Ok(text) = std::fs::read_to_string(path) {
            env.extend(parse_env_file(&text));
        }
    }
}

/// The number of a local user.
pub(crate) fn uid_of(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name)
        .ok()
        .flatten()
        .map(|user| user.uid.as_raw())
}

/// Runs a program with the text as its input and returns what it printed.
///
/// # Errors
/// The program is missing (with the command that installs it), cannot be run, or failed (with what it
/// complained about, on one line).
pub(crate) fn run(program: &str, args: &[String], input: &str) -> anyhow::Result<String> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "{program} is not installed: apt-get install {}",
                package_of(program)
            )
        }
        other => other.with_context(|| format!("cannot run {program}"))?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes its input; its own message says more than the broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for {program}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint: Vec<&str> = complaint
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        bail!("{program} {}: {}", args.join(" "), complaint.join("; "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The Debian package of a program.
fn package_of(program: &str) -> &'static str {
    match program {
        "ip" => "iproute2",
        _ => "iptables",
    }
}
