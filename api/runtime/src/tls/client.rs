//! The connecting side.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError as Reason, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use webpki::EndEntityCert;

use super::files::{Certificates, Credentials};
use super::{H2, provider};

/// How a server is recognized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCheck {
    /// Not at all.
    None,
    /// By an authority, whatever its names.
    Authority,
    /// By an authority, and the name under which it was asked for.
    Name,
    /// By an authority, and one of these alternative names: SPIFFE ids, DNS names.
    AnyOf(Vec<String>),
}

/// Connects by TLS with the certificates of the moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    credentials: Credentials,
    check: ServerCheck,
    /// Name that the server is asked for, instead of the host of its address.
    sni: Option<String>,
    /// What is spoken, for ALPN.
    protocol: &'static [u8],
}

/// Applies a [`ServerCheck`].
#[derive(Debug)]
struct Verifier {
    check: ServerCheck,
    authorities: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl ClientTls ===

impl ClientTls {
    /// A client with these credentials; without identity it shows no certificate.
    #[must_use]
    pub fn new(credentials: Credentials, check: ServerCheck) -> Self {
        Self {
            credentials,
            check,
            sni: None,
            protocol: H2,
        }
    }

    /// Speaks another protocol than that of gRPC, such as [`super::HTTP_1`].
    #[must_use]
    pub fn with_protocol(self, protocol: &'static [u8]) -> Self {
        Self { protocol, ..self }
    }

    /// Asks the server for this name instead of the host of its address, and checks that.
    #[must_use]
    pub fn with_sni(self, name: impl Into<String>) -> Self {
        Self {
            sni: Some(name.into()),
            ..self
        }
    }

    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// When there is no certificate yet, nobody listens, or the server is not recognized.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.sni.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
        let config = self.config().map_err(io::Error::other)?;
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    fn config(&self) -> Result<ClientConfig, Error> {
        let certificates = self
            .credentials
            .current()
            .ok_or_else(|| Error::General("there is no certificate yet".to_owned()))?;
        let verifier = Verifier::new(self.check.clone(), &certificates);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &certificates.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![self.protocol.to_vec()];
        Ok(config)
    }
}

// === impl Verifier ===

impl Verifier {
    fn new(check: ServerCheck, certificates: &Certificates) -> Self {
        Self {
            check,
            authorities: certificates.authorities.clone(),
            algorithms: provider().signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check == ServerCheck::None {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let authorities = self.authorities.as_ref();
        let authorities = authorities
            .ok_or_else(|| Error::General("there is no authority to check the server with".to_owned()))?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            authorities,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        match &self.check {
            ServerCheck::AnyOf(names) if !has_any(end_entity, names) => {
                return Err(Error::InvalidCertificate(Reason::NotValidForName));
            }
            ServerCheck::Name => verify_server_name(&certificate, server_name)?,
            ServerCheck::None | ServerCheck::Authority | ServerCheck::AnyOf(_) => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn has_any(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    EndEntityCert::try_from(certificate).is_ok_and(|certificate| {
        let mut alternatives = certificate.valid_uri_names().chain(certificate.valid_dns_names());
        alternatives.any(|alternative| names.iter().any(|name| name == alternative))
    })
}
