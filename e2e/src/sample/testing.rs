//! Servers on real sockets for the tests of the roles.

use axum::Router;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::client::BaseUrl;
use super::identity::Identity;
use super::server;

/// A role behind a free port of the loopback address; it ends with this value.
pub(super) struct TestServer {
    authority: String,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    _task: JoinSet<()>,
}

/// An answer with its complete body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) fn identity(app: &str, version: &str) -> Identity {
    Identity {
        app: app.to_owned(),
        version: version.to_owned(),
        pod: format!("{app}-{version}-0"),
        namespace: "test".to_owned(),
    }
}

/// The address of a backend that refuses connections.
pub(super) async fn nobody() -> BaseUrl {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap()
}

// === impl TestServer ===

impl TestServer {
    pub(super) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let never = std::future::pending().boxed().shared();
            server::serve(listener, None, router, never).await.unwrap();
        });
        let http = legacy::Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self {
            authority,
            http,
            _task: task,
        }
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn base(&self) -> BaseUrl {
        format!("http://{}", self.authority).parse().unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .http
            .request(request.body(Full::new(body.into())).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
