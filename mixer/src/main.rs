//! The `mixs` binary.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use mesh_runtime::Runtime;
use mesh_runtime::version::BuildInfo;
use mixer::args::{Args, Command};
use mixer::{server, validator};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Server(args) => {
            let builder = Runtime::builder("mixer")
                .log(args.log.clone())
                .scopes(server::SCOPES);
            mesh_runtime::run(builder, async |runtime| server::start(&runtime, *args).await)
        }
        Command::Probe(args) => finish(args.check().map(|()| "OK".to_owned()).map_err(Into::into)),
        Command::Validator(args) => finish(validator::validate(&args)),
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
