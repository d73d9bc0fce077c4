//! Tokens by OAuth 2, for a client that acts for itself (RFC 6749 §4.4).

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_api::istio::policy::v1beta1::OAuth;
use mesh_runtime::error_chain;
use mesh_runtime::tls::{ClientTls, Credentials, HTTP_1, ServerCheck};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::security::secret;

/// How long getting a token may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A token is fetched again so long before it expires.
const EARLY: Duration = Duration::from_secs(10);
/// Largest answer.
const MAX_BODY: usize = 1 << 20;

/// Fetches tokens.
pub(super) struct TokenClient {
    url: Uri,
    authorization: String,
    body: String,
    tls: ClientTls,
    /// Made once, however many calls wait for it.
    current: Mutex<Arc<OnceCell<Fetched>>>,
}

struct Fetched {
    header: String,
    /// `None`: for ever.
    until: Option<Instant>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    expires_in: Option<u64>,
}

// === impl TokenClient ===

impl TokenClient {
    pub(super) async fn new(oauth: &OAuth, credentials: Credentials) -> Result<Self, String> {
        let url: Uri = oauth
            .token_url
            .parse()
            .map_err(|_| format!("tokenUrl {:?} is no URL", oauth.token_url))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.authority().is_none() {
            return Err(format!(
                "tokenUrl {:?} is no URL of http or https",
                oauth.token_url
            ));
        }
        if url
            .authority()
            .is_some_and(|server| server.as_str().contains('@'))
        {
            return Err("tokenUrl must have no user: clientId and clientSecret say who asks".to_owned());
        }
        let secret = secret(&oauth.client_secret).await?;
        // Both parts are encoded as forms are before they are joined.
        let pair = format!("{}:{}", escaped(&oauth.client_id), escaped(&secret));
        let mut fields = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
        if !oauth.scopes.is_empty() {
            fields.push(("scope".to_owned(), oauth.scopes.join(" ")));
        }
        fields.extend(oauth.endpoint_params.clone());
        let body = fields
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        Ok(Self {
            url,
            authorization: format!("Basic {}", STANDARD.encode(pair)),
            body: body.collect::<Vec<_>>().join("&"),
            tls: ClientTls::new(credentials, ServerCheck::Name).with_protocol(HTTP_1),
            current: Mutex::default(),
        })
    }

    /// What stands in the header `authorization`.
    pub(super) async fn token(&self) -> Result<String, String> {
        let slot = {
            let mut slot = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let expired = |token: &Fetched| token.until.is_some_and(|until| until <= Instant::now());
            if slot.get().is_some_and(expired) {
                *slot = Arc::default();
            }
            Arc::clone(&slot)
        };
        let fetch = || async {
            tokio::time::timeout(PATIENCE, self.fetch())
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
                .map_err(|reason| format!("cannot get a token from {}: {reason}", self.url))
        };
        Ok(slot.get_or_try_init(fetch).await?.header.clone())
    }

    async fn fetch(&self) -> Result<Fetched, String> {
        let authority = self.url.authority().ok_or("the URL has no host")?;
        let host = authority.host();
        let secure = self.url.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(AUTHORIZATION, &self.authorization)
            .body(Full::new(Bytes::from(self.body.clone())))
            .map_err(|error| error.to_string())?;
        let body = if secure {
            let stream = self.tls.connect(host, port).await;
            exchange(stream.map_err(|error| error.to_string())?, request).await?
        } else {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, port)).await;
            exchange(stream.map_err(|error| error.to_string())?, request).await?
        };
        // What was sent may hold secrets, and is not shown.
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| "the answer is no token".to_owned())?;
        let kind = if answer.token_type.is_empty() || answer.token_type.eq_ignore_ascii_case("bearer") {
            "Bearer"
        } else {
            &answer.token_type
        };
        let lifetime = answer.expires_in.filter(|seconds| *seconds > 0);
        Ok(Fetched {
            header: format!("{kind} {}", answer.access_token),
            until: lifetime.and_then(|seconds| {
                let seconds = Duration::from_secs(seconds);
                // A token that lives shorter than that is used to its end.
                Instant::now().checked_add(seconds.checked_sub(EARLY).unwrap_or(seconds))
            }),
        })
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| error_chain(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| error_chain(&*error))?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("answered {status}"))
        }
    };
    // The connection moves the request and the answer, and ends with them.
    tokio::select! {
        answer = asking => answer,
        Err(error) = connection => Err(failed(error)),
    }
}

/// Text as forms have it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            byte => {
                // Writing to text does not fail.
                let _never = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

/// Secrets are not for logs.
impl fmt::Debug for TokenClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
