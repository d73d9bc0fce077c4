//! `cargo mesh exec`

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use super::state;
use crate::mesh::layout::Layout;
use crate::mesh::programs::Programs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Name of the pod, or NAMESPACE/NAME.
    pod: String,
    /// Which of its containers, if not the application's.
    #[arg(short, long)]
    container: Option<String>,
    /// The command.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(super) fn run(args: &Args, layout: &Layout) -> Result<ExitCode> {
    let container = state(layout)?.find_container(&args.pod, args.container.as_deref())?;
    let init = container
        .init
        .with_context(|| format!("container {} does not run", container.name))?;
    let mut command = Command::new(Programs::helper_program()?);
    command
        .args(["enter", "container", &init.to_string(), "--"])
        .args(&args.command);
    // Only comes back when it fails.
    Err(command.exec()).context("cannot run the helper")
}
