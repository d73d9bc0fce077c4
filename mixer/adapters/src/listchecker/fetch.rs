//! One GET over HTTP or HTTPS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_runtime::error_chain;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_rustls::TlsConnector;

/// How long a list may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest list.
const MAX_BODY: usize = 64 << 20;

/// A provider may send us on so many times.
const MAX_REDIRECTS: usize = 10;

/// Fetches from one URL.
#[derive(Debug)]
pub(super) struct Fetcher {
    url: Uri,
    authorities: PathBuf,
}

/// What a provider said.
enum Said {
    Body(String),
    Elsewhere(Uri),
}

// === impl Fetcher ===

impl Fetcher {
    pub(super) fn new(url: Uri, authorities: &Path) -> Self {
        Self {
            url,
            authorities: authorities.to_owned(),
        }
    }

    /// The text that is there. Anything but success is an error, and HTML is no list: it is what proxies, sign-in pages and
    /// error pages answer.
    pub(super) async fn fetch(&self) -> Result<String, String> {
        time::timeout(PATIENCE, self.follow())
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }

    async fn follow(&self) -> Result<String, String> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            match self.get(&url).await? {
                Said::Body(body) => return Ok(body),
                Said::Elsewhere(other) => url = other,
            }
        }
        Err(format!("sent on more than {MAX_REDIRECTS} times"))
    }

    async fn get(&self, url: &Uri) -> Result<Said, String> {
        let authority = url.authority().ok_or("the URL has no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let secure = url.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        if !secure {
            return exchange(stream, request, url).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::new(self.tls()?))
            .connect(name, stream)
            .await
            .map_err(|error| format!("{host}:{port}: {error}"))?;
        exchange(stream, request, url).await
    }

    /// Authorities are read each time: they are renewed like everything else.
    fn tls(&self) -> Result<ClientConfig, String> {
        let path = self.authorities.display();
        let pem = fs::read(&self.authorities).map_err(|error| format!("{path}: {error}"))?;
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
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>, url: &Uri) -> Result<Said, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| error_chain(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        read(response, url).await
    };
    // The connection moves the request and the answer, and ends with them.
    tokio::select! {
        said = asking => said,
        Err(error) = connection => Err(failed(error)),
    }
}

async fn read(response: Response<Incoming>, url: &Uri) -> Result<Said, String> {
    let (head, body) = response.into_parts();
    let header = |name| {
        head.headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    if head.status.is_redirection()
        && let Some(location) = header(LOCATION)
    {
        return Ok(Said::Elsewhere(resolve(url, location)?));
    }
    if !head.status.is_success() {
        return Err(format!("answered {}", head.status));
    }
    let html = header(CONTENT_TYPE).is_some_and(|form| form.starts_with("text/html"));
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| error_chain(&*error))?
        .to_bytes();
    let body = String::from_utf8(body.into()).map_err(|_| "answered with what is not UTF-8".to_owned())?;
    if html || is_html(&body) {
        return Err("answered with HTML, which is no list".to_owned());
    }
    Ok(Said::Body(body))
}

fn is_html(body: &str) -> bool {
    let begin = body.trim_start().as_bytes();
    ["<!doctype html", "<html"].iter().any(|tag| {
        begin
            .get(..tag.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()))
    })
}

/// Where a provider sends us: another URL, or a path of the same server.
fn resolve(from: &Uri, location: &str) -> Result<Uri, String> {
    let invalid = || format!("sent on to {location:?}, which is no URL");
    let location: Uri = location.parse().map_err(|_| invalid())?;
    if location.scheme().is_some() {
        return match location.scheme_str() {
            Some("http" | "https") => Ok(location),
            _ => Err(invalid()),
        };
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = location.into_parts().path_and_query;
    Uri::from_parts(parts).map_err(|_| invalid())
}
