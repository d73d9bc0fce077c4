//! Following the objects of one kind.

mod known;
mod steps;

use std::collections::VecDeque;
use std::fmt;
use std::future;
use std::pin::Pin;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{debug, info, warn};

use self::known::Known;
use self::steps::{Failure, SHORT, Step, steps};
use crate::Served;
use crate::backoff::Pauses;

/// Where kubectl keeps what was applied last: a second copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Follows the objects of one kind for as long as it is asked for the next event.
///
/// Every change of the server is told once. Where some were missed (the connection was gone for too long, etcd has
/// forgotten them) the objects are listed again, and what differs from what was told is told: nothing is lost, and what
/// is as before is not repeated. Memory: names and versions of all objects, and the objects of one page of a list.
pub struct Watch<T> {
    kind: String,
    steps: Steps<T>,
    known: Known,
    told: VecDeque<Event<T>>,
    settled: bool,
    retry: Pauses,
    pause: Option<Pin<Box<Sleep>>>,
    longest_pause: Duration,
    /// When the watch began that is followed, or was last.
    watching_since: Option<Instant>,
    served: watch::Receiver<u64>,
    status: watch::Sender<Status>,
}

/// What happened to the objects of a kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<T> {
    /// An object is new or has changed.
    Applied(ObjectName, T),
    /// An object is gone. Told for rejected objects too.
    Deleted(ObjectName),
    /// An object is new or has changed, and cannot be read. What was read of it before is still the last that is known.
    Rejected(ObjectName, String),
    /// Everything that there was at first has been told. Comes once. A kind that is not served, or that we may not read,
    /// is one without objects.
    Synced,
}

/// The name of an object within its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace, empty where the kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Which objects are followed, and how.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// A label selector.
    pub labels: Option<String>,
    /// A field selector.
    pub fields: Option<String>,
    /// Objects of one page of a list; 0: all are on one.
    pub page_size: u32,
    /// Longest life of one request. A connection that died unnoticed is replaced five seconds after it.
    pub timeout: Duration,
    /// Shortest pause after a failure. Pauses grow as long as everything fails. A watch that was well until it broke is asked
    /// for again at once, if that did not just happen.
    pub initial_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// Says when a kind that is not served may be now.
    pub served: Served,
}

/// How a watch fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Objects that were told and are not gone.
    pub objects: usize,
    /// Objects that cannot be read.
    pub rejected: usize,
    /// Lists that were read to the end: one, and one for every time that changes were missed.
    pub lists: u64,
    /// Requests that failed.
    pub failures: u64,
}

/// What a watch does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It reads its first list.
    #[default]
    Starting,
    /// It follows changes.
    Following,
    /// The server does not know the kind.
    NotServed,
    /// The server does not let us read the kind; what it says.
    Forbidden(String),
    /// The server does not answer, or with errors; the last of them.
    Failing(String),
}

type Steps<T> = BoxStream<'static, Result<Step<Item<T>>, Failure>>;

/// An object as it was received.
struct Item<T> {
    name: ObjectName,
    version: String,
    value: Result<T, String>,
}

/// Removes from metadata what nobody reads and what is most of it.
pub fn strip(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

// === impl Watch ===

impl<K> Watch<K>
where
    K: Resource + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Default,
{
    /// Follows objects of a type, such as `Api::<DeserializeGuard<Pod>>::all(client)`, with stripped metadata. The guard
    /// keeps an object that cannot be read from spoiling the list that it is in.
    #[must_use]
    pub fn new(api: Api<DeserializeGuard<K>>, options: WatchOptions) -> Self {
        let kind = K::plural(&K::DynamicType::default()).into_owned();
        Self::decoding(kind, api, options, |guard| {
            let mut object = guard.0.map_err(|invalid| invalid.error)?;
            strip(object.meta_mut());
            Ok(object)
        })
    }
}

impl<T: Send + 'static> Watch<T> {
    /// Follows objects of type `K`, of which something else is made; the reason where that cannot be. `kind` is for logs.
    #[must_use]
    pub fn decoding<K>(
        kind: String,
        api: Api<K>,
        options: WatchOptions,
        decode: impl Fn(K) -> Result<T, String> + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
    {
        let served = options.served.subscribe();
        let retry = Pauses::new(options.initial_pause, options.longest_pause);
        let longest_pause = options.longest_pause;
        let steps = steps(api, options)
            .map(move |step| step.map(|step| step.map(|object| Item::of(object, &decode))))
            .boxed();
        Self {
            kind,
            steps,
            known: Known::default(),
            told: VecDeque::new(),
            settled: false,
            retry,
            pause: None,
            longest_pause,
            watching_since: None,
            served,
            status: watch::Sender::default(),
        }
    }

    /// How it fares. Only [`Self::next`] makes progress.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// What happens next. Never ends; may be dropped while waiting without losing anything.
    pub async fn next(&mut self) -> Event<T> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return event;
            }
            self.rest().await;
            match self.steps.next().await {
                Some(Ok(step)) => self.take(step),
                Some(Err(failure)) => self.fail(&failure),
                // They have no end.
                None => future::pending().await,
            }
        }
    }

    /// All events, one after another.
    pub fn into_stream(self) -> impl Stream<Item = Event<T>> + Send {
        futures::stream::unfold(self, async |mut watch| {
            let event = watch.next().await;
            Some((event, watch))
        })
    }

    /// Waits after a failure; when the kind is not served, no longer than until it may be.
    async fn rest(&mut self) {
        let Some(pause) = &mut self.pause else {
            return;
        };
        if self.status.borrow().state == State::NotServed {
            let changed = async {
                if self.served.changed().await.is_err() {
                    future::pending().await
                }
            };
            tokio::select! {
                () = pause => {}
                // The server may take a moment to serve what was defined.
                () = changed => self.retry.succeeded(),
            }
        } else {
            pause.await;
        }
        self.pause = None;
    }

    fn take(&mut self, step: Step<Item<T>>) {
        match step {
            Step::ListBegun => self.known.begin(),
            Step::Watching => self.watching_since = Some(Instant::now()),
            // A list is no proof that all is well: a server may answer every list and end every watch.
            Step::Listed(item) => {
                self.apply(item);
            }
            Step::Applied(item) => {
                if self.apply(item) {
                    self.retry.succeeded();
                }
            }
            Step::Deleted(item) => {
                if self.known.remove(&item.name) {
                    self.told.push_back(Event::Deleted(item.name));
                    self.retry.succeeded();
                }
            }
            Step::ListEnded => {
                self.told.extend(self.known.end().map(Event::Deleted));
                self.status.send_modify(|status| status.lists += 1);
                self.settle();
            }
        }
        self.enter(State::Following);
    }

    /// Takes over an object; whether this version was not known.
    fn apply(&mut self, item: Item<T>) -> bool {
        let Item { name, version, value } = item;
        if !self.known.insert(&name, version, value.is_ok()) {
            return false;
        }
        self.told.push_back(match value {
            Ok(value) => Event::Applied(name, value),
            Err(reason) => {
                warn!(kind = self.kind, object = %name, reason, "object is skipped");
                Event::Rejected(name, reason)
            }
        });
        true
    }

    fn fail(&mut self, failure: &Failure) {
        self.status.send_modify(|status| status.failures += 1);
        let now = Instant::now();
        // Where nothing happens, a watch that lives is a watch that is well.
        let began = self.watching_since.take();
        if began.is_some_and(|began| now.duration_since(began) >= SHORT) {
            self.retry.succeeded();
        }
        let pause = self.retry.failed(now);
        let pause = pause.max(failure.retry_after().min(self.longest_pause));
        self.pause = Some(Box::pin(sleep_until(now + pause)));
        match (failure.code(), failure) {
            (404, _) => {
                self.known.begin();
                self.told.extend(self.known.end().map(Event::Deleted));
                self.enter(State::NotServed);
                self.settle();
            }
            (403, _) => {
                self.enter(State::Forbidden(mesh_runtime::error_chain(failure)));
                self.settle();
            }
            (410, _) => debug!(kind = self.kind, "changes were missed, listing again"),
            (_, Failure::Short) => debug!(kind = self.kind, "the server ended the watch at once"),
            _ => self.enter(State::Failing(mesh_runtime::error_chain(failure))),
        }
    }

    fn settle(&mut self) {
        if !self.settled {
            self.settled = true;
            self.told.push_back(Event::Synced);
        }
    }

    /// Says once what is worth knowing.
    fn enter(&mut self, state: State) {
        let kind = &self.kind;
        self.status.send_modify(|status| {
            match (&status.state, &state) {
                (State::NotServed, State::NotServed)
                | (State::Forbidden(_), State::Forbidden(_))
                | (State::Failing(_), State::Failing(_))
                | (State::Starting | State::Following, State::Following | State::Starting) => {}
                (_, State::NotServed) => info!(kind, "kind is not served, it has no objects until it is"),
                (_, State::Forbidden(reason)) => warn!(kind, reason, "kind must not be read"),
                (_, State::Failing(reason)) => warn!(kind, reason, "cannot follow kind, trying again"),
                (_, State::Following | State::Starting) => info!(kind, "kind is followed again"),
            }
            (status.objects, status.rejected) = self.known.count();
            status.state = state;
        });
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("kind", &self.kind)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

// === impl Item ===

impl<T> Item<T> {
    fn of<K: Resource>(object: K, decode: impl Fn(K) -> Result<T, String>) -> Self {
        Self {
            name: ObjectName::of(object.meta()),
            version: object.meta().resource_version.clone().unwrap_or_default(),
            value: decode(object),
        }
    }
}

// === impl ObjectName ===

impl ObjectName {
    fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

// === impl WatchOptions ===

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            labels: None,
            fields: None,
            page_size: 500,
            timeout: Duration::from_secs(120),
            initial_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(15),
            served: Served::unknown(),
        }
    }
}
