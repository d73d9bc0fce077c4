//! When it is worth asking again for a kind that the server did not have.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use mesh_runtime::Spawner;
use tokio::sync::watch;

/// Says when the kinds that a server has may have changed. Cheap to clone; all watches of a process share one.
///
/// It follows the definitions of custom resources. Where that is forbidden it says nothing, and watches ask again by
/// themselves now and then.
#[derive(Clone, Debug)]
pub struct Served {
    changes: Arc<watch::Sender<u64>>,
}

// === impl Served ===

impl Served {
    /// Follows the definitions of a server until all clones are gone.
    #[must_use]
    pub fn follow(client: Client, spawner: &Spawner) -> Self {
        let changes = Arc::new(watch::Sender::new(0));
        let weak = Arc::downgrade(&changes);
        spawner.spawn("custom resource definitions", async move {
            let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client);
            // Their names do not matter: whoever waits for a kind asks for it.
            let stream = watcher(definitions, watcher::Config::default()).default_backoff();
            let mut stream = pin!(stream);
            while let Some(event) = stream.next().await {
                let Some(changes) = weak.upgrade() else {
                    return;
                };
                if event.is_ok() {
                    changes.send_modify(|number| *number += 1);
                }
            }
        });
        Self { changes }
    }

    /// Never says anything.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            changes: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
