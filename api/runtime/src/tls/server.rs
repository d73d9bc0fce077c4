//! The accepting side.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::files::{Certificates, Credentials};
use super::{PeerCertificates, provider};

/// How long a client may take to introduce itself.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nothing.
    None,
    /// A certificate of one of the authorities.
    Required,
}

/// Accepts TLS connections with the certificates of the moment. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls {
    inner: Arc<Inner>,
}

struct Inner {
    credentials: Credentials,
    client: ClientAuth,
    protocols: Vec<Vec<u8>>,
    built: Mutex<Option<Built>>,
}

/// What was made of certificates, so that connections share it.
struct Built {
    of: Arc<Certificates>,
    config: Arc<ServerConfig>,
}

// === impl ServerTls ===

impl ServerTls {
    /// A server of these protocols ([`super::H2`], [`super::HTTP_1`]), the preferred one first. Handshakes fail while the
    /// credentials have no identity, or no authorities although clients need certificates.
    #[must_use]
    pub fn new(credentials: Credentials, client: ClientAuth, protocols: &[&[u8]]) -> Self {
        Self {
            inner: Arc::new(Inner {
                credentials,
                client,
                protocols: protocols.iter().map(|name| name.to_vec()).collect(),
                built: Mutex::new(None),
            }),
        }
    }

    /// The handshake of one connection.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, PeerCertificates)> {
        let handshake = TlsAcceptor::from(self.config()?).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))??;
        let peer = PeerCertificates::new(stream.get_ref().1.peer_certificates());
        Ok((stream, peer))
    }

    fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let Inner {
            credentials,
            client,
            protocols,
            built,
        } = &*self.inner;
        let current = credentials
            .current()
            .ok_or_else(|| io::Error::other("there is no certificate yet"))?;
        let mut built = built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = built.as_ref().filter(|built| Arc::ptr_eq(&built.of, &current)) {
            return Ok(built.config.clone());
        }
        let config = Arc::new(build(&current, *client, protocols).map_err(io::Error::other)?);
        *built = Some(Built {
            of: current,
            config: config.clone(),
        });
        Ok(config)
    }
}

fn build(
    certificates: &Certificates,
    client: ClientAuth,
    protocols: &[Vec<u8>],
) -> Result<ServerConfig, rustls::Error> {
    let missing = |what: &str| rustls::Error::General(what.to_owned());
    let identity = certificates.identity.clone();
    let identity = identity.ok_or_else(|| missing("a server needs a certificate and a key"))?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Required => {
            let authorities = certificates.authorities.clone();
            let authorities =
                authorities.ok_or_else(|| missing("there is no authority to check clients with"))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider())
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = protocols.to_vec();
    Ok(config)
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("client", &self.inner.client)
            .field("protocols", &self.inner.protocols.len())
            .finish_non_exhaustive()
    }
}
