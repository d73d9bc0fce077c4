//! `mesh-pod`: the small program that stands between the mesh and everything it runs.
//!
//! The mesh itself never changes its namespaces. What must be done inside one is done by a short-lived or waiting
//! process of this program, which is single-threaded as the kernel demands:
//!
//! ```text
//! mesh ─┬─ mesh-pod node                      holds the network of the node
//!       ├─ mesh-pod sandbox                   one per pod: holds its namespaces, like Kubernetes' pause container
//!       └─ mesh-pod container ── mesh-pod init ── the container's command, in a process namespace of its own
//! ```
//!
//! Every process that waits does so on its standard input, whose other end only the mesh holds. When the mesh
//! dies, however it dies, they see the end of the file and leave; the kernel then ends the containers with their
//! process namespaces and drops networks, rules and mounts with the last process in them. Nothing needs to be
//! cleaned up that the kernel does not clean up.

mod container;
mod enter;
mod init;
mod mounts;
mod namespaces;
mod network;
mod node;
mod processes;
pub(crate) mod protocol;
mod sandbox;

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

pub(crate) use self::processes::first_child;
use self::protocol::Report;

/// Where programs are searched, inside pods and by the helper itself.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Folder inside a pod that holds its volumes, before containers mount them where they want them.
pub(crate) const VOLUMES: &str = "/.mesh/volumes";

/// Runs one of the roles; the whole of `src/bin/mesh_pod.rs`.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    let result = match role.to_str() {
        Some("node") => node::run(),
        Some("sandbox") => sandbox::run(),
        Some("container") => container::run(),
        Some("init") => init::run(),
        Some("enter") => enter::run(args),
        _ => Err(anyhow::anyhow!(
            "started by the standalone mesh; there is nothing to run by hand"
        )),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let text = format!("{error:#}");
            // Whoever reads the protocol gets the reason; `enter` and `init` speak to people.
            if matches!(role.to_str(), Some("node" | "sandbox" | "container" | "init")) {
                report(&Report::Failed(text.clone()));
            }
            drop(writeln!(io::stderr(), "mesh-pod: {text}"));
            ExitCode::from(125)
        }
    }
}

/// Reads the first line of standard input, which describes what to do.
fn read_spec<T: DeserializeOwned>() -> Result<T> {
    let mut line = String::new();
    if io::stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot read the specification")?
        == 0
    {
        bail!("the mesh is gone");
    }
    serde_json::from_str(&line).context("the specification is not what this version expects")
}

/// Tells the mesh something, one line each.
fn report(report: &Report) {
    if let Ok(line) = serde_json::to_string(report) {
        // If the mesh is gone there is nobody to tell.
        drop(writeln!(io::stdout().lock(), "{line}"));
    }
}

/// Waits until the mesh closes its end or dies.
fn wait_for_the_mesh_to_go() {
    let mut rest = [0; 64];
    let mut stdin = io::stdin().lock();
    while matches!(stdin.read(&mut rest), Ok(1..)) {}
}
