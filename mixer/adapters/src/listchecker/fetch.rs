//! One GET over HTTP or HTTPS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_runtime::error_chain;
use tokio::time;

use crate::dial::{Address, Stream, dial};

/// How long a list may take to arrive. The first one is waited for when the handler is built, which must not fail because of
/// its provider: less than [`mixer_adapter::BUILD_LIMIT`].
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest list.
const MAX_BODY: usize = 64 << 20;

/// A provider may send us on so many times.
const MAX_REDIRECTS: usize = 10;

/// Fetches from one URL.
#[derive(Debug)]
pub(super) struct Fetcher {
    url: Address,
    authorities: PathBuf,
}

/// What a provider said.
enum Said {
    Body(String),
    Elsewhere(Address),
}

// === impl Fetcher ===

impl Fetcher {
    pub(super) fn new(url: Address, authorities: &Path) -> Self {
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

    async fn get(&self, url: &Address) -> Result<Said, String> {
        let stream = dial(url, &self.authorities).await?;
        let request = url
            .request(Method::GET)
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        exchange(stream, request, url).await
    }
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Empty<Bytes>>,
    url: &Address,
) -> Result<Said, String> {
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

async fn read(response: Response<Incoming>, url: &Address) -> Result<Said, String> {
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
fn resolve(from: &Address, location: &str) -> Result<Address, String> {
    let invalid = || format!("sent on to {location:?}, which is no URL");
    let url: Uri = location.parse().map_err(|_| invalid())?;
    if url.scheme().is_some() {
        return Address::parse(location).map_err(|_| invalid());
    }
    from.with_path(url.into_parts().path_and_query)
        .map_err(|_| invalid())
}
