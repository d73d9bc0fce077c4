//! The process: listens, with certificates on both sides if it has any, and serves the adapter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::GrpcOptions;
use mesh_runtime::listen::{Listener, bind};
use mesh_runtime::log::LogArgs;
use mesh_runtime::tls::{CertificateFiles, ClientAuth, Credentials, H2, IdentityFiles, ServerTls};
use mixer_sdk::Server;
use mygrpcprint::Print;

/// Writes the metrics that Mixer sends to a file.
#[derive(Debug, Parser)]
#[command(name = "mygrpcprint")]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    address: HostPort,

    /// Certificate; with --key and --ca, callers must show one, too.
    #[arg(long, requires_all = ["key", "ca"])]
    certificate: Option<PathBuf>,

    /// Private key of the certificate.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,

    /// Authorities that callers are checked against.
    #[arg(long, requires = "certificate")]
    ca: Option<PathBuf>,

    #[command(flatten)]
    log: LogArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let builder = Runtime::builder("mygrpcprint").log(args.log.clone());
    mesh_runtime::run(builder, async move |runtime: Runtime| start(&runtime, args).await)
}

async fn start(runtime: &Runtime, args: Args) -> anyhow::Result<()> {
    let (socket, _) = bind("--address", &args.address).await?;
    let listener = match (args.certificate, args.key) {
        (Some(certificate), Some(key)) => {
            let files = CertificateFiles {
                identity: Some(IdentityFiles { certificate, key }),
                authorities: args.ca,
            };
            let credentials = Credentials::load(files).await.context("certificates")?;
            Listener::tls(socket, ServerTls::new(credentials, ClientAuth::Required, &[H2]))
        }
        _ => socket.into(),
    };
    let routes = Server::new(Print).metric().into_routes();
    runtime.spawn_grpc("adapter", listener, routes, GrpcOptions::default());
    Ok(())
}
