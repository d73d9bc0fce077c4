//! What the webhook says about objects that it admits (spec 09 §11): follows the objects that others are checked against.
//!
//! The watches are its own: Galley may serve no configuration or read it from files, and Services and Pods are none of the
//! kinds that it serves. Of those little is kept, see [`Known`].

use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use galley_analysis::{KINDS, Known};
use galley_validation::Warnings;
use mesh_config::{Config, ConfigKey, Kind};
use mesh_kube::{Client, Event, ObjectName, Served, State, Status, Watch, WatchOptions, config};
use mesh_runtime::Spawner;
use serde_json::json;
use tokio::sync::watch;

/// Says what is surely a mistake in an object, by what is known of all others. Cheap to clone.
///
/// Of a kind that we may not read nothing is said to be missing; the watch says so once in the log.
#[derive(Clone, Debug)]
pub struct Advice {
    known: Arc<RwLock<Known>>,
}

/// A watch, and whether all objects of its kind are known by it.
struct Follower {
    kind: Kind,
    watch: Watch<Config>,
    status: watch::Receiver<Status>,
    /// Whether what there was at first has been told.
    settled: bool,
    complete: bool,
}

/// What is new about a kind.
enum Told {
    Applied(Box<Config>),
    Deleted(ObjectName),
    Complete(bool),
}

// === impl Advice ===

impl Advice {
    /// Follows the objects of an API server. `domain` is that of its services, such as `cluster.local`.
    pub fn start(client: &Client, domain: &str, spawner: &Spawner) -> Self {
        let known = Arc::new(RwLock::new(Known::new(domain)));
        let options = WatchOptions {
            served: Served::follow(client.clone(), spawner),
            ..WatchOptions::default()
        };
        let followers = KINDS
            .iter()
            .map(|&kind| Follower::new(kind, client.clone(), options.clone()).into_stream());
        let told = stream::select_all(followers);
        spawner.spawn_vital("objects for warnings", learn(Arc::clone(&known), told));
        Self { known }
    }
}

impl Warnings for Advice {
    fn about(&self, object: &Config) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.warnings(object)
    }
}

/// The only one that changes what is known. Ends never: watches have no end.
async fn learn(known: Arc<RwLock<Known>>, mut told: impl futures::Stream<Item = (Kind, Told)> + Unpin) {
    while let Some((kind, told)) = told.next().await {
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        match told {
            Told::Applied(config) => known.apply(&config),
            Told::Deleted(name) => known.remove(&ConfigKey::new(kind, name.namespace, name.name)),
            Told::Complete(true) => known.synced(kind),
            Told::Complete(false) => known.incomplete(kind),
        }
    }
}

// === impl Follower ===

impl Follower {
    fn new(kind: Kind, client: Client, options: WatchOptions) -> Self {
        let watch = match kind {
            Kind::Namespace | Kind::Pod => {
                config::watch_as(client, kind, None, options, move |mut object| {
                    // Nobody reads the rest.
                    object.data = json!({});
                    config::decode(kind, object).map_err(|error| error.to_string())
                })
            }
            _ => config::watch(client, kind, None, options),
        };
        Self {
            kind,
            status: watch.status(),
            watch,
            settled: false,
            complete: false,
        }
    }

    fn into_stream(self) -> BoxStream<'static, (Kind, Told)> {
        let next = async |mut follower: Self| {
            let told = follower.next().await;
            Some(((follower.kind, told), follower))
        };
        stream::unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Told {
        loop {
            tokio::select! {
                // A status is looked at when all events before it have been told.
                biased;
                event = self.watch.next() => match event {
                    Event::Applied(_, config) => return Told::Applied(Box::new(config)),
                    Event::Deleted(name) => return Told::Deleted(name),
                    // What it was before is still in force.
                    Event::Rejected(..) => {}
                    Event::Synced => self.settled = true,
                },
                // The watch, which sends it, is ours.
                _ = self.status.changed() => {}
            }
            let complete = self.settled && is_complete(self.kind, &self.status.borrow_and_update());
            if complete != self.complete {
                self.complete = complete;
                return Told::Complete(complete);
            }
        }
    }
}

/// Whether an object that was not told does not exist.
fn is_complete(kind: Kind, status: &Status) -> bool {
    match status.state {
        // Pilot does not follow an object of ours that cannot be read either, but calls every Service.
        State::Following => status.lists > 0 && (kind != Kind::Service || status.rejected == 0),
        State::NotServed => true,
        State::Starting | State::Forbidden(_) | State::Failing(_) => false,
    }
}
