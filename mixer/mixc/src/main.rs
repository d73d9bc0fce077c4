//! `mixc` calls a running Mixer, with attributes from the command line (`spec 02` §9.2).

mod args;
mod attributes;
mod call;
mod explain;
mod output;

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use mesh_runtime::version::BuildInfo;

use self::args::{Args, Command};

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do about a closed stderr.
            let _ = writeln!(stderr(), "{}", mesh_runtime::error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let all_answered = match command {
        Command::Check(args) => {
            let quotas = attributes::quotas(args.quotas.as_deref().unwrap_or_default())?;
            let attributes = args.attributes.parse()?;
            runtime.block_on(call::check(&args.load, &attributes, &quotas))?
        }
        Command::Report(args) => {
            let attributes = args.attributes.parse()?;
            runtime.block_on(call::report(&args.load, &attributes))?
        }
        Command::Explain(args) => {
            let quotas = attributes::quotas(args.quotas.as_deref().unwrap_or_default())?;
            let attributes = args.attributes.parse()?;
            let text = runtime.block_on(explain::explain(&args.ctrlz, &attributes, &quotas))?;
            stdout().write_all(text.as_bytes())?;
            true
        }
        Command::Version => {
            let build = BuildInfo::of("mixc");
            writeln!(
                stdout(),
                "{} {}-{}",
                build.component,
                build.version,
                build.revision
            )?;
            true
        }
    };
    Ok(if all_answered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
