//! Programs that are measured are release builds, and so is the load tool: two cores serve both.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::mesh::programs::{target, workspace};

/// This program.
const OURS: &str = "mesh";

/// Builds a program of this workspace for release; quick when it is up to date.
///
/// # Errors
///
/// When cargo is missing or the build fails; its output has said why.
pub(crate) fn build(package: &str, program: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = target()?;
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            package,
            "--bin",
            program,
        ])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(workspace())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the release build of {program} failed");
    }
    Ok(target.join("release").join(program))
}

/// Goes on as a release build of this program, with the same arguments and `more`. Returns only if this is one.
///
/// # Errors
///
/// When it cannot be built or started.
pub(crate) fn go_on(more: &[&std::ffi::OsStr]) -> Result<()> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let program = build(env!("CARGO_PKG_NAME"), OURS)?;
    let error = Command::new(&program)
        .args(env::args_os().skip(1))
        .args(more)
        .exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}
