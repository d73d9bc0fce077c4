//! A proxy in front of an API server that misbehaves on command.
//!
//! What a real server does rarely, or only when it is under load, happens here when a test says so: everything else is
//! still the real server. What passes is changed in its form, its order and its time; no object is ever invented.

mod lines;
mod request;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use kube::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::lines::Lines;
use self::request::{Target, Verb, parameter};
use super::Access;

/// The largest body of a request, in bytes. The server's own limit is 3 MB.
const LARGEST_BODY: usize = 16 << 20;

/// What a server answers that is not an API server at all, such as the sign-in page of a network.
const PAGE: &str = "<html><body>Please sign in</body></html>\n";

/// A way to an API server on which requests for a kind can go wrong. Ends when dropped.
///
/// Callers are who their kubeconfig says by impersonation ([`Access::as_user`] of [`Self::access`]), else the
/// administrator; tokens count for nothing.
#[derive(Debug)]
pub struct ApiProxy {
    access: Access,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What goes wrong with the requests for a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All requests are answered with this status code and a matching `Status`; watches that are open stay.
    Status(u16),
    /// Lists and new watches are not answered until the fault is over.
    HoldRequests,
    /// Watches are silent, and do not even end when the server ends them. What happened meanwhile is told when the
    /// fault is over.
    HoldEvents,
    /// Events of the object of this name come when the fault is over; those of others overtake them. A watch that ends
    /// before would have lost them, which no server does.
    HoldObject(String),
    /// What happens is held back as in [`Self::HoldEvents`], and a bookmark of the version before comes in its place.
    Bookmarks,
    /// Every event comes so many times.
    Repeat(usize),
    /// A watch breaks in the middle of its next event.
    CutEvents,
    /// Lists are answered with a page of HTML. A watch has a line of it in the place of each event, which is lost.
    Garbage,
    /// Watches are told that the server has forgotten the version they ask for, and end.
    Gone,
    /// Watches end at once, without an error.
    EndWatches,
}

/// Requests for a kind that arrived, faulty ones too, and what was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lists, and pages of lists.
    pub lists: usize,
    /// Watches.
    pub watches: usize,
    /// All others.
    pub others: usize,
    /// Lines of watches that were passed on; repeated ones count each time.
    pub lines: usize,
}

#[derive(Debug)]
struct Shared {
    script: watch::Sender<Script>,
    counts: Mutex<BTreeMap<String, Counts>>,
}

/// What tests want now, by plural names of kinds.
#[derive(Clone, Debug, Default)]
struct Script {
    faults: BTreeMap<String, Fault>,
    /// How often watches were dropped.
    drops: BTreeMap<String, u64>,
}

// === impl ApiProxy ===

impl ApiProxy {
    /// Starts a proxy for a server, in the runtime of the caller.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the proxy, or with the runtime of the test"
    )]
    pub async fn start(admin: &Access) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let access = admin.at(&format!("http://{}", listener.local_addr()?))?;
        let shared = Arc::new(Shared {
            script: watch::Sender::default(),
            counts: Mutex::default(),
        });
        let server = Server {
            client: admin.client().await?,
            shared: Arc::clone(&shared),
        };
        let router = Router::new().fallback(serve).with_state(server);
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { access, shared, task })
    }

    /// The way in: for clients, kubectl and programs that take `--kubeconfig`.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// From now on, requests for a kind (`configmaps`) go wrong in this way and no other.
    pub fn begin(&self, plural: &str, fault: Fault) {
        self.shared.script.send_modify(|script| {
            script.faults.insert(plural.to_owned(), fault);
        });
    }

    /// Requests for a kind are served again, and what was held back arrives.
    pub fn end(&self, plural: &str) {
        self.shared.script.send_modify(|script| {
            script.faults.remove(plural);
        });
    }

    /// Breaks the connections of all watches of a kind.
    pub fn drop_watches(&self, plural: &str) {
        self.shared.script.send_modify(|script| {
            *script.drops.entry(plural.to_owned()).or_default() += 1;
        });
    }

    /// What arrived for a kind so far.
    #[must_use]
    pub fn counts(&self, plural: &str) -> Counts {
        let counts = self.shared.counts.lock();
        let counts = counts.unwrap_or_else(PoisonError::into_inner);
        counts.get(plural).copied().unwrap_or_default()
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.task.abort();
        // Connections are tasks of their own.
        self.shared.script.send_modify(|script| {
            for kind in self.shared.count_all() {
                *script.drops.entry(kind).or_default() += 1;
            }
        });
    }
}

// === impl Shared ===

impl Shared {
    fn count(&self, plural: &str, add: impl FnOnce(&mut Counts)) {
        let counts = self.counts.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        add(counts.entry(plural.to_owned()).or_default());
    }

    fn count_all(&self) -> Vec<String> {
        let counts = self.counts.lock();
        let counts = counts.unwrap_or_else(PoisonError::into_inner);
        counts.keys().cloned().collect()
    }

    fn fault(&self, plural: &str) -> Option<Fault> {
        self.script.borrow().faults.get(plural).cloned()
    }
}

// === the server ===

#[derive(Clone)]
struct Server {
    client: Client,
    shared: Arc<Shared>,
}

async fn serve(State(server): State<Server>, request: Request) -> Response {
    let Some(target) = Target::of(request.method(), request.uri()) else {
        return server.pass(request).await;
    };
    let mut script = server.shared.script.subscribe();
    // Who sees that it was counted may drop it, answered or not.
    let drops = script.borrow().drops.get(&target.plural).copied();
    server.shared.count(&target.plural, |counts| match target.verb {
        Verb::List => counts.lists += 1,
        Verb::Watch => counts.watches += 1,
        Verb::Other => counts.others += 1,
    });
    // A sender lives as long as the server.
    let _ = script
        .wait_for(|script| {
            target.verb == Verb::Other || script.faults.get(&target.plural) != Some(&Fault::HoldRequests)
        })
        .await;
    match (server.shared.fault(&target.plural), target.verb) {
        (Some(Fault::Status(code)), _) => return refusal(code, &target.plural),
        (Some(Fault::Garbage), Verb::List) => return page(),
        _ => {}
    }
    let version = parameter(request.uri(), "resourceVersion")
        .unwrap_or("0")
        .to_owned();
    let response = server.pass(request).await;
    if target.verb != Verb::Watch || response.status() != StatusCode::OK {
        return response;
    }
    let (parts, body) = response.into_parts();
    let lines = Lines::new(
        body,
        Arc::clone(&server.shared),
        target.plural,
        version,
        drops.unwrap_or_default(),
    );
    Response::from_parts(parts, Body::from_stream(lines.into_stream()))
}

impl Server {
    /// The answer of the real server.
    async fn pass(&self, request: Request) -> Response {
        match self.ask(request).await {
            Ok(response) => response,
            Err(error) => answer(StatusCode::BAD_GATEWAY, "text/plain", format!("{error:#}")),
        }
    }

    async fn ask(&self, request: Request) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        let body = to_bytes(body, LARGEST_BODY).await?;
        for name in [HOST, CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        // Lines are looked at.
        parts
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        parts.uri = parts
            .uri
            .path_and_query()
            .context("a request has a path")?
            .as_str()
            .parse()?;
        let request = http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        let response = self.client.send(request).await?;
        let (mut parts, body) = response.into_parts();
        for name in [CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        parts.version = http::Version::HTTP_11;
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

/// As the API server says that it will not.
fn refusal(code: u16, plural: &str) -> Response {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": format!("{plural}: the test says {code}"),
        "reason": reason,
        "details": { "retryAfterSeconds": u8::from(code == 429) },
        "code": code,
    });
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer(code, "application/json", status.to_string());
    if code == StatusCode::TOO_MANY_REQUESTS {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn page() -> Response {
    answer(StatusCode::OK, "text/html", PAGE.to_owned())
}

fn answer(status: StatusCode, content: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let content = HeaderValue::from_static(content);
    response.headers_mut().insert(http::header::CONTENT_TYPE, content);
    response
}
