//! The commands of `cargo mesh`.

mod down;
mod examples;
mod exec;
mod logs;
mod status;
mod test;
mod unprivileged;
mod up;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::bench;
use crate::mesh::control::{self, Call};
use crate::mesh::layout::{Holder, Layout};
use crate::mesh::programs;
use crate::mesh::state::State;

/// A whole mesh on this machine: Galley, Pilot, gateways and pods with real Envoys.
#[derive(Debug, Parser)]
#[command(name = "cargo mesh", bin_name = "cargo mesh")]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Which mesh, if there are several. Without it the unnamed one is meant.
    #[arg(long, global = true, value_name = "NAME", value_parser = name)]
    name: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start a mesh and print where to reach it.
    Up(up::Args),
    /// End the mesh and everything of it.
    Down,
    /// Show what runs.
    Status,
    /// Run a command inside a pod.
    Exec(exec::Args),
    /// Show the output of a pod or a component.
    Logs(logs::Args),
    /// Change labels of a running pod: `label POD version=v3 old-`.
    Label(LabelArgs),
    /// Add or replace objects in the running mesh.
    Apply(ApplyArgs),
    /// Remove an object from the running mesh.
    Delete(DeleteArgs),
    /// Run all tests with the real parts they need.
    Test(test::Args),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Args),
}

#[derive(Debug, clap::Args)]
struct LabelArgs {
    /// Name of the pod, or NAMESPACE/NAME.
    pod: String,
    /// KEY=VALUE sets, KEY- removes.
    #[arg(required = true, value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    /// File with YAML, `-` for standard input.
    #[arg(short, long, value_name = "FILE", required = true)]
    file: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// Such as VirtualService.
    kind: String,
    /// Its name.
    object: String,
    /// Its namespace.
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// Runs `cargo mesh`; the whole of `src/bin/mesh.rs`.
#[must_use]
pub fn main() -> ExitCode {
    let Args { command, name } = Args::parse();
    match run(command, name.as_deref()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, name: Option<&str>) -> Result<ExitCode> {
    let layout = || anyhow::Ok(Layout::in_target(&programs::target()?, name));
    match command {
        Command::Up(args) => up::run(&args, name, &layout()?),
        Command::Down => down::run(&layout()?),
        Command::Status => status::run(&layout()?),
        Command::Exec(args) => exec::run(&args, &layout()?),
        Command::Logs(args) => logs::run(&args, &layout()?),
        Command::Label(args) => {
            let labels = args
                .labels
                .iter()
                .map(|text| label(text))
                .collect::<Result<BTreeMap<_, _>>>()?;
            ask(
                &layout()?,
                &Call::Label {
                    pod: args.pod,
                    labels,
                },
            )
        }
        Command::Apply(args) => {
            let layout = layout()?;
            for file in args.file {
                let yaml = read(&file)?;
                ask(&layout, &Call::Apply { yaml })?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Delete(DeleteArgs {
            kind,
            object,
            namespace,
        }) => ask(
            &layout()?,
            &Call::Delete {
                kind,
                namespace,
                name: object,
            },
        ),
        Command::Test(args) => test::run(&args),
        Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
    }
}

fn ask(layout: &Layout, call: &Call) -> Result<ExitCode> {
    say(&runtime()?.block_on(control::call(layout, call))?);
    Ok(ExitCode::SUCCESS)
}

fn label(text: &str) -> Result<(String, Option<String>)> {
    match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => bail!("{text} is neither KEY=VALUE nor KEY-"),
    }
}

fn read(file: &PathBuf) -> Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// A name becomes part of a path.
fn name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.len() <= 40 && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a name has up to 40 lower-case letters, digits and dashes".to_owned())
    }
}

/// The state of the running mesh.
fn state(layout: &Layout) -> Result<State> {
    if layout.holder()? == Holder::Nobody {
        bail!("no mesh is running: start one with `cargo mesh up`");
    }
    let text = fs::read(layout.state()).context("the mesh is still starting")?;
    serde_json::from_slice(&text).context("the state of the mesh is not what this version writes")
}

/// Prints for whoever called; if nobody reads, that is their choice.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
    let _ = io::stdout().flush();
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Messages go to standard error, or to `file` if the mesh runs detached. `MESH_LOG` sets the levels.
fn start_logging(file: Option<PathBuf>) {
    let filter = std::env::var("MESH_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new("warn,e2e=info"));
    let writer = match file {
        // The folder is emptied when the mesh starts, so the file is opened for every line.
        Some(path) => BoxMakeWriter::new(move || -> Box<dyn io::Write> {
            match fs::File::options().append(true).create(true).open(&path) {
                Ok(file) => Box::new(file),
                Err(_) => Box::new(io::sink()),
            }
        }),
        None => BoxMakeWriter::new(io::stderr),
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(writer)
        .try_init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn labels_are_set_and_removed_as_kubectl_does() {
        assert_eq!(
            label("version=v3").unwrap(),
            ("version".to_owned(), Some("v3".to_owned()))
        );
        assert_eq!(
            label("version=").unwrap(),
            ("version".to_owned(), Some(String::new()))
        );
        assert_eq!(label("version-").unwrap(), ("version".to_owned(), None));
        for bad in ["version", "=v3", "-"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_cannot_leave_their_folder() {
        assert!(name("canary-2").is_ok());
        for bad in ["", "..", "a/b", "A"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
