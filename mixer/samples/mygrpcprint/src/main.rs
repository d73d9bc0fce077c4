//! The process of the adapter.

use std::process::ExitCode;

use clap::Parser;
use mixer_sdk::{ProcessArgs, Server};
use mygrpcprint::Print;
use mygrpcprint::protos::permit::handle_permit_service_server::HandlePermitServiceServer;

/// Writes what Mixer sends to a file, and refuses some users.
#[derive(Debug, Parser)]
#[command(name = "mygrpcprint")]
struct Args {
    #[command(flatten)]
    process: ProcessArgs,
}

fn main() -> ExitCode {
    let server = Server::new(Print)
        .metric()
        .template(HandlePermitServiceServer::new);
    mixer_sdk::run("mygrpcprint", Args::parse().process, server)
}
