//! Connections to servers of HTTP and HTTPS.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::request::Builder;
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Uri};
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

/// What is asked of a server of HTTP or HTTPS. A user and a password that stand in a URL are sent as basic authentication,
/// and are not displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    url: Uri,
    authorization: Option<HeaderValue>,
}

// === impl Address ===

impl Address {
    /// Reads a URL; else says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url: Uri = text
            .parse()
            .map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        match url.scheme_str() {
            Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => Self::new(url),
            Some("http" | "https") => Err(format!("{text:?} has no host")),
            Some(scheme) => Err(format!("the scheme {scheme:?} is neither http nor https")),
            None => Err(format!("{text:?} must have a scheme and a host")),
        }
    }

    fn new(url: Uri) -> Result<Self, String> {
        let Some((user, server)) = url
            .authority()
            .and_then(|authority| authority.as_str().rsplit_once('@'))
        else {
            return Ok(Self {
                url,
                authorization: None,
            });
        };
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let pair = [&*unescaped(user)?, b":", &*unescaped(password)?].concat();
        let mut authorization = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
            .map_err(|error| error.to_string())?;
        authorization.set_sensitive(true);
        let server = Authority::try_from(server).map_err(|error| error.to_string())?;
        let mut parts = url.into_parts();
        parts.authority = Some(server);
        Ok(Self {
            url: Uri::from_parts(parts).map_err(|error| error.to_string())?,
            authorization: Some(authorization),
        })
    }

    /// Another path of the same server.
    pub(crate) fn with_path(&self, path: Option<PathAndQuery>) -> Result<Self, String> {
        let mut parts = self.url.clone().into_parts();
        parts.path_and_query = path;
        Ok(Self {
            url: Uri::from_parts(parts).map_err(|error| error.to_string())?,
            authorization: self.authorization.clone(),
        })
    }

    /// The path without its query.
    #[cfg(feature = "zipkin")]
    pub(crate) fn path(&self) -> &str {
        self.url.path()
    }

    /// The beginning of a request.
    pub(crate) fn request(&self, method: Method) -> Builder {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        let request = Request::builder().method(method).uri(path).header(HOST, host);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// A user or a password as it was before it was written into a URL.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part
            .split_at_checked(2)
            .filter(|(digits, _)| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 16).ok()?, rest)));
        let (byte, rest) = byte.ok_or("user and password have a % that no two hexadecimal digits follow")?;
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Ok(bytes)
}

/// Connects to a server. `authorities` is a file of certificates (PEM).
pub(crate) async fn dial(address: &Address, authorities: &Path) -> Result<Box<dyn Stream>, String> {
    let url = &address.url;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_urls_are_told_by_basic_authentication_alone() {
        for (url, shown, host, authorization) in [
            ("http://a:8080/x?y", "http://a:8080/x?y", "a:8080", None),
            (
                "https://me:secret@a/x",
                "https://a/x",
                "a",
                Some("Basic bWU6c2VjcmV0"),
            ),
            (
                "http://me@[::1]:80",
                "http://[::1]:80/",
                "[::1]:80",
                Some("Basic bWU6"),
            ),
            ("http://m%65:a%40b@a", "http://a/", "a", Some("Basic bWU6YUBi")),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("bWU6"));
            let request = address.request(Method::GET).body(()).unwrap();
            let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(header(HOST), Some(host), "{url}");
            assert_eq!(header(AUTHORIZATION), authorization, "{url}");
            let other = address.with_path(Some(PathAndQuery::from_static("/z"))).unwrap();
            let request = other.request(Method::GET).body(()).unwrap();
            assert_eq!(request.uri(), "/z");
            assert_eq!(
                request.headers().contains_key(AUTHORIZATION),
                authorization.is_some()
            );
        }
        for url in [
            "http://me:%zz@a",
            "http://me:%4@a",
            "http://me:%@a",
            "http://me@",
            "ftp://a",
            "a",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
    }
}
