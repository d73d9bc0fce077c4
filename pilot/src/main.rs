//! The `pilot-discovery` binary.

use std::process::ExitCode;

use clap::Parser;
use mesh_runtime::Runtime;
use pilot::args::{Args, Command};
use pilot::{request, server};
use tikv_jemallocator::Jemalloc;

/// What many connections use for a moment goes back to the system; the C library's allocator keeps it for the process.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Discovery(args) => {
            let builder = Runtime::builder("pilot-discovery")
                .log(args.log.clone())
                .scopes(server::SCOPES);
            mesh_runtime::run(builder, async |runtime| {
                server::start(&runtime, *args).await.map(drop)
            })
        }
        Command::Request(args) => request::run(&args),
        Command::Version => request::version(),
    }
}
