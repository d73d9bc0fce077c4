//! Asks our own port each second, as the API server would (G9.1).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::tls::{Certificates, Credentials};
use mesh_runtime::{Drain, Readiness};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tracing::warn;

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks `/ready` of our own port over and over, trusting our authorities only.
pub(crate) struct Poll {
    pub(crate) port: u16,
    pub(crate) credentials: Credentials,
    /// The host that the certificate must be for.
    pub(crate) host: watch::Receiver<String>,
}

// === impl Poll ===

impl Poll {
    /// The process is not ready while there is no answer.
    pub(crate) async fn run(mut self, readiness: Readiness, drain: Drain) {
        let name = format!("validation: https://127.0.0.1:{}/ready", self.port);
        let mut pending = Some(readiness.task(name.clone()));
        let mut told = None;
        let mut made: Option<(Arc<Certificates>, Arc<ClientConfig>)> = None;
        while !drain.is_draining() {
            // Before there is a certificate there is nothing to ask, and another task says so.
            if let Some(current) = self.credentials.current() {
                match self.attempt(&current, &mut made).await {
                    Ok(()) => {
                        told = None;
                        pending = None;
                    }
                    Err(reason) => {
                        if told.as_ref() != Some(&reason) {
                            warn!(reason, "the webhook does not answer as the API server would ask");
                            told = Some(reason);
                        }
                        pending.get_or_insert_with(|| readiness.task(name.clone()));
                    }
                }
            }
            let pause = async {
                tokio::select! {
                    // While something is missing a change of it is worth a look.
                    () = self.credentials.ready(), if self.credentials.current().is_none() => {}
                    Ok(()) = self.host.changed() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            };
            if drain.cancel(pause).await.is_none() {
                return;
            }
        }
    }

    async fn attempt(
        &mut self,
        current: &Arc<Certificates>,
        made: &mut Option<(Arc<Certificates>, Arc<ClientConfig>)>,
    ) -> Result<(), String> {
        let config = match made {
            Some((of, config)) if Arc::ptr_eq(of, current) => Arc::clone(config),
            _ => {
                let config = Arc::new(client(&current.authorities_pem())?);
                *made = Some((Arc::clone(current), Arc::clone(&config)));
                config
            }
        };
        let host = self.host.borrow_and_update().clone();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        tokio::time::timeout(TIMEOUT, ask(self.port, config, name))
            .await
            .map_err(|_| format!("no answer within {TIMEOUT:?}"))?
            .map_err(|error| error.to_string())
    }
}

/// A client that would notice whatever the API server would.
fn client(authorities: &str) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let authority = authority.map_err(|error| error.to_string())?;
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A connection that is resumed does not look at the certificate.
    config.resumption = Resumption::disabled();
    Ok(config)
}

async fn ask(port: u16, config: Arc<ClientConfig>, name: ServerName<'static>) -> std::io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: galley\r\nConnection: close\r\n\r\n")
        .await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    if &status == b"HTTP/1.1 200" {
        Ok(())
    } else {
        Err(std::io::Error::other(
            String::from_utf8_lossy(&status).into_owned(),
        ))
    }
}
