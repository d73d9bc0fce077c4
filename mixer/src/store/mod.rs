//! Where configuration comes from (`spec 02` §9.3): files, the API server, or Galley. All of them tell the same events.

mod mcp;
mod url;

use std::collections::BTreeSet;

use anyhow::Context as _;
use galley_processing::kube::WatchRow;
use galley_processing::{Event, FileSource, KubeSource, KubeSourceHandle, Problem};
use mesh_config::Kind;
use mesh_kube::KubeArgs;
use mesh_mcp::sink::{SinkHandle, SinkStatus};
use mesh_runtime::Runtime;
use mixer_runtime::config::{StoreEvent, kinds};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::args::ConfigArgs;
pub(crate) use url::StoreUrl;

/// Batches of events that may wait for the engine.
const BATCHES: usize = 16;

/// Shows how a store fares. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum StoreHandle {
    Files(String),
    Kube(KubeSourceHandle),
    Mcp(Box<SinkHandle>),
}

/// How a store fares.
#[derive(Debug, Serialize)]
#[serde(tag = "store", rename_all = "camelCase")]
pub(crate) enum StoreStatus {
    Files { path: String },
    Kubernetes { kinds: Vec<WatchRow> },
    Mcp { sink: Box<SinkStatus> },
}

/// What is taken of what a source tells.
struct Filter {
    kinds: BTreeSet<Kind>,
    /// Empty: all.
    namespaces: BTreeSet<String>,
}

/// Follows a store. What it tells comes out of the receiver, which is closed when the process leaves.
pub(crate) async fn follow(
    runtime: &Runtime,
    args: &ConfigArgs,
) -> anyhow::Result<(StoreHandle, mpsc::Receiver<Vec<StoreEvent>>)> {
    let url: StoreUrl = args.store_url.parse().context("--configStoreURL")?;
    let kinds = kinds(args.use_adapter_crds);
    let (sender, receiver) = mpsc::channel(BATCHES);
    let (events, told) = mpsc::channel(BATCHES);
    let drain = runtime.drain().clone();
    let handle = match url {
        StoreUrl::Files(path) => {
            forward(runtime, Filter::new(kinds, []), told, sender);
            let source = FileSource::new(&path);
            runtime.spawner().spawn_vital("configuration files", async move {
                drain.cancel(source.run(events)).await.unwrap_or(Ok(()))
            });
            StoreHandle::Files(path.display().to_string())
        }
        StoreUrl::Kube {
            kubeconfig,
            namespaces,
        } => {
            let client = KubeArgs { kubeconfig }
                .client()
                .await
                .context("--configStoreURL")?;
            let others = Kind::ALL.iter().copied().filter(|kind| !kinds.contains(kind));
            let (source, handle) = KubeSource::new(client, &others.collect(), true, runtime.spawner());
            forward(runtime, Filter::new(kinds, namespaces), told, sender);
            runtime
                .spawner()
                .spawn_vital("configuration of the API server", async move {
                    drain.cancel(source.run(events)).await;
                });
            StoreHandle::Kube(handle)
        }
        StoreUrl::Mcp { address, tls } => {
            let certificates = tls.then(|| args.certificates());
            let handle = mcp::follow(runtime, &address, certificates, kinds, sender)?;
            StoreHandle::Mcp(Box::new(handle))
        }
    };
    Ok((handle, receiver))
}

/// Hands over what a source tells, as far as it is wanted.
fn forward(
    runtime: &Runtime,
    filter: Filter,
    mut told: mpsc::Receiver<Vec<Event>>,
    sender: mpsc::Sender<Vec<StoreEvent>>,
) {
    runtime.spawner().spawn("configuration events", async move {
        while let Some(events) = told.recv().await {
            let events: Vec<_> = events
                .into_iter()
                .filter_map(|event| filter.take(event))
                .collect();
            if !events.is_empty() && sender.send(events).await.is_err() {
                return;
            }
        }
    });
}

// === impl Filter ===

impl Filter {
    fn new(kinds: BTreeSet<Kind>, namespaces: impl IntoIterator<Item = String>) -> Self {
        Self {
            kinds,
            namespaces: namespaces.into_iter().collect(),
        }
    }

    fn wants(&self, kind: Kind, namespace: &str) -> bool {
        self.kinds.contains(&kind) && self.is_ours(namespace)
    }

    fn is_ours(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// What nobody can tell whose it is may be ours.
    fn concerns(&self, problem: &Problem) -> bool {
        let namespace = problem.namespace.as_ref();
        problem.kind.is_none_or(|kind| self.kinds.contains(&kind))
            && namespace.is_none_or(|namespace| self.is_ours(namespace))
    }

    fn take(&self, event: Event) -> Option<StoreEvent> {
        match event {
            Event::Upsert(config) => {
                let key = &config.meta.key;
                self.wants(key.kind, &key.namespace)
                    .then(|| StoreEvent::Upsert(config))
            }
            Event::Delete(key) => self
                .wants(key.kind, &key.namespace)
                .then(|| StoreEvent::Delete(key)),
            Event::Problems(problems) => {
                let ours = problems.into_iter().filter(|problem| self.concerns(problem));
                Some(StoreEvent::Problems(
                    ours.flat_map(|problem| problem.errors).collect(),
                ))
            }
            Event::FullSync => Some(StoreEvent::Synced),
            // What the mesh configuration says is not for Mixer.
            Event::Mesh(_) => None,
        }
    }
}

// === impl StoreHandle ===

impl StoreHandle {
    /// How it stands now.
    pub(crate) fn status(&self) -> StoreStatus {
        match self {
            Self::Files(path) => StoreStatus::Files { path: path.clone() },
            Self::Kube(handle) => StoreStatus::Kubernetes {
                kinds: handle.watches(),
            },
            Self::Mcp(handle) => StoreStatus::Mcp {
                sink: Box::new(handle.status()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::ConfigError;

    use super::*;

    /// M113: what is wrong in other namespaces is none of its business.
    #[test]
    fn m113_problems_of_other_namespaces_are_not_told() {
        let problem = |kind, namespace: Option<&str>, object: &str| Problem {
            kind,
            namespace: namespace.map(Into::into),
            errors: vec![ConfigError {
                location: None,
                object: object.to_owned(),
                field: String::new(),
                reason: "no".to_owned(),
            }],
        };
        let problems = vec![
            problem(Some(Kind::Rule), Some("ours"), "rule ours/a"),
            problem(Some(Kind::Rule), Some("theirs"), "rule theirs/a"),
            problem(Some(Kind::Gateway), Some("ours"), "Gateway ours/a"),
            problem(None, None, "whose"),
        ];
        let told = |namespaces: &[&str]| {
            let namespaces = namespaces.iter().map(ToString::to_string);
            let filter = Filter::new(BTreeSet::from([Kind::Rule]), namespaces);
            match filter.take(Event::Problems(problems.clone())) {
                Some(StoreEvent::Problems(errors)) => errors.into_iter().map(|error| error.object).collect(),
                other => vec![format!("{other:?}")],
            }
        };
        assert_eq!(told(&["ours"]), ["rule ours/a", "whose"]);
        assert_eq!(told(&[]), ["rule ours/a", "rule theirs/a", "whose"]);
    }
}
