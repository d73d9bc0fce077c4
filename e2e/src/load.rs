//! A steady load of HTTP requests, and what became of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mesh_runtime::Spawner;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requests under way at once. On a machine that is too slow for the rate, the rate gives way.
const MAX_IN_FLIGHT: usize = 64;

/// Sends requests one by one over connections that are kept.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers by lower-case name; of repeated ones the last.
    pub headers: BTreeMap<String, String>,
    /// Body as text.
    pub body: String,
}

/// What became of the requests of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests that were answered.
    pub answered: usize,
    /// Answers by what the classifier made of them.
    pub classes: BTreeMap<String, usize>,
    /// Requests that were not answered 200, each with the reason.
    pub failures: Vec<String>,
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    report: Arc<Mutex<Report>>,
    done: watch::Receiver<bool>,
}

// === impl HttpClient ===

impl HttpClient {
    /// A client without connections.
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// GETs a URL. `headers` may replace `host`.
    ///
    /// # Errors
    ///
    /// When there is no answer in time.
    pub async fn get(&self, url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new())?;
        tokio::time::timeout(TIMEOUT, self.send(request))
            .await
            .with_context(|| format!("no answer in {TIMEOUT:?}"))?
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> anyhow::Result<Answer> {
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let headers = head.headers.iter().map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        Ok(Answer {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Answer ===

impl Answer {
    /// A header by lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        debug_assert_ne!(name, header::HOST.as_str());
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

// === impl Load ===

impl Load {
    /// Sends `rate` requests a second. `classify` names each good answer.
    pub fn start(
        url: impl Into<String>,
        host: impl Into<String>,
        rate: u32,
        classify: impl Fn(&Answer) -> String + Send + Sync + 'static,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (finished, done) = watch::channel(false);
        let report = Arc::<Mutex<Report>>::default();
        let (url, host) = (Arc::<str>::from(url.into()), Arc::<str>::from(host.into()));
        let shared = Arc::clone(&report);
        let classify = Arc::new(classify);
        Spawner::default().spawn("load", async move {
            let client = HttpClient::new();
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut requests = JoinSet::new();
            while !*stopped.borrow() {
                ticks.tick().await;
                let (client, url, host) = (client.clone(), Arc::clone(&url), Arc::clone(&host));
                let (report, classify) = (Arc::clone(&shared), Arc::clone(&classify));
                requests.spawn(async move {
                    let answer = client.get(&url, &[("host", &host)]).await;
                    report
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(answer, &*classify);
                });
                while requests.try_join_next().is_some() || requests.len() >= MAX_IN_FLIGHT {
                    if requests.len() >= MAX_IN_FLIGHT {
                        requests.join_next().await;
                    }
                }
            }
            while requests.join_next().await.is_some() {}
            finished.send_replace(true);
        });
        Self { stop, report, done }
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops, waits for the requests under way, and tells what became of all.
    pub async fn stop(mut self) -> Report {
        self.stop.send_replace(true);
        // The sender is gone when the task is: then it is done as well.
        let _ = self.done.wait_for(|done| *done).await;
        self.report()
    }
}

// === impl Report ===

impl Report {
    /// The share of a class among the answers, from 0 to 100.
    #[must_use]
    pub fn percent(&self, class: &str) -> f64 {
        let count = self.classes.get(class).copied().unwrap_or_default();
        100.0 * as_f64(count) / as_f64(self.classes.values().sum::<usize>().max(1))
    }

    fn add(&mut self, answer: anyhow::Result<Answer>, classify: &dyn Fn(&Answer) -> String) {
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.answered += 1;
                *self.classes.entry(classify(&answer)).or_default() += 1;
            }
            Ok(answer) => {
                self.answered += 1;
                let Answer {
                    status,
                    headers,
                    body,
                } = answer;
                self.failures
                    .push(format!("{status} {:?} {headers:?}", body.trim()));
            }
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
