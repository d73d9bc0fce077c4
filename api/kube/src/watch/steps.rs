//! The requests by which a kind is followed: the pages of a list, then watches from where the list ended.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use kube::api::{ListParams, WatchParams};
use kube::core::{Status, WatchEvent};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::WatchOptions;

/// How long after the life that was asked for a watch is given up, when the server has not ended it.
const GRACE: Duration = Duration::from_secs(5);

/// A watch that told nothing and ended before this is a failure, as in client-go.
pub(super) const SHORT: Duration = Duration::from_secs(1);

/// What came of the requests.
#[derive(Debug)]
pub(super) enum Step<T> {
    /// A list begins; one that was being read is void.
    ListBegun,
    /// An object of the list.
    Listed(T),
    /// Nothing else is there.
    ListEnded,
    /// The server tells what happens from here on.
    Watching,
    /// An object is new or has changed.
    Applied(T),
    /// An object is gone.
    Deleted(T),
}

/// What went wrong. The next step tries again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A list was not answered.
    #[error("cannot list")]
    List(#[source] kube::Error),
    /// A watch was not answered.
    #[error("cannot watch")]
    Watch(#[source] kube::Error),
    /// A watch broke off, or told what is no event.
    #[error("the watch failed")]
    Broken(#[source] kube::Error),
    /// A watch was ended by the server, which says why.
    #[error("the watch failed: {0}")]
    Ended(#[source] Box<Status>),
    /// A watch was ended before it told anything.
    #[error("the watch ended at once")]
    Short,
    /// An object or a list has no version, without which nothing can be followed.
    #[error("the server gives no resourceVersion")]
    NoVersion,
}

enum Position<K> {
    Start,
    Page {
        objects: VecDeque<K>,
        next: Option<String>,
        version: String,
    },
    /// All until this version is told.
    At(String),
    Following {
        version: String,
        watch: BoxStream<'static, kube::Result<WatchEvent<K>>>,
        began: Instant,
        silent: bool,
    },
}

struct Requests<K> {
    api: Api<K>,
    list: ListParams,
    watch: WatchParams,
    /// Longest life of a watch, as a client that hears nothing measures it.
    life: Duration,
}

type Outcome<K> = (Option<Result<Step<K>, Failure>>, Position<K>);

/// Follows a kind from nothing. Never ends; waits for nothing after a failure.
pub(super) fn steps<K>(
    api: Api<K>,
    options: WatchOptions,
) -> impl Stream<Item = Result<Step<K>, Failure>> + Send + use<K>
where
    K: Resource + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    let requests = Requests::new(api, options);
    futures::stream::unfold((requests, Position::Start), async |(requests, mut position)| {
        loop {
            let (step, next) = requests.step(position).await;
            position = next;
            if let Some(step) = step {
                return Some((step, (requests, position)));
            }
        }
    })
}

// === impl Requests ===

impl<K> Requests<K>
where
    K: Resource + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    fn new(api: Api<K>, options: WatchOptions) -> Self {
        let seconds = u32::try_from(options.timeout.as_secs()).unwrap_or(u32::MAX);
        // The most that the server allows.
        let seconds = seconds.clamp(1, 294);
        Self {
            api,
            list: ListParams {
                label_selector: options.labels.clone(),
                field_selector: options.fields.clone(),
                limit: Some(options.page_size),
                ..ListParams::default()
            },
            watch: WatchParams {
                label_selector: options.labels,
                field_selector: options.fields,
                timeout: Some(seconds),
                bookmarks: true,
                send_initial_events: false,
            },
            life: Duration::from_secs(u64::from(seconds)) + GRACE,
        }
    }

    async fn step(&self, position: Position<K>) -> Outcome<K> {
        match position {
            Position::Start => {
                let list = self.page(None).await;
                // Told last, so that a list that fails is no list.
                match list {
                    Ok(page) => (Some(Ok(Step::ListBegun)), page),
                    Err(failure) => (Some(Err(failure)), Position::Start),
                }
            }
            Position::Page {
                mut objects,
                next,
                version,
            } => {
                if let Some(object) = objects.pop_front() {
                    let page = Position::Page {
                        objects,
                        next,
                        version,
                    };
                    return (Some(Ok(Step::Listed(object))), page);
                }
                let Some(next) = next else {
                    return (Some(Ok(Step::ListEnded)), Position::At(version));
                };
                match self.page(Some(next)).await {
                    Ok(page) => (None, page),
                    Err(failure) => (Some(Err(failure)), Position::Start),
                }
            }
            Position::At(version) => match self.api.watch(&self.watch, &version).await {
                Ok(watch) => {
                    let following = Position::Following {
                        version,
                        watch: watch.boxed(),
                        began: Instant::now(),
                        silent: true,
                    };
                    (Some(Ok(Step::Watching)), following)
                }
                // It would go on asking for what will never be there again: the kind itself, or changes since then.
                Err(error) if matches!(code(&error), 404 | 410) => {
                    (Some(Err(Failure::Watch(error))), Position::Start)
                }
                Err(error) => (Some(Err(Failure::Watch(error))), Position::At(version)),
            },
            Position::Following {
                version,
                mut watch,
                began,
                silent,
            } => match timeout_at(began + self.life, watch.next()).await {
                Ok(Some(event)) => heard(event, version, watch, began),
                Ok(None) if silent && began.elapsed() < SHORT => {
                    (Some(Err(Failure::Short)), Position::At(version))
                }
                // Its life is over, or it died and nobody told us.
                Ok(None) | Err(_) => (None, Position::At(version)),
            },
        }
    }

    async fn page(&self, next: Option<String>) -> Result<Position<K>, Failure> {
        let params = ListParams {
            continue_token: next,
            ..self.list.clone()
        };
        let list = self.api.list(&params).await.map_err(Failure::List)?;
        let next = list.metadata.continue_.filter(|token| !token.is_empty());
        let version = list.metadata.resource_version.unwrap_or_default();
        if version.is_empty() && next.is_none() {
            return Err(Failure::NoVersion);
        }
        Ok(Position::Page {
            objects: list.items.into(),
            next,
            version,
        })
    }
}

fn heard<K: Resource>(
    event: kube::Result<WatchEvent<K>>,
    version: String,
    watch: BoxStream<'static, kube::Result<WatchEvent<K>>>,
    began: Instant,
) -> Outcome<K> {
    let following = |version| Position::Following {
        version,
        watch,
        began,
        silent: false,
    };
    let (step, version) = match event {
        Ok(WatchEvent::Bookmark(bookmark)) => (None, bookmark.metadata.resource_version),
        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
            let version = object.resource_version();
            (Some(Ok(Step::Applied(object))), version.unwrap_or_default())
        }
        Ok(WatchEvent::Deleted(object)) => {
            let version = object.resource_version();
            (Some(Ok(Step::Deleted(object))), version.unwrap_or_default())
        }
        Ok(WatchEvent::Error(status)) => {
            return (Some(Err(Failure::Ended(status.boxed()))), Position::Start);
        }
        // What the bytes said is lost: only a list tells what is true.
        Err(error @ (kube::Error::SerdeError(_) | kube::Error::Api(_))) => {
            return (Some(Err(Failure::Broken(error))), Position::Start);
        }
        Err(error) => return (Some(Err(Failure::Broken(error))), Position::At(version)),
    };
    if version.is_empty() {
        return (Some(Err(Failure::NoVersion)), Position::Start);
    }
    (step, following(version))
}

// === impl Step ===

impl<K> Step<K> {
    pub(super) fn map<T>(self, map: impl FnOnce(K) -> T) -> Step<T> {
        match self {
            Self::ListBegun => Step::ListBegun,
            Self::Listed(object) => Step::Listed(map(object)),
            Self::ListEnded => Step::ListEnded,
            Self::Watching => Step::Watching,
            Self::Applied(object) => Step::Applied(map(object)),
            Self::Deleted(object) => Step::Deleted(map(object)),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The status code of the server's answer; 0 where there is none.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::List(error) | Self::Watch(error) | Self::Broken(error) => code(error),
            Self::Ended(status) => status.code,
            Self::Short | Self::NoVersion => 0,
        }
    }

    /// How long the server asks us to stay away.
    pub(super) fn retry_after(&self) -> Duration {
        let status = match self {
            Self::List(kube::Error::Api(status))
            | Self::Watch(kube::Error::Api(status))
            | Self::Broken(kube::Error::Api(status))
            | Self::Ended(status) => status,
            _ => return Duration::ZERO,
        };
        let seconds = status
            .details
            .as_ref()
            .map_or(0, |details| details.retry_after_seconds);
        Duration::from_secs(u64::from(seconds))
    }
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}
