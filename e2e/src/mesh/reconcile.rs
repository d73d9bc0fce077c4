//! Which pods should exist, and what to do about those that do (pure).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sidecar_injector::inject::{NamespaceRef, ProxyDefaults, Values, inject};

use super::objects::{Key, Objects};

/// The settings of injection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Injection {
    pub(crate) proxy: ProxyDefaults,
    pub(crate) values: Values,
}

/// The pods that should exist, injected, and why some cannot.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Desired {
    pub(crate) pods: BTreeMap<Key, Pod>,
    pub(crate) problems: Vec<String>,
}

/// A pod that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Actual<'a> {
    /// The specification it was started with.
    pub(crate) pod: &'a Pod,
    /// It is on its way out.
    pub(crate) ending: bool,
}

/// A step towards what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start the pod.
    Start(Key),
    /// End the pod; if it should exist it is started again afterwards.
    Stop(Key),
}

/// The pods that `objects` ask for: those declared as such, and the replicas of deployments as `NAME-ORDINAL`.
pub(crate) fn desired(objects: &Objects, injection: &Injection) -> Desired {
    let mut desired = Desired::default();
    for (key, pod) in &objects.pods {
        desired.add(key.clone(), pod.clone(), objects, injection);
    }
    for ((namespace, name), deployment) in &objects.deployments {
        let replicas = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        for ordinal in 0..replicas {
            let key = (namespace.clone(), format!("{name}-{ordinal}"));
            if desired.pods.contains_key(&key) {
                desired.problems.push(format!(
                    "Deployment {namespace}/{name}: pod {} exists already",
                    key.1
                ));
                continue;
            }
            let pod = replica(deployment, &key);
            desired.add(key, pod, objects, injection);
        }
    }
    desired
}

/// What to do so that exactly `desired` exists.
pub(crate) fn actions(desired: &BTreeMap<Key, Pod>, actual: &BTreeMap<Key, Actual<'_>>) -> Vec<Action> {
    let outdated = actual
        .iter()
        .filter(|(key, actual)| !actual.ending && desired.get(*key).is_none_or(|pod| pod != actual.pod));
    let missing = desired.keys().filter(|key| !actual.contains_key(*key));
    outdated
        .map(|(key, _)| Action::Stop(key.clone()))
        .chain(missing.map(|key| Action::Start(key.clone())))
        .collect()
}

/// The ReplicaSet between a deployment and its pods, as the controller of deployments makes it: another template, another
/// ReplicaSet.
pub(crate) fn replica_set(deployment: &Deployment) -> (Key, ReplicaSet) {
    let metadata = &deployment.metadata;
    let spec = deployment.spec.clone().unwrap_or_default();
    let key = (
        metadata.namespace.clone().unwrap_or_default(),
        replica_set_name(deployment),
    );
    let set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(key.1.clone()),
            namespace: Some(key.0.clone()),
            labels: spec
                .template
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.labels.clone()),
            owner_references: Some(vec![controller(
                "Deployment",
                metadata.name.clone().unwrap_or_default(),
                metadata.uid.clone().unwrap_or_default(),
            )]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: spec.replicas,
            selector: spec.selector,
            template: Some(spec.template),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    };
    (key, set)
}

fn replica_set_name(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let mut hash = DefaultHasher::new();
    serde_json::to_string(&template)
        .unwrap_or_default()
        .hash(&mut hash);
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{:08x}", hash.finish() & 0xffff_ffff)
}

fn controller(kind: &str, name: String, uid: String) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: kind.to_owned(),
        name,
        uid,
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A pod of a deployment. The uid of its ReplicaSet is known where that is written.
fn replica(deployment: &Deployment, (namespace, name): &Key) -> Pod {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let metadata = template.and_then(|template| template.metadata.as_ref());
    let owner = controller("ReplicaSet", replica_set_name(deployment), String::new());
    Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            labels: metadata.and_then(|metadata| metadata.labels.clone()),
            annotations: metadata.and_then(|metadata| metadata.annotations.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.and_then(|template| template.spec.clone()),
        status: None,
    }
}

// === impl Desired ===

impl Desired {
    fn add(&mut self, key: Key, pod: Pod, objects: &Objects, injection: &Injection) {
        let none = BTreeMap::new();
        let namespace = objects.namespaces.get(&key.0);
        let labels = namespace
            .and_then(|Namespace { metadata, .. }| metadata.labels.as_ref())
            .unwrap_or(&none);
        let namespace = NamespaceRef { name: &key.0, labels };
        match inject(&pod, &namespace, &injection.proxy, &injection.values) {
            Ok(injected) => {
                self.pods.insert(key, injected.unwrap_or(pod));
            }
            // As with a webhook that refuses: the pod does not come into being.
            Err(error) => self.problems.push(format!("namespace {}: {error}", key.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(replicas: i32, image: &str, annotation: &str) -> Objects {
        let mut objects = Objects::default();
        for value in [
            json!({"apiVersion": "v1", "kind": "Namespace",
                   "metadata": {"name": "weather", "labels": {"istio-injection": "enabled"}}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                   "metadata": {"name": "frontend-v1", "namespace": "weather"},
                   "spec": {"replicas": replicas, "selector": {}, "template": {
                       "metadata": {"labels": {"app": "frontend"},
                                    "annotations": {"status.sidecar.istio.io/port": annotation}},
                       "spec": {"containers": [{"name": "a", "image": image}]}}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "single"},
                   "spec": {"containers": [{"name": "a", "image": image}]}}),
        ] {
            objects.insert(&value).unwrap();
        }
        objects
    }

    fn key(namespace: &str, name: &str) -> Key {
        (namespace.to_owned(), name.to_owned())
    }

    #[test]
    fn replicas_are_numbered_and_injected_where_the_namespace_says_so() {
        let objects = objects(2, "x", "15020");
        let desired = desired(&objects, &Injection::default());
        let names: Vec<_> = desired.pods.keys().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["single", "frontend-v1-0", "frontend-v1-1"]);
        let containers = |name: &str, namespace: &str| {
            let spec = desired.pods[&key(namespace, name)].spec.as_ref().unwrap();
            spec.init_containers.as_ref().map_or(0, Vec::len)
        };
        assert_eq!(containers("frontend-v1-1", "weather"), 2);
        assert_eq!(containers("single", "default"), 0);
        let owners = |name: &str, namespace: &str| {
            let owners = desired.pods[&key(namespace, name)]
                .metadata
                .owner_references
                .iter();
            let names = owners.flatten().map(|owner| owner.name.clone());
            names.collect::<Vec<_>>()
        };
        let (_, set) = objects.deployments.values().map(replica_set).next().unwrap();
        assert_eq!(owners("frontend-v1-1", "weather"), [set.metadata.name.unwrap()]);
        assert_eq!(set.metadata.owner_references.unwrap()[0].name, "frontend-v1");
        assert!(owners("single", "default").is_empty());
    }

    #[test]
    fn a_pod_that_cannot_be_injected_is_a_problem_of_its_own() {
        let desired = desired(&objects(1, "x", "no port"), &Injection::default());
        assert_eq!(desired.pods.len(), 1);
        assert!(
            desired.problems[0].contains("status.sidecar.istio.io/port"),
            "{:?}",
            desired.problems
        );
    }

    #[test]
    fn changed_pods_are_stopped_missing_ones_started_and_ending_ones_waited_for() {
        let old = desired(&objects(2, "old", "15020"), &Injection::default()).pods;
        let new = desired(&objects(3, "new", "15020"), &Injection::default()).pods;
        let single = key("default", "single");
        let actual: BTreeMap<Key, Actual<'_>> = old
            .iter()
            .map(|(key, pod)| {
                (
                    key.clone(),
                    Actual {
                        pod,
                        ending: *key == single,
                    },
                )
            })
            .collect();
        let steps = actions(&new, &actual);
        assert_eq!(
            steps,
            [
                Action::Stop(key("weather", "frontend-v1-0")),
                Action::Stop(key("weather", "frontend-v1-1")),
                Action::Start(key("weather", "frontend-v1-2")),
            ]
        );
        assert_eq!(actions(&old, &actual), []);
        assert_eq!(actions(&BTreeMap::new(), &actual).len(), 2);
    }
}
