//! The `galley` binary.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use galley::args::{Args, Command};
use galley::server;
use galley_webhook::RemoveArgs;
use mesh_runtime::Runtime;
use mesh_runtime::version::BuildInfo;
use tikv_jemallocator::Jemalloc;

/// What many connections use for a moment goes back to the system; the C library's allocator keeps it for the process.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Args::parse().command() {
        Command::Server(args) => {
            let builder = Runtime::builder("galley")
                .log(args.log.clone())
                .scopes(server::SCOPES);
            mesh_runtime::run(builder, async |runtime| {
                server::start(&runtime, *args).await.map(drop)
            })
        }
        // The command line makes a server of it.
        Command::Validator(_) => ExitCode::FAILURE,
        Command::RemoveWebhook(args) => finish(remove(&args)),
        Command::Probe(args) => finish(args.check().map(|()| "OK".to_owned()).map_err(Into::into)),
        Command::Version => {
            let BuildInfo {
                component,
                version,
                revision,
            } = BuildInfo::of("galley");
            finish(Ok(format!("{component} {version} ({revision})")))
        }
    }
}

/// Takes the webhook configuration away.
fn remove(args: &RemoveArgs) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(galley_webhook::remove(args))?)
}

/// Prints what a short command has to say.
fn finish(outcome: anyhow::Result<String>) -> ExitCode {
    let (text, code) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("{error:#}"), ExitCode::FAILURE),
    };
    let written = match code {
        ExitCode::SUCCESS => writeln!(io::stdout(), "{text}"),
        _ => writeln!(io::stderr(), "galley: {text}"),
    };
    if written.is_err() { ExitCode::FAILURE } else { code }
}
