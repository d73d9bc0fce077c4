//! Following the objects that the mesh itself acts on.

use std::collections::BTreeMap;
use std::fmt;

use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use mesh_kube::{Event, Watch, WatchOptions};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::write::{MANAGED_BY, our_uid};
use crate::mesh::engine::Request;
use crate::mesh::objects::{Key, Objects};

/// Events that are dealt with together.
const BATCH: usize = 256;

/// What an event changes.
type Change = Box<dyn FnOnce(&mut State) + Send>;

/// What is known, and what somebody asked of pods that the mesh has made.
#[derive(Default)]
struct State {
    objects: Objects,
    synced: usize,
    /// Their uids.
    evicted: Vec<String>,
}

/// Tells the engine what the server says, whenever that changes, from when all of it is known.
pub(crate) async fn follow(client: Client, requests: mpsc::Sender<Request>) {
    let mut changes: SelectAll<BoxStream<'static, Change>> = SelectAll::new();
    changes.push(watch(&client, |objects: &mut Objects| &mut objects.services).boxed());
    changes.push(endpoints(&client).boxed());
    changes.push(deployments(&client).boxed());
    changes.push(watch(&client, |objects: &mut Objects| &mut objects.config_maps).boxed());
    changes.push(watch(&client, |objects: &mut Objects| &mut objects.secrets).boxed());
    changes.push(watch(&client, |objects: &mut Objects| &mut objects.service_accounts).boxed());
    changes.push(namespaces(&client).boxed());
    changes.push(pods(&client).boxed());
    let kinds = changes.len();
    let mut state = State::default();
    // Nothing was told.
    let mut told = Objects::default();
    let mut batches = changes.ready_chunks(BATCH);
    while let Some(batch) = batches.next().await {
        batch.into_iter().for_each(|change| change(&mut state));
        if state.synced < kinds {
            continue;
        }
        for uid in state.evicted.drain(..) {
            if requests.send(Request::Evict(uid)).await.is_err() {
                return;
            }
        }
        if told == state.objects {
            continue;
        }
        told = state.objects.clone();
        let objects = Box::new(told.clone());
        if requests.send(Request::Objects(objects)).await.is_err() {
            return;
        }
    }
}

/// Objects of a kind in namespaces.
fn watch<K>(
    client: &Client,
    place: fn(&mut Objects) -> &mut BTreeMap<Key, K>,
) -> impl Stream<Item = Change> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    kept(events::<K>(client, WatchOptions::default()), place)
}

/// Endpoints that users made. Ours are not read again.
fn endpoints(client: &Client) -> impl Stream<Item = Change> + Send + use<> {
    let options = WatchOptions {
        labels: Some(format!("!{MANAGED_BY}")),
        ..WatchOptions::default()
    };
    kept(events(client, options), |objects| &mut objects.endpoints)
}

/// Deployments. Their status is what we say.
fn deployments(client: &Client) -> impl Stream<Item = Change> + Send + use<> {
    let events = events::<Deployment>(client, WatchOptions::default()).map(|event| match event {
        Event::Applied(name, mut deployment) => {
            deployment.status = None;
            deployment.metadata.resource_version = None;
            deployment.metadata.managed_fields = None;
            Event::Applied(name, deployment)
        }
        event => event,
    });
    kept(events, |objects| &mut objects.deployments)
}

fn kept<K: Send + 'static>(
    events: impl Stream<Item = Event<K>> + Send,
    place: fn(&mut Objects) -> &mut BTreeMap<Key, K>,
) -> impl Stream<Item = Change> + Send {
    events.map(move |event| -> Change {
        Box::new(move |state| match event {
            Event::Applied(name, object) => {
                place(&mut state.objects).insert((name.namespace, name.name), object);
            }
            Event::Deleted(name) => {
                place(&mut state.objects).remove(&(name.namespace, name.name));
            }
            Event::Rejected(..) => {}
            Event::Synced => state.synced += 1,
        })
    })
}

fn namespaces(client: &Client) -> impl Stream<Item = Change> + Send + use<> {
    events::<Namespace>(client, WatchOptions::default()).map(|event| -> Change {
        Box::new(move |state| match event {
            Event::Applied(name, object) => {
                state.objects.namespaces.insert(name.name, object);
            }
            Event::Deleted(name) => {
                state.objects.namespaces.remove(&name.name);
            }
            Event::Rejected(..) => {}
            Event::Synced => state.synced += 1,
        })
    })
}

/// Pods that users made are started; of ours only the end that somebody wants matters.
fn pods(client: &Client) -> impl Stream<Item = Change> + Send + use<> {
    events::<Pod>(client, WatchOptions::default()).map(|event| -> Change {
        Box::new(move |state| match event {
            Event::Applied(name, pod) => {
                let key = (name.namespace, name.name);
                let ending = pod.metadata.deletion_timestamp.is_some();
                match (our_uid(&pod), ending) {
                    (Some(uid), true) => state.evicted.push(uid.clone()),
                    (Some(_), false) => {}
                    (None, true) => drop(state.objects.pods.remove(&key)),
                    (None, false) => drop(state.objects.pods.insert(key, as_written(pod))),
                }
            }
            Event::Deleted(name) => {
                state.objects.pods.remove(&(name.namespace, name.name));
            }
            Event::Rejected(..) => {}
            Event::Synced => state.synced += 1,
        })
    })
}

/// A pod without what the server and we ourselves add to it.
fn as_written(pod: Pod) -> Pod {
    let ObjectMeta {
        name,
        namespace,
        labels,
        annotations,
        ..
    } = pod.metadata;
    Pod {
        metadata: ObjectMeta {
            name,
            namespace,
            labels,
            annotations,
            ..ObjectMeta::default()
        },
        spec: pod.spec,
        status: None,
    }
}

fn events<K>(client: &Client, options: WatchOptions) -> impl Stream<Item = Event<K>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    Watch::new(api, options).into_stream()
}
