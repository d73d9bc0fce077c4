//! Configuration from the API server itself (P5.2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use mesh_config::{Config, ConfigKey, Kind, Scope, validation};
use mesh_kube::{Client, Event, Status, Watch, WatchOptions, until_ready};
use mesh_runtime::ReadyGuard;
use serde::Serialize;
use tokio::sync::watch;

use crate::controller::{ControllerGone, SourceInput};
use crate::kind_status::{self, KindStatus};

/// Events that are handed over at once, where so many are there.
const BATCH: usize = 256;

/// How long an API server may refuse to say whether it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Follows kinds of objects, and hands them over as a source of configuration.
///
/// An object that cannot be read, or that breaks a rule of its kind (it may have been stored before anybody checked it),
/// is reported and left out; what it said before stays. A kind that is not installed, or that we may not read, has no
/// objects. An API server that is away changes nothing.
pub struct ApiServerSource {
    client: Client,
    watches: SelectAll<BoxStream<'static, (Kind, Event<Config>)>>,
    handle: ApiServerHandle,
}

/// Shows how a source fares. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiServerHandle {
    source: Arc<str>,
    kinds: Arc<BTreeMap<&'static str, watch::Receiver<Status>>>,
}

/// How a source fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiServerStatus {
    /// What is followed.
    pub source: String,
    /// Whether every kind was answered the last time.
    pub connected: bool,
    /// The first reason why a kind is not followed.
    pub error: Option<String>,
    /// By kind.
    pub kinds: BTreeMap<&'static str, KindStatus>,
}

/// What happened to the objects of one kind, gathered.
#[derive(Debug, Default)]
struct News {
    /// What each object is now; `None` when it is gone.
    objects: BTreeMap<ConfigKey, Option<Config>>,
    /// Objects that are left out, and why.
    refused: BTreeMap<ConfigKey, String>,
    /// Everything that there was at first has been told.
    synced: bool,
}

// === impl ApiServerSource ===

impl ApiServerSource {
    /// Follows `kinds`, in one namespace or in all. `name` is for debug pages.
    pub fn new(
        name: &str,
        client: &Client,
        kinds: &[Kind],
        namespace: Option<&str>,
        options: &WatchOptions,
    ) -> (Self, ApiServerHandle) {
        let mut watches = SelectAll::new();
        let mut status = BTreeMap::new();
        for &kind in kinds {
            let namespace = namespace.filter(|_| kind.schema().scope == Scope::Namespace);
            let watch: Watch<Config> =
                mesh_kube::config::watch(client.clone(), kind, namespace, options.clone());
            status.insert(kind.schema().kind, watch.status());
            watches.push(watch.into_stream().map(move |event| (kind, event)).boxed());
        }
        let handle = ApiServerHandle {
            source: name.into(),
            kinds: Arc::new(status),
        };
        let source = Self {
            client: client.clone(),
            watches,
            handle: handle.clone(),
        };
        (source, handle)
    }

    /// Follows until nobody listens any more. `ready` is dropped when every kind was listed.
    pub async fn run(self, input: SourceInput, ready: ReadyGuard) {
        // One that has just been started forbids everything.
        until_ready(&self.client, READY_PATIENCE).await;
        if let Err(ControllerGone) = self.follow(input, ready).await {
            tracing::debug!("nobody is left to be told anything");
        }
    }

    async fn follow(self, input: SourceInput, ready: ReadyGuard) -> Result<(), ControllerGone> {
        let mut ready = Some(ready);
        let mut missing: BTreeSet<&'static str> = self.handle.kinds.keys().copied().collect();
        // Objects of kinds of which the first list has not come to its end.
        let mut first: BTreeMap<Kind, News> = BTreeMap::new();
        let mut chunks = self.watches.ready_chunks(BATCH);
        while let Some(chunk) = chunks.next().await {
            let mut news: BTreeMap<Kind, News> = BTreeMap::new();
            for (kind, event) in chunk {
                let name = kind.schema().kind;
                let of_kind = if missing.contains(name) {
                    &mut first
                } else {
                    &mut news
                };
                of_kind.entry(kind).or_default().take(kind, event);
                if let Some(list) = first.remove(&kind) {
                    if list.synced {
                        missing.remove(name);
                        news.insert(kind, list);
                    } else {
                        first.insert(kind, list);
                    }
                }
            }
            for (kind, news) in news {
                news.hand_over(kind, &input).await?;
            }
            if missing.is_empty()
                && let Some(ready) = ready.take()
            {
                tracing::info!(source = %self.handle.source, "every kind was listed");
                ready.ready();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ApiServerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServerSource")
            .field("status", &self.handle.status())
            .finish_non_exhaustive()
    }
}

// === impl News ===

impl News {
    fn take(&mut self, kind: Kind, event: Event<Config>) {
        let key = |name: mesh_kube::ObjectName| ConfigKey::new(kind, name.namespace, name.name);
        match event {
            Event::Applied(_, mut config) => {
                let key = config.meta.key.clone();
                let problems = validation::validate(&config);
                if problems.is_empty() {
                    // Who writes the status of an object says nothing new.
                    config.meta.version = config.content_version();
                    self.refused.remove(&key);
                    self.objects.insert(key, Some(config));
                } else {
                    let problems = problems.iter().map(|problem| match problem.field.as_str() {
                        "" => problem.reason.clone(),
                        field => format!("{field}: {}", problem.reason),
                    });
                    let reason = problems.collect::<Vec<_>>().join("; ");
                    tracing::warn!(object = %key, reason, "object is invalid and left out, what it said before stays");
                    self.refused.insert(key, reason);
                }
            }
            Event::Rejected(name, reason) => {
                self.refused.insert(key(name), reason);
            }
            Event::Deleted(name) => {
                let key = key(name);
                self.refused.remove(&key);
                self.objects.insert(key, None);
            }
            Event::Synced => self.synced = true,
        }
    }

    async fn hand_over(self, kind: Kind, input: &SourceInput) -> Result<(), ControllerGone> {
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for (key, config) in self.objects {
            match config {
                Some(config) => changed.push(config),
                None => gone.push(key),
            }
        }
        if self.synced {
            input.replace(kind, changed).await?;
        } else if !changed.is_empty() || !gone.is_empty() {
            input.change(kind, changed, gone).await?;
        }
        for (key, reason) in self.refused {
            input.refuse(key, reason).await?;
        }
        Ok(())
    }
}

// === impl ApiServerHandle ===

impl ApiServerHandle {
    /// How it stands now.
    #[must_use]
    pub fn status(&self) -> ApiServerStatus {
        let kinds: BTreeMap<&'static str, KindStatus> = self
            .kinds
            .iter()
            .map(|(kind, status)| (*kind, KindStatus::of(&status.borrow())))
            .collect();
        ApiServerStatus {
            source: self.source.to_string(),
            connected: kinds.values().all(KindStatus::is_answered),
            error: kind_status::first_error(&kinds),
            kinds,
        }
    }
}
