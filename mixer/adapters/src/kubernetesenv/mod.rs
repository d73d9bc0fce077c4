//! `kubernetesenv`: what Kubernetes knows about both ends of a request (`spec 02` §7.10).
//!
//! Pods are watched, and the controllers between them and their workloads by their metadata alone; nothing is listed
//! again while the watches last (pain 32). Of a pod there is kept what the outputs need, and what it has in common with the
//! other pods of its controller is kept once. All handlers of a process that read the same API server share what is known.

mod cluster;
mod clusters;
mod config;
mod handler;
mod known;
mod view;

use std::sync::Arc;
use std::time::Duration;

use mesh_api::adapter::kubernetesenv::config::Params;
use mixer_adapter::{Adapter, BuildError, ConfigErrors, Env, Handle, Handler, Inferred, Info};
use mixer_template::Template;

use self::clusters::{Clusters, Faults, Shared};
use self::config::Config;
use self::handler::KubernetesEnv;

/// How long building a handler waits for the pods: less than [`mixer_adapter::BUILD_LIMIT`], so that the reason is told.
const PATIENCE: Duration = Duration::from_secs(8);

/// For how long reading goes on after nobody could wait for it any more: the handler will be tried again.
const LINGER: Duration = Duration::from_secs(60);

/// The adapter.
#[derive(Debug, Default)]
pub struct Kubernetesenv {
    shared: Shared,
}

impl Adapter for Kubernetesenv {
    type Params = Params;

    const INFO: Info = Info {
        name: "kubernetesenv",
        description: "Provides platform specific functionality for the kubernetes environment",
        templates: &[Template::Kubernetes],
    };

    fn defaults() -> Params {
        config::defaults()
    }

    fn validate(params: &Params, _: &Inferred) -> ConfigErrors {
        let mut errors = ConfigErrors::default();
        Config::new(params, &mut errors);
        errors
    }

    /// Waits until all pods are known. What must not be read counts as empty.
    async fn build(&self, params: Params, _: &Inferred, env: Env) -> Result<Handler, BuildError> {
        let mut errors = ConfigErrors::default();
        let config = Config::new(&params, &mut errors).for_this_process();
        errors.into_result()?;
        let clusters = self.shared.open(&config, env.spawner()).await;
        let clusters = clusters.map_err(|error| BuildError(error.to_string()))?;
        // What went wrong before is that of the handlers that were there.
        let before = *clusters.faults().borrow();
        if tokio::time::timeout(PATIENCE, clusters.synced()).await.is_err() {
            let reason = clusters.what_is_missing();
            env.spawner().spawn("kubernetesenv", linger(clusters));
            return Err(BuildError(reason));
        }
        env.spawn(count(Arc::clone(&clusters), before, env.clone()));
        Ok(Handler::default().with(Handle::Kubernetes(Arc::new(KubernetesEnv::new(clusters)))))
    }
}

async fn linger(clusters: Arc<Clusters>) {
    tokio::time::sleep(LINGER).await;
    drop(clusters);
}

/// Counts what goes wrong as faults of a handler, but for what was `counted` before.
async fn count(clusters: Arc<Clusters>, mut counted: Faults, env: Env) {
    let mut faults = clusters.faults();
    loop {
        let now = *faults.borrow_and_update();
        env.fault("watch", now.watch - counted.watch);
        env.fault("kubeconfig", now.kubeconfig - counted.kubeconfig);
        counted = now;
        if faults.changed().await.is_err() {
            return;
        }
    }
}
