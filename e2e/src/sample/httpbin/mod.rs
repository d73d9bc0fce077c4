//! `httpbin`: answers with what it was sent, in the shape of the service of that name.

mod inspect;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Path, RawQuery, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{any, delete, get, patch, post, put};
use clap::Args;
use serde_json::{Map, Value, json};

use self::inspect::{Inspection, pretty};
use super::form;
use super::identity::Identity;
use super::random::Numbers;
use super::server;

/// Flags of the role.
#[derive(Debug, Args)]
pub(in crate::sample) struct HttpbinArgs {
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 80)]
    port: u16,
    /// Take the rest of the command line as gunicorn's, of which only the port in `-b` counts
    #[arg(long, num_args = 0.., allow_hyphen_values = true, value_name = "WORDS")]
    gunicorn: Vec<String>,
}

/// Answers do not wait longer than this.
const MAX_DELAY: Duration = Duration::from_secs(10);
const MAX_BYTES: usize = 100 * 1024;
const MAX_LINES: u64 = 100;

// === impl HttpbinArgs ===

impl HttpbinArgs {
    /// The port of gunicorn's `-b ADDRESS:PORT` or `--bind=ADDRESS:PORT`, else that of `--port`.
    pub(super) fn listen_port(&self) -> u16 {
        let words = &self.gunicorn;
        let bind = words
            .iter()
            .enumerate()
            .find_map(|(at, word)| match word.as_str() {
                "-b" | "--bind" => words.get(at + 1).map(String::as_str),
                word => word.strip_prefix("--bind=").or_else(|| word.strip_prefix("-b")),
            });
        bind.and_then(|bind| bind.rsplit(':').next()?.parse().ok())
            .unwrap_or(self.port)
    }

    pub(super) fn router(self, identity: &Identity) -> Router {
        let inspected =
            |fields: &'static [&'static str]| move |seen: Inspection| async move { seen.answer(fields) };
        let routes = Router::new()
            .route("/", get(async || Html(include_str!("index.html"))))
            .route("/anything", any(inspected(inspect::ALL)))
            .route("/anything/{*rest}", any(inspected(inspect::ALL)))
            .route("/get", get(inspected(inspect::WITHOUT_BODY)))
            .route("/post", post(inspected(inspect::WITH_BODY)))
            .route("/put", put(inspected(inspect::WITH_BODY)))
            .route("/patch", patch(inspected(inspect::WITH_BODY)))
            .route("/delete", delete(inspected(inspect::WITH_BODY)))
            .route("/headers", get(inspected(&["headers"])))
            .route("/ip", get(inspected(&["origin"])))
            .route("/user-agent", get(user_agent))
            .route("/cookies", get(cookies))
            .route("/uuid", get(uuid))
            .route("/delay/{seconds}", any(delay))
            .route("/status/{codes}", any(status::status))
            .route("/redirect/{times}", any(redirect))
            .route("/bytes/{count}", get(bytes))
            .route("/stream/{count}", get(stream))
            .route("/response-headers", get(response_headers).post(response_headers))
            .route("/html", get(async || Html(include_str!("page.html"))))
            .route("/json", get(slide_show));
        server::finish(routes, identity)
    }
}

async fn user_agent(headers: HeaderMap) -> Response {
    let agent = headers
        .get(header::USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    pretty(&json!({ "user-agent": agent }))
}

async fn cookies(headers: HeaderMap) -> Response {
    let mut cookies = Map::new();
    for line in headers.get_all(header::COOKIE) {
        let line = String::from_utf8_lossy(line.as_bytes());
        for (name, value) in line.split(';').filter_map(|cookie| cookie.trim().split_once('=')) {
            cookies.insert(name.to_owned(), value.into());
        }
    }
    pretty(&json!({ "cookies": cookies }))
}

async fn uuid() -> Response {
    let mut numbers = Numbers::fresh();
    let (high, low) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    // Version 4, variant 1.
    let uuid = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff,
    );
    pretty(&json!({ "uuid": uuid }))
}

async fn delay(Path(seconds): Path<f64>, request: Request) -> Response {
    let delay = Duration::try_from_secs_f64(seconds)
        .unwrap_or(Duration::ZERO)
        .min(MAX_DELAY);
    tokio::time::sleep(delay).await;
    match Inspection::from_request(request, &()).await {
        Ok(seen) => seen.answer(inspect::DELAYED),
        Err(refusal) => refusal.into_response(),
    }
}

async fn redirect(Path(times): Path<u8>) -> Response {
    let to = if times > 1 {
        format!("/redirect/{}", times - 1)
    } else {
        "/get".to_owned()
    };
    (StatusCode::FOUND, Redirect::to(&to)).into_response()
}

async fn bytes(Path(count): Path<usize>, RawQuery(query): RawQuery) -> Response {
    let seed = form::pairs(query.as_deref().unwrap_or_default())
        .into_iter()
        .find_map(|(name, value)| (name == "seed").then(|| value.parse().ok()).flatten());
    let numbers = seed.map_or_else(Numbers::fresh, Numbers::seeded);
    let content: Vec<u8> = numbers
        .flat_map(u64::to_le_bytes)
        .take(count.min(MAX_BYTES))
        .collect();
    ([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response()
}

async fn stream(Path(count): Path<u64>, seen: Inspection) -> Response {
    let mut object = seen.object(inspect::STREAMED);
    let lines = (0..count.min(MAX_LINES)).map(move |id| {
        object.insert("id".to_owned(), id.into());
        let mut line = Value::Object(object.clone()).to_string();
        line.push('\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    });
    let body = Body::from_stream(futures::stream::iter(lines));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn response_headers(RawQuery(query): RawQuery) -> Response {
    let pairs = form::pairs(query.as_deref().unwrap_or_default());
    let mut headers = HeaderMap::new();
    for (name, value) in &pairs {
        // These two describe the body that goes out, whatever the caller wishes.
        if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own.as_str()))
        {
            continue;
        }
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    let mut response = pretty(&Value::Object(inspect::multi_map(pairs)));
    response.headers_mut().extend(headers);
    response
}

async fn slide_show() -> Response {
    pretty(&json!({
        "slideshow": {
            "author": "mesh-sample",
            "date": "date of publication",
            "title": "Sample Slide Show",
            "slides": [
                {"type": "all", "title": "A mesh in one minute"},
                {"type": "all", "title": "Overview", "items": ["Proxies carry the requests", "A control plane tells them how"]},
            ],
        },
    }))
}
