//! Connections to servers of HTTP and HTTPS.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The authorities of the system, by which servers are recognized.
pub(crate) const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A URL of HTTP or HTTPS with a host; else what is wrong with it.
pub(crate) fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text
        .parse()
        .map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        Some("http" | "https") => Err(format!("{text:?} has no host")),
        Some(scheme) => Err(format!("the scheme {scheme:?} is neither http nor https")),
        None => Err(format!("{text:?} must have a scheme and a host")),
    }
}

/// Connects to the server of a URL. `authorities` is a file of certificates (PEM).
pub(crate) async fn dial(url: &Uri, authorities: &Path) -> Result<Box<dyn Stream>, String> {
    let authority = url.authority().ok_or("the URL has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let secure = url.scheme_str() == Some("https");
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(tls(authorities)?))
        .connect(name, stream)
        .await
        .map_err(|error| format!("{host}:{port}: {error}"))?;
    Ok(Box::new(stream))
}

/// Authorities are read each time: they are renewed like everything else.
fn tls(authorities: &Path) -> Result<ClientConfig, String> {
    let path = authorities.display();
    let pem = fs::read(authorities).map_err(|error| format!("{path}: {error}"))?;
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(format!("{path} has no authority"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
