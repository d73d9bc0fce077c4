//! Requests from inside of pods: captured by their sidecars as those of the application are.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use e2e::load::Answer;
use e2e::sample::echo::Echo;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::TestMesh;

/// How long one answer may take; longer than any delay that a rule of the examples asks for.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What names stand for that the mesh's DNS does not know: an address that nobody has, so that only a proxy can
/// answer.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Sends requests from a pod, each over a connection of its own, as `curl` does.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    mesh: &'a TestMesh,
    pod: &'a str,
}

/// How many answers were of each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(pub(crate) BTreeMap<String, usize>);

// === impl TestMesh ===

impl TestMesh {
    /// Requests from inside of a pod.
    pub(crate) fn from<'a>(&'a self, pod: &'a str) -> Caller<'a> {
        Caller { mesh: self, pod }
    }

    /// GETs `/` from a port of a pod, from the node: no proxy is on the way but the pod's own.
    pub(crate) async fn get_at(&self, pod: &str, port: u16) -> Result<Answer> {
        let stream = self.mesh().connect(pod, port).await?;
        let uri = format!("http://{pod}:{port}/").parse()?;
        exchange(stream, Method::GET, &uri, &[], "").await
    }
}

// === impl Caller ===

impl Caller<'_> {
    /// GETs a URL whose host is a name as the application would write it. `headers` may replace `host`.
    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send(Method::GET, url, headers).await
    }

    /// As [`Self::get`], with any method.
    pub(crate) async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let stream = self.connect(&uri).await?;
        exchange(stream, method, &uri, headers, "").await
    }

    /// A connection of the pod to where a URL leads.
    pub(crate) async fn connect(&self, uri: &Uri) -> Result<TcpStream> {
        let host = uri.host().with_context(|| format!("{uri} names no host"))?;
        let address = SocketAddrV4::new(self.address(host), uri.port_u16().unwrap_or(80));
        self.mesh.mesh().connect_from(self.pod, address).await
    }

    /// What the pod's resolver would say.
    fn address(&self, host: &str) -> Ipv4Addr {
        if let Ok(address) = host.parse() {
            return address;
        }
        let state = self.mesh.mesh().state();
        let namespace = state.pod(self.pod).map_or("default", |pod| &pod.namespace);
        let suffixes = [
            format!(".{namespace}.svc.cluster.local"),
            ".svc.cluster.local".to_owned(),
            ".cluster.local".to_owned(),
            String::new(),
        ];
        let services = &state.services;
        let vip = |suffix: &String| {
            let name = format!("{host}{suffix}");
            services.iter().find(|service| service.host == name)?.vip
        };
        suffixes.iter().find_map(vip).unwrap_or(ELSEWHERE)
    }

    /// GETs a URL and insists on the status.
    pub(crate) async fn expect(&self, status: u16, url: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = self.get(url, headers).await.expect("answered");
        assert_eq!(
            answer.status, status,
            "{url} {headers:?}: {:?}\n{}",
            answer.headers, answer.body
        );
        answer
    }

    /// What a test double saw of a request, which it answered with 200.
    pub(crate) async fn echo(&self, url: &str, headers: &[(&str, &str)]) -> Echo {
        let answer = self.expect(200, url, headers).await;
        serde_json::from_str(&answer.body).expect("an answer of the test double")
    }

    /// Sends requests one after another and counts the answers by what `class` makes of them.
    pub(crate) async fn tally(
        &self,
        requests: usize,
        url: &str,
        headers: &[(&str, &str)],
        class: impl Fn(&Answer) -> String,
    ) -> Tally {
        let mut tally = Tally::default();
        for _ in 0..requests {
            tally.add(self.get(url, headers).await, &class);
        }
        tally
    }

    /// As [`Self::tally`] with [`version`].
    pub(crate) async fn versions(&self, requests: usize, url: &str, headers: &[(&str, &str)]) -> Tally {
        self.tally(requests, url, headers, version).await
    }

    /// As [`Self::tally`] with [`pod`].
    pub(crate) async fn pods(&self, requests: usize, url: &str, headers: &[(&str, &str)]) -> Tally {
        self.tally(requests, url, headers, pod).await
    }

    /// Sends that many requests, `width` at any time.
    pub(crate) async fn at_once(
        &self,
        width: usize,
        requests: usize,
        url: &str,
        headers: &[(&str, &str)],
        class: impl Fn(&Answer) -> String,
    ) -> Tally {
        let mut tally = Tally::default();
        let requests = (0..requests).map(|_| self.get(url, headers));
        let mut answers = futures::stream::iter(requests).buffer_unordered(width);
        while let Some(answer) = answers.next().await {
            tally.add(answer, &class);
        }
        tally
    }
}

/// The version that gave a good answer, else the status.
pub(crate) fn version(answer: &Answer) -> String {
    good(answer, "x-sample-version")
}

/// The pod that gave a good answer, else the status.
pub(crate) fn pod(answer: &Answer) -> String {
    good(answer, "x-sample-pod")
}

/// The status.
pub(crate) fn status(answer: &Answer) -> String {
    answer.status.to_string()
}

fn good(answer: &Answer, header: &str) -> String {
    match answer.status {
        200 => answer.header(header).to_owned(),
        _ => status(answer),
    }
}

/// Sends one request over a connection.
pub(crate) async fn exchange(
    stream: TcpStream,
    method: Method,
    uri: &Uri,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == header::HOST.as_str()) {
        let authority = uri.authority().context("the URL names no host")?;
        request = request.header(header::HOST, authority.as_str());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        anyhow::Ok(Answer {
            status: head.status.as_u16(),
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            body: text(&body),
        })
    };
    // The answer is what counts; how the connection ends does not.
    let driven = async {
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended?;
                answer.await
            }
        }
    };
    tokio::time::timeout(TIMEOUT, driven)
        .await
        .with_context(|| format!("{uri}: no answer in {TIMEOUT:?}"))?
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, answer: Result<Answer>, class: impl Fn(&Answer) -> String) {
        // Shown when the test fails: the body says what a proxy could not do.
        if let Ok(answer) = &answer
            && answer.status >= 500
        {
            eprintln!("{} {}", answer.status, answer.body.trim());
        }
        let class = answer.map_or_else(|error| format!("{error:#}"), |answer| class(&answer));
        *self.0.entry(class).or_default() += 1;
    }

    /// How many answers were of a class.
    pub(crate) fn of(&self, class: &str) -> usize {
        self.0.get(class).copied().unwrap_or_default()
    }

    /// How many there were.
    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Insists that all answers were of one class.
    pub(crate) fn assert_all(&self, class: &str) {
        assert_eq!(self.of(class), self.total(), "not all are {class}: {:?}", self.0);
    }

    /// Insists that the share of a class, in percent, is within a range, and that nothing but `classes` occurred.
    pub(crate) fn assert_share(&self, class: &str, percent: RangeInclusive<usize>, others: &[&str]) {
        let share = 100 * self.of(class) / self.total().max(1);
        assert!(
            percent.contains(&share),
            "{class} has {share} %, not {percent:?}: {:?}",
            self.0
        );
        for found in self.0.keys() {
            assert!(found == class || others.contains(&found.as_str()), "{:?}", self.0);
        }
    }
}
