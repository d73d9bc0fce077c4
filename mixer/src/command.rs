//! The commands of `mixs`, for its own binary and for those of authors who link adapters in.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use mesh_runtime::Runtime;
use mesh_runtime::version::BuildInfo;
use mixer_adapter::SomeAdapter;

use crate::args::{Args, Command};
use crate::{server, validator};

/// Does what the command line says, with the adapters that are built in and with `more`.
#[must_use]
pub fn run(more: Vec<Box<dyn SomeAdapter>>) -> ExitCode {
    match Args::parse().command {
        Command::Server(args) => {
            let builder = Runtime::builder("mixer")
                .log(args.log.clone())
                .scopes(server::SCOPES);
            mesh_runtime::run(builder, async |runtime| {
                server::start(&runtime, *args, more).await
            })
        }
        Command::Probe(args) => finish(args.check().map(|()| "OK".to_owned()).map_err(Into::into)),
        Command::Validator(args) => finish(validator::validate(&args, more)),
        Command::Crd(args) => finish(validator::definitions(&args)),
        Command::Version => {
            let BuildInfo {
                component,
                version,
                revision,
            } = BuildInfo::of("mixer");
            finish(Ok(format!("{component} {version} ({revision})")))
        }
    }
}

/// Prints what a short command has to say.
fn finish(outcome: anyhow::Result<String>) -> ExitCode {
    let (text, code) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("{error:#}"), ExitCode::FAILURE),
    };
    let written = match code {
        ExitCode::SUCCESS => writeln!(io::stdout(), "{text}"),
        _ => writeln!(io::stderr(), "mixs: {text}"),
    };
    if written.is_err() { ExitCode::FAILURE } else { code }
}
