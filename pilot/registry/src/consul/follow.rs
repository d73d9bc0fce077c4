//! Follows the catalog of an agent.
//!
//! One question is open for the names of all services, and one for each service. An agent takes 200 connections of one
//! client by default, so beyond [`MAX_BLOCKING`] services they are asked in turns instead, once per interval.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Aborted, abortable};
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::header::HeaderValue;
use mesh_runtime::{Backoff, ReadyGuard, Spawner};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::blocking::{Cursor, Pace};
use super::client::{Answer, Client, ClientError, ConsulUrl, segment};
use super::decode;
use super::status::{ConsulHandle, ConsulMetrics};
use crate::controller::ConsulInput;

/// Services up to this number each have a question that waits at the agent.
const MAX_BLOCKING: usize = 128;
/// Beyond it, questions that are under way at once.
const MAX_POLLING: usize = 32;
/// How long a question waits at the agent. A connection that died in silence is noticed a little later.
const WAIT: Duration = Duration::from_secs(60);
/// Between the first attempts to reach an agent that is away.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// What to follow, and how.
#[derive(Clone, Debug)]
pub struct ConsulOptions {
    /// The agent.
    pub url: ConsulUrl,
    /// The ACL token, when the agent asks for one.
    pub token: Option<HeaderValue>,
    /// `--consulserverInterval`: a service that changes all the time is asked for once in this time.
    pub interval: Duration,
}

/// Follows the catalog of an agent.
#[derive(Debug)]
pub struct Consul {
    client: Client,
    interval: Duration,
    handle: ConsulHandle,
    started: Instant,
    catalog: Follower,
    services: BTreeMap<String, Follower>,
    /// Services that were not received yet, once the catalog was; `None` when the first state was complete.
    awaited: Option<BTreeSet<String>>,
    turns: Arc<Semaphore>,
    ready: Option<ReadyGuard>,
}

/// The state of one question that is asked for ever.
#[derive(Debug)]
struct Follower {
    cursor: Cursor,
    pace: Pace,
    backoff: Backoff,
    /// Ends the question under way.
    question: AbortHandle,
}

/// What a question is about.
#[derive(Clone, Debug)]
enum Subject {
    Catalog,
    Service(String),
}

type Question = Pin<Box<dyn Future<Output = Result<(Subject, Result<Answer, ClientError>), Aborted>> + Send>>;

/// The controller is gone.
struct Closed;

// === impl Consul ===

impl Consul {
    /// A follower of an agent, and what it shows of itself.
    pub fn new(options: ConsulOptions, spawner: Spawner, metrics: ConsulMetrics) -> (Self, ConsulHandle) {
        let handle = ConsulHandle::new(&options.url, metrics);
        let consul = Self {
            client: Client::new(options.url, options.token, spawner),
            interval: options.interval,
            handle: handle.clone(),
            started: Instant::now(),
            catalog: Follower::new(options.interval),
            services: BTreeMap::new(),
            awaited: Some(BTreeSet::new()),
            turns: Arc::new(Semaphore::new(MAX_POLLING)),
            ready: None,
        };
        (consul, handle)
    }

    /// Follows the agent until the controller is gone. `ready` is released when every service was received once.
    pub async fn run(mut self, controller: ConsulInput, ready: ReadyGuard) {
        self.ready = Some(ready);
        let mut questions: FuturesUnordered<Question> = FuturesUnordered::new();
        questions.push(self.ask(Subject::Catalog, Duration::ZERO));
        while let Some(answered) = questions.next().await {
            let Ok((subject, answer)) = answered else {
                continue;
            };
            let followed = match subject {
                Subject::Catalog => self.on_catalog(answer, &controller, &mut questions).await,
                Subject::Service(name) => self.on_service(name, answer, &controller, &mut questions).await,
            };
            if followed.is_err() {
                return;
            }
        }
    }

    async fn on_catalog(
        &mut self,
        answer: Result<Answer, ClientError>,
        controller: &ConsulInput,
        questions: &mut FuturesUnordered<Question>,
    ) -> Result<(), Closed> {
        let delay = match answer {
            Ok(answer) => {
                let changed = self.catalog.cursor.on_answer(answer.index);
                match decode::catalog(&answer.body) {
                    Ok(names) => {
                        self.handle.on_answer();
                        if changed {
                            self.take_catalog(&names, controller, questions).await?;
                        }
                        self.catalog.after_answer(self.started)
                    }
                    Err(error) => {
                        self.handle.on_error(&error);
                        self.catalog.after_failure()
                    }
                }
            }
            Err(error) => {
                self.handle.on_error(&error);
                self.catalog.after_failure()
            }
        };
        questions.push(self.ask(Subject::Catalog, delay));
        Ok(())
    }

    async fn take_catalog(
        &mut self,
        names: &BTreeSet<String>,
        controller: &ConsulInput,
        questions: &mut FuturesUnordered<Question>,
    ) -> Result<(), Closed> {
        let gone: Vec<String> = self
            .services
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(follower) = self.services.remove(&name) {
                follower.question.abort();
            }
            self.handle.set_problems(&name, Vec::new());
            self.on_received(&name);
            if is_host_label(&name) {
                controller.set(name, Vec::new()).await.map_err(|_| Closed)?;
            }
        }
        for name in names {
            if self.services.contains_key(name) {
                continue;
            }
            let follower = Follower::new(self.interval);
            self.services.insert(name.clone(), follower);
            if !is_host_label(name) {
                let problem = format!("{name:?} cannot be part of a host name");
                self.handle.set_problems(name, vec![problem]);
                continue;
            }
            if let Some(awaited) = &mut self.awaited {
                awaited.insert(name.clone());
            }
            questions.push(self.ask(Subject::Service(name.clone()), Duration::ZERO));
        }
        self.handle.set_services(self.services.len());
        tracing::debug!(services = self.services.len(), "catalog of Consul");
        self.sync_if_complete(controller).await
    }

    async fn on_service(
        &mut self,
        name: String,
        answer: Result<Answer, ClientError>,
        controller: &ConsulInput,
        questions: &mut FuturesUnordered<Question>,
    ) -> Result<(), Closed> {
        let is_polled = self.is_polling();
        let Some(follower) = self.services.get_mut(&name) else {
            return Ok(());
        };
        let mut delay = match answer {
            Ok(answer) => {
                if follower.cursor.on_answer(answer.index) {
                    match decode::instances(&answer.body) {
                        Ok(decoded) => {
                            self.handle.set_problems(&name, decoded.problems);
                            controller
                                .set(name.clone(), decoded.instances)
                                .await
                                .map_err(|_| Closed)?;
                        }
                        // What the service was before stays.
                        Err(error) => self.handle.set_problems(&name, vec![error.to_string()]),
                    }
                    self.on_received(&name);
                }
                self.services
                    .get_mut(&name)
                    .map_or(Duration::ZERO, |follower| follower.after_answer(self.started))
            }
            Err(error) => {
                let delay = follower.after_failure();
                if error.is_refusal() {
                    // Of this service only, such as for want of a permission.
                    self.handle.set_problems(&name, vec![error.to_string()]);
                    self.on_received(&name);
                } else {
                    // The question for the catalog fails as well, and says so once for all services.
                    tracing::debug!(service = name, %error, "no answer from the Consul agent");
                }
                delay
            }
        };
        if is_polled {
            delay = delay.max(self.interval);
        }
        questions.push(self.ask(Subject::Service(name), delay));
        self.sync_if_complete(controller).await
    }

    /// The next question about a subject, after a pause.
    fn ask(&mut self, subject: Subject, delay: Duration) -> Question {
        let is_polled = matches!(subject, Subject::Service(_)) && self.is_polling();
        let (path, follower) = match &subject {
            Subject::Catalog => ("/v1/catalog/services".to_owned(), Some(&mut self.catalog)),
            Subject::Service(name) => (
                format!("/v1/health/service/{}", segment(name)),
                self.services.get_mut(name),
            ),
        };
        let index = follower
            .as_ref()
            .and_then(|follower| follower.cursor.index())
            .filter(|_| !is_polled);
        let turns = is_polled.then(|| Arc::clone(&self.turns));
        let client = self.client.clone();
        let (question, handle) = abortable(async move {
            tokio::time::sleep(delay).await;
            let _turn = match &turns {
                // Never closed.
                Some(turns) => turns.acquire().await.ok(),
                None => None,
            };
            let answer = client.get(&path, index, WAIT).await;
            (subject, answer)
        });
        if let Some(follower) = follower {
            follower.question = handle;
        }
        Box::pin(question)
    }

    fn is_polling(&self) -> bool {
        self.services.len() > MAX_BLOCKING
    }

    /// A service is known as well as it can be.
    fn on_received(&mut self, name: &str) {
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(name);
        }
    }

    async fn sync_if_complete(&mut self, controller: &ConsulInput) -> Result<(), Closed> {
        if self.awaited.as_ref().is_some_and(BTreeSet::is_empty) {
            self.awaited = None;
            self.handle.set_synced();
            controller.synced().await.map_err(|_| Closed)?;
            self.ready = None;
        }
        Ok(())
    }
}

/// Whether a service's name makes a valid host.
fn is_host_label(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 200 && name.bytes().all(is_allowed)
}

// === impl Follower ===

impl Follower {
    fn new(interval: Duration) -> Self {
        Self {
            cursor: Cursor::default(),
            pace: Pace::new(interval),
            backoff: Backoff::new(MIN_BACKOFF, MAX_BACKOFF),
            question: AbortHandle::new_pair().0,
        }
    }

    /// How long to wait after an answer.
    fn after_answer(&mut self, started: Instant) -> Duration {
        self.backoff.reset();
        self.pace.delay(started.elapsed())
    }

    /// How long to wait after none came.
    fn after_failure(&mut self) -> Duration {
        self.cursor.on_failure();
        self.backoff.next_delay()
    }
}
