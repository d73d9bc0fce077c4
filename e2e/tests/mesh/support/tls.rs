//! Clients that speak TLS: with a gateway as browsers do, and with workloads as proxies do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use e2e::load::Answer;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_runtime::Spawner;
use mesh_testing::certificates::{Authority, Pair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a handshake or an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What a client believes and who it is.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
}

/// Asks who signed a certificate and not for which host it is: that of a workload has an identity instead.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

/// One connection, over which any number of requests go.
pub(crate) struct Session {
    sender: Sender,
    certificate: CertificateDer<'static>,
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

// === impl TlsClient ===

impl TlsClient {
    /// One that believes these authorities and speaks HTTP/2 if the server does.
    pub(crate) fn trusting<'a>(authorities: impl IntoIterator<Item = &'a Authority>) -> Self {
        Self::new(authorities, None)
    }

    /// One that calls workloads of a mesh, with a certificate to show or without.
    pub(crate) fn of_mesh(authority: &Authority, pair: Option<&Pair>) -> Self {
        let mut client = Self::new([authority], pair);
        let mut roots = RootCertStore::empty();
        roots.add(der(authority.certificate())).expect("a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        Arc::make_mut(&mut client.config)
            .dangerous()
            .set_certificate_verifier(Arc::new(AnyHost(verifier)));
        client
    }

    /// As [`Self::trusting`], with a certificate to show.
    pub(crate) fn named<'a>(authorities: impl IntoIterator<Item = &'a Authority>, pair: &Pair) -> Self {
        Self::new(authorities, Some(pair))
    }

    fn new<'a>(authorities: impl IntoIterator<Item = &'a Authority>, pair: Option<&Pair>) -> Self {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(der(authority.certificate())).expect("a root");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                builder
                    .with_client_auth_cert(vec![der(&pair.certificate)], key)
                    .expect("a client certificate")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            config: Arc::new(config),
        }
    }

    /// Opens TLS on a connection; `host` is the server name.
    pub(crate) async fn handshake(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())?;
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        Ok(tokio::time::timeout(TIMEOUT, connecting)
            .await
            .context("no handshake in time")??)
    }

    /// Opens a connection for requests.
    pub(crate) async fn open(&self, stream: TcpStream, host: &str) -> Result<Session> {
        let stream = self.handshake(stream, host).await?;
        let (_, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate
            .context("no certificate was shown")?
            .clone()
            .into_owned();
        let is_http2 = tls.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(stream);
        let sender = if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            Spawner::default().spawn("connection", async move { drop(connection.await) });
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            Spawner::default().spawn("connection", async move { drop(connection.await) });
            Sender::Http1(sender)
        };
        Ok(Session { sender, certificate })
    }
}

// === impl AnyHost ===

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last.
        match self
            .0
            .verify_server_cert(certificate, intermediates, name, ocsp, now)
        {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

// === impl Session ===

impl Session {
    /// Which version of HTTP is spoken.
    pub(crate) fn version(&self) -> Version {
        match self.sender {
            Sender::Http1(_) => Version::HTTP_11,
            Sender::Http2(_) => Version::HTTP_2,
        }
    }

    /// Whether the server showed this certificate.
    pub(crate) fn shows(&self, pair: &Pair) -> bool {
        self.certificate == der(&pair.certificate)
    }

    /// GETs a path of a host.
    pub(crate) async fn get(&mut self, host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut request = match self.sender {
            Sender::Http1(_) => Request::get(path).header("host", host),
            Sender::Http2(_) => Request::get(format!("https://{host}{path}")),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new())?;
        let exchange = async {
            let response = match &mut self.sender {
                Sender::Http1(sender) => sender.send_request(request).await?,
                Sender::Http2(sender) => sender.send_request(request).await?,
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            let headers = head.headers.iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            });
            Ok::<_, anyhow::Error>(Answer {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .map_err(|_| anyhow!("no answer in time"))?
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// A Secret of these texts.
pub(crate) fn secret(namespace: &str, name: &str, texts: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n"
    );
    for (key, text) in texts {
        yaml.push_str(&format!("  {key}: |\n"));
        for line in text.lines() {
            yaml.push_str(&format!("    {line}\n"));
        }
    }
    yaml
}

/// A Secret with a certificate and its key.
pub(crate) fn tls_secret(namespace: &str, name: &str, pair: &Pair) -> String {
    secret(
        namespace,
        name,
        &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)],
    )
}
