//! Running without root: inside a user namespace in which we are root.
//!
//! Only the user namespace is new. The process stays in the machine's network, so that the mesh's ports on the
//! loopback address are where everybody expects them; the mesh's own networks are created inside anyway.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use mesh_testing::provision::Missing;
use nix::unistd::Uid;

/// Maps our user to root and the subordinate users of `/etc/subuid` to all others: pods run several.
const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--map-auto"];

/// Set in the process that runs inside.
const INSIDE: &str = "ISTIO_RS_USER_NAMESPACE";

/// Starts this program again inside a user namespace, unless it is root already.
pub(super) fn enter_if_needed() -> Result<()> {
    if Uid::effective().is_root() {
        return Ok(());
    }
    if std::env::var_os(INSIDE).is_some() {
        bail!("the user namespace does not make this process root");
    }
    let attempt = Command::new(UNSHARE[0])
        .args(&UNSHARE[1..])
        .arg("true")
        .stdin(Stdio::null())
        .output();
    if !attempt.is_ok_and(|output| output.status.success()) {
        bail!(Missing {
            what: "root, or a user namespace with subordinate users,".to_owned(),
            remedy:
                "run with sudo, or install uidmap (apt-get install -y uidmap) and give your user a range in \
                     /etc/subuid and /etc/subgid"
                    .to_owned(),
        });
    }
    let error = Command::new(UNSHARE[0])
        .args(&UNSHARE[1..])
        .arg("--")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("cannot run unshare")
}
