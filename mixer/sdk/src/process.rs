//! The process of an adapter: flags, certificates, health, and an end that loses no call.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use mesh_runtime::Runtime;
use mesh_runtime::args::HostPort;
use mesh_runtime::grpc::GrpcOptions;
use mesh_runtime::listen::{BindError, Listener, bind};
use mesh_runtime::log::LogArgs;
use mesh_runtime::tls::{
    CertificateError, CertificateFiles, ClientAuth, Credentials, H2, IdentityFiles, ServerTls,
};

use crate::health::Health;
use crate::{Adapter, Server};

/// Flags of an adapter's process; flatten them into your own.
#[derive(Clone, Debug, clap::Args)]
pub struct ProcessArgs {
    /// Where to listen.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9070")]
    pub address: HostPort,

    /// Certificate, which is shown to Mixer: PEM file. Followed when it changes.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// Private key of the certificate: PEM file.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,

    /// Authorities of certificates that callers must show: PEM file. Not given: they need none.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub ca: Option<PathBuf>,

    /// Where logs go.
    #[command(flatten)]
    pub log: LogArgs,
}

/// An adapter cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its certificates cannot be used.
    #[error("certificates")]
    Certificates(#[from] CertificateError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Runs the process of the adapter `name`; to be returned by `main`.
///
/// It serves until `SIGTERM` or `SIGINT`; then calls that have begun are answered, for ten seconds at most.
#[must_use]
pub fn run<A: Adapter>(name: &str, args: ProcessArgs, server: Server<A>) -> ExitCode {
    let builder = Runtime::builder(name).log(args.log.clone());
    mesh_runtime::run(builder, async move |runtime: Runtime| {
        server.serve(&runtime, &args).await.map(|_| ())
    })
}

impl<A: Adapter> Server<A> {
    /// Serves in a process that has a runtime, and returns the address: all services and `grpc.health.v1.Health`.
    ///
    /// # Errors
    ///
    /// Certificates or an address that cannot be used.
    pub async fn serve(self, runtime: &Runtime, args: &ProcessArgs) -> Result<SocketAddr, ServeError> {
        let tls = match (&args.certificate, &args.key) {
            (Some(certificate), Some(key)) => {
                let files = CertificateFiles {
                    identity: Some(IdentityFiles {
                        certificate: certificate.clone(),
                        key: key.clone(),
                    }),
                    authorities: args.ca.clone(),
                };
                Some(secured(runtime, files).await?)
            }
            _ => None,
        };
        let (socket, address) = bind("--address", &args.address).await?;
        let listener = match tls {
            Some(tls) => Listener::tls(socket, tls),
            None => socket.into(),
        };
        let health = Health::new(runtime.readiness().clone(), self.services().to_vec());
        let routes = self.template(|_| health).into_routes();
        runtime.spawn_grpc("adapter", listener, routes, GrpcOptions::default());
        Ok(address)
    }
}

async fn secured(runtime: &Runtime, files: CertificateFiles) -> Result<ServerTls, CertificateError> {
    let client = match &files.authorities {
        Some(_) => ClientAuth::Required,
        None => ClientAuth::None,
    };
    let credentials = Credentials::load(files).await?;
    let followed = credentials.clone();
    runtime.spawner().spawn("certificates", async move {
        if let Err(error) = followed.follow(|_| {}).await {
            tracing::warn!(
                error = mesh_runtime::error_chain(&error),
                "certificates are not followed"
            );
        }
    });
    Ok(ServerTls::new(credentials, client, &[H2]))
}
