//! `mixgen` makes what authors of adapters need (`spec 02` §11.6): resources and services out of protos.

mod adapter;
mod api;
mod args;
mod descriptors;
mod error;
mod new;
mod protos;
mod resource;
mod template;

use std::env;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use mesh_runtime::version::BuildInfo;

use self::args::{Args, Command};

fn main() -> ExitCode {
    let command_line: Vec<String> = env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match run(Args::parse().command, &command_line.join(" ")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do about a closed stderr.
            let _ = writeln!(stderr(), "{}", mesh_runtime::error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, command_line: &str) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Adapter(args) => adapter::run(&args, command_line)?,
        Command::Api(args) => api::run(&args)?,
        Command::New(args) => new::run(&args)?,
        Command::Template(args) => template::run(&args, command_line)?,
        Command::Version => {
            let build = BuildInfo::of("mixgen");
            writeln!(
                stdout(),
                "{} {}-{}",
                build.component,
                build.version,
                build.revision
            )?;
        }
    }
    Ok(())
}
