//! Writing what kubelet and the controllers write: pods with their status, the status of deployments, Endpoints and
//! EndpointSlices, the node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error, Resource};
use mesh_kube::patch;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;

use super::deployments::{Progress, Replica};
use super::slices::slices;
use crate::mesh::objects::{Key, Objects};
use crate::mesh::reconcile::replica_set;

/// Who we are to the server.
const MANAGER: &str = "mesh";

/// Marks the pods that the mesh makes, as replicas and as parts of the control plane, by the uid that they have for us.
const OURS: &str = "mesh.istio-rs/made";

/// Marks the Endpoints of services that select pods, as the controller does.
pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// Pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// What the server is to have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Written {
    /// Pods with their status. A pod of another uid is another pod.
    pods: BTreeMap<Key, Pod>,
    deployments: BTreeMap<Key, Progress>,
    /// Those that are between deployments and their pods.
    replica_sets: BTreeMap<Key, ReplicaSet>,
    endpoints: BTreeMap<Key, Endpoints>,
    slices: BTreeMap<Key, EndpointSlice>,
    node: Node,
}

/// What the server has of it, as far as we know.
#[derive(Default)]
struct Done {
    pods: BTreeMap<Key, Pod>,
    deployments: BTreeMap<Key, (Progress, DeploymentStatus)>,
    replica_sets: BTreeMap<Key, ReplicaSet>,
    endpoints: BTreeMap<Key, Endpoints>,
    slices: BTreeMap<Key, EndpointSlice>,
    node: bool,
}

/// Our uid of a pod that the mesh made; nothing for one that a user made.
pub(super) fn our_uid(pod: &Pod) -> Option<&String> {
    pod.metadata.annotations.as_ref()?.get(OURS)
}

// === impl Written ===

impl Written {
    /// `users` are the objects that users made, `replicas` the pods that are not on their way out.
    pub(crate) fn new(
        pods: impl IntoIterator<Item = (Key, Pod)>,
        replicas: &BTreeMap<Key, Replica>,
        users: &Objects,
        services: &BTreeMap<Key, Service>,
        endpoints: &BTreeMap<Key, Endpoints>,
        node: Node,
    ) -> Self {
        let pods = pods.into_iter().map(|(key, mut pod)| {
            if !users.pods.contains_key(&key) {
                let annotations = pod.metadata.annotations.get_or_insert_default();
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                annotations.insert(OURS.to_owned(), uid);
            }
            (key, pod)
        });
        let slices = endpoints
            .iter()
            .flat_map(|(key, endpoints)| slices(key, services.get(key), endpoints));
        let managed = endpoints
            .iter()
            .filter(|(key, _)| !users.endpoints.contains_key(*key));
        let managed = managed.map(|(key, endpoints)| {
            let mut endpoints = endpoints.clone();
            let labels = endpoints.metadata.labels.get_or_insert_default();
            labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
            (key.clone(), endpoints)
        });
        let deployments = users.deployments.iter();
        let deployments =
            deployments.map(|(key, deployment)| (key.clone(), Progress::of(key, deployment, replicas)));
        Self {
            deployments: deployments.collect(),
            endpoints: managed.collect(),
            pods: pods.collect(),
            replica_sets: users.deployments.values().map(replica_set).collect(),
            slices: slices.collect(),
            node,
        }
    }
}

/// Keeps the server as it should be.
pub(crate) async fn write(client: Client, mut wanted: watch::Receiver<Arc<Written>>) {
    let mut done = Done::default();
    loop {
        let now = Arc::clone(&wanted.borrow_and_update());
        if let Err(error) = done.approach(&client, &now).await {
            warn!(error = %error, "cannot write to the API server");
            sleep(PAUSE).await;
            continue;
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

// === impl Done ===

impl Done {
    async fn approach(&mut self, client: &Client, wanted: &Written) -> kube::Result<()> {
        if !self.node && wanted.node.metadata.name.is_some() {
            let nodes: Api<Node> = Api::all(client.clone());
            patch::apply(
                &nodes,
                MANAGER,
                &Node {
                    status: None,
                    ..wanted.node.clone()
                },
            )
            .await?;
            let name = wanted.node.metadata.name.as_deref().unwrap_or_default();
            patch::status(&nodes, name, &wanted.node.status).await?;
            self.node = true;
        }
        // Gone first: an address may be somebody else's already.
        remove_others(client, &mut self.slices, &wanted.slices).await?;
        remove_others(client, &mut self.endpoints, &wanted.endpoints).await?;
        let replaced = |(key, pod): &(&Key, &Pod)| {
            let wanted = wanted.pods.get(*key);
            wanted.is_none_or(|wanted| wanted.metadata.uid != pod.metadata.uid)
        };
        let gone: Vec<Key> = self
            .pods
            .iter()
            .filter(replaced)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            delete::<Pod>(client, &key).await?;
            self.pods.remove(&key);
        }
        let replica_sets = self.replica_sets(wanted);
        remove_others(client, &mut self.replica_sets, &replica_sets).await?;
        apply_changed(client, &mut self.replica_sets, &replica_sets).await?;
        for (key, pod) in &wanted.pods {
            if self.pods.get(key) != Some(pod) {
                self.pod(client, key, pod).await?;
                self.pods.insert(key.clone(), pod.clone());
            }
        }
        apply_changed(client, &mut self.endpoints, &wanted.endpoints).await?;
        apply_changed(client, &mut self.slices, &wanted.slices).await?;
        self.deployments(client, &wanted.deployments).await
    }

    /// Says how far deployments are.
    async fn deployments(&mut self, client: &Client, wanted: &BTreeMap<Key, Progress>) -> kube::Result<()> {
        self.deployments.retain(|key, _| wanted.contains_key(key));
        for (key, progress) in wanted {
            let before = self.deployments.get(key);
            if before.is_some_and(|(before, _)| before == progress) {
                continue;
            }
            let before = before.filter(|(before, _)| before.is_of_same(progress));
            let status = progress.status(before.map(|(_, status)| status), &Time(Timestamp::now()));
            patch::status(&api::<Deployment>(client, key), &key.1, &status).await?;
            self.deployments.insert(key.clone(), (progress.clone(), status));
        }
        Ok(())
    }

    /// Those that are wanted, and those of before that still have pods: whose they are is asked until they have ended.
    fn replica_sets(&self, wanted: &Written) -> BTreeMap<Key, ReplicaSet> {
        let mut sets = wanted.replica_sets.clone();
        for ((namespace, _), pod) in &wanted.pods {
            for owner in pod.metadata.owner_references.iter().flatten() {
                let key = (namespace.clone(), owner.name.clone());
                if let Some(set) = self.replica_sets.get(&key) {
                    sets.entry(key).or_insert_with(|| set.clone());
                }
            }
        }
        sets
    }

    async fn pod(&self, client: &Client, key: &Key, pod: &Pod) -> kube::Result<()> {
        let pods: Api<Pod> = api(client, key);
        match self.pods.get(key) {
            None => {
                let mut new = pod.clone();
                new.metadata.uid = None;
                new.status = None;
                owned(client, &mut new, &key.0).await?;
                match pods.create(&PostParams::default(), &new).await {
                    // A user made it, or we did and did not hear of it.
                    Err(error) if is(&error, 409) => {}
                    result => drop(result?),
                }
            }
            Some(before) if before.metadata.labels != pod.metadata.labels => {
                let none = BTreeMap::new();
                let before = before.metadata.labels.as_ref().unwrap_or(&none);
                let now = pod.metadata.labels.as_ref().unwrap_or(&none);
                let removed = before.keys().filter(|name| !now.contains_key(*name));
                let mut labels: BTreeMap<&String, Value> = removed.map(|name| (name, Value::Null)).collect();
                labels.extend(now.iter().map(|(name, value)| (name, json!(value))));
                let change = json!({ "metadata": { "labels": labels } });
                pods.patch(&key.1, &PatchParams::default(), &Patch::Merge(&change))
                    .await?;
            }
            Some(_) => {}
        }
        patch::status(&pods, &key.1, &pod.status).await.map(drop)
    }
}

/// Completes the references of a pod to its ReplicaSet by what only the server knows; one that is gone is left out.
async fn owned(client: &Client, pod: &mut Pod, namespace: &str) -> kube::Result<()> {
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let Some(owners) = &mut pod.metadata.owner_references else {
        return Ok(());
    };
    for owner in owners.iter_mut().filter(|owner| owner.uid.is_empty()) {
        match sets.get_metadata(&owner.name).await {
            Ok(set) => owner.uid = set.metadata.uid.unwrap_or_default(),
            Err(error) if is(&error, 404) => {}
            Err(error) => return Err(error),
        }
    }
    owners.retain(|owner| !owner.uid.is_empty());
    Ok(())
}

/// Removes the objects that are not wanted any more.
async fn remove_others<K>(
    client: &Client,
    done: &mut BTreeMap<Key, K>,
    wanted: &BTreeMap<Key, K>,
) -> kube::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned,
{
    let gone: Vec<Key> = done
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .cloned()
        .collect();
    for key in gone {
        delete::<K>(client, &key).await?;
        done.remove(&key);
    }
    Ok(())
}

/// Writes the objects that are not what was written last.
async fn apply_changed<K>(
    client: &Client,
    done: &mut BTreeMap<Key, K>,
    wanted: &BTreeMap<Key, K>,
) -> kube::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + fmt::Debug
        + DeserializeOwned
        + PartialEq
        + Serialize,
{
    for (key, object) in wanted {
        if done.get(key) != Some(object) {
            match patch::apply(&api(client, key), MANAGER, object).await {
                // Of a service that goes with its namespace.
                Err(error) if is(&error, 404) || is(&error, 403) => {}
                result => drop(result?),
            }
            done.insert(key.clone(), object.clone());
        }
    }
    Ok(())
}

fn api<K>(client: &Client, (namespace, _): &Key) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), namespace)
}

/// Removes an object at once. One that is not there is removed.
async fn delete<K>(client: &Client, key: &Key) -> kube::Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned,
{
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    match api::<K>(client, key).delete(&key.1, &params).await {
        Err(error) if is(&error, 404) => Ok(()),
        result => result.map(drop),
    }
}

fn is(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api(status) if status.code == code)
}
