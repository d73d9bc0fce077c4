//! What the controller of deployments says about them (pure).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::mesh::objects::Key;

/// A pod that exists and is not on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) ready: bool,
    /// It is as its deployment says now.
    pub(crate) updated: bool,
}

/// How far a deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Another one is another deployment.
    uid: Option<String>,
    generation: Option<i64>,
    // Numbers of pods.
    wanted: i32,
    existing: i32,
    updated: i32,
    ready: i32,
}

// === impl Progress ===

impl Progress {
    /// `replicas` are those of all deployments, called `NAME-ORDINAL`.
    pub(super) fn of(
        (namespace, name): &Key,
        deployment: &Deployment,
        replicas: &BTreeMap<Key, Replica>,
    ) -> Self {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let mut progress = Self {
            uid: deployment.metadata.uid.clone(),
            generation: deployment.metadata.generation,
            wanted: wanted.unwrap_or(1),
            ..Self::default()
        };
        let first = (namespace.clone(), format!("{name}-"));
        for (key, replica) in replicas.range(first.clone()..) {
            let Some(ordinal) = key.1.strip_prefix(&first.1).filter(|_| key.0 == first.0) else {
                break;
            };
            if ordinal.parse::<u32>().is_ok() {
                progress.existing += 1;
                progress.updated += i32::from(replica.updated);
                progress.ready += i32::from(replica.ready);
            }
        }
        progress
    }

    /// The status. Conditions remember from `before`, which was written before, since when they hold.
    pub(super) fn status(&self, before: Option<&DeploymentStatus>, now: &Time) -> DeploymentStatus {
        // A quarter of the pods may be away, rounded down, as `maxUnavailable` is when nobody says otherwise.
        let available = if self.ready >= self.wanted - self.wanted / 4 {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let progressing = if [self.existing, self.updated, self.ready] == [self.wanted; 3] {
            (
                "True",
                "NewReplicaSetAvailable",
                "All pods are there, as the template says, and ready.",
            )
        } else {
            ("True", "ReplicaSetUpdated", "Pods are starting or ending.")
        };
        DeploymentStatus {
            observed_generation: self.generation,
            // Nothing is left out: what is not said would stay as it was.
            replicas: Some(self.existing),
            updated_replicas: Some(self.updated),
            ready_replicas: Some(self.ready),
            available_replicas: Some(self.ready),
            unavailable_replicas: Some((self.wanted.max(self.existing) - self.ready).max(0)),
            conditions: Some(vec![
                condition("Available", available, before, now),
                condition("Progressing", progressing, before, now),
            ]),
            ..DeploymentStatus::default()
        }
    }

    /// Whether it is about the same deployment.
    pub(super) fn is_of_same(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

/// A condition, by its status, reason and message.
fn condition(
    type_: &str,
    (status, reason, message): (&str, &str, &str),
    before: Option<&DeploymentStatus>,
    now: &Time,
) -> DeploymentCondition {
    let mut before = before
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let before = before.find(|before| before.type_ == type_ && before.status == status);
    let same = before.filter(|before| before.reason.as_deref() == Some(reason));
    let since = |time: Option<Time>| Some(time.unwrap_or_else(|| now.clone()));
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since(before.and_then(|before| before.last_transition_time.clone())),
        last_update_time: since(same.and_then(|same| same.last_update_time.clone())),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        ("weather".to_owned(), name.to_owned())
    }

    fn deployment(replicas: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "ad", "namespace": "weather", "uid": "1", "generation": 3},
            "spec": {"replicas": replicas, "selector": {}, "template": {}}
        }))
        .unwrap()
    }

    fn progress(wanted: i32, pods: &[(&str, bool, bool)]) -> Progress {
        let pods = pods
            .iter()
            .map(|(name, ready, updated)| {
                let replica = Replica {
                    ready: *ready,
                    updated: *updated,
                };
                (key(name), replica)
            })
            .collect();
        Progress::of(&key("ad"), &deployment(wanted), &pods)
    }

    fn conditions(status: &DeploymentStatus) -> Vec<(&str, &str)> {
        let conditions = status.conditions.iter().flatten();
        conditions
            .map(|condition| {
                (
                    condition.status.as_str(),
                    condition.reason.as_deref().unwrap_or_default(),
                )
            })
            .collect()
    }

    #[test]
    fn a_deployment_is_done_when_every_pod_is_as_it_says_and_ready() {
        let now = Time(Timestamp::UNIX_EPOCH);
        let others = ("ad-primary-0", true, true);
        let done = progress(2, &[("ad-0", true, true), ("ad-1", true, true), others]).status(None, &now);
        assert_eq!(
            (done.observed_generation, done.replicas, done.unavailable_replicas),
            (Some(3), Some(2), Some(0))
        );
        assert_eq!(
            conditions(&done),
            [
                ("True", "MinimumReplicasAvailable"),
                ("True", "NewReplicaSetAvailable")
            ]
        );
        let old = progress(2, &[("ad-0", true, false), ("ad-1", false, true)]).status(None, &now);
        assert_eq!(
            (old.replicas, old.updated_replicas, old.ready_replicas),
            (Some(2), Some(1), Some(1))
        );
        assert_eq!(
            conditions(&old),
            [
                ("False", "MinimumReplicasUnavailable"),
                ("True", "ReplicaSetUpdated")
            ]
        );
        let none = progress(0, &[others]).status(None, &now);
        assert_eq!((none.replicas, none.ready_replicas), (Some(0), Some(0)));
        assert_eq!(conditions(&none)[1], ("True", "NewReplicaSetAvailable"));
    }

    #[test]
    fn a_condition_holds_since_it_became_so() {
        let at = |seconds| Time(Timestamp::from_second(seconds).unwrap());
        let starting = progress(1, &[("ad-0", false, true)]);
        let ready = progress(1, &[("ad-0", true, true)]);
        let first = starting.status(None, &at(1));
        let second = starting.status(Some(&first), &at(2));
        assert_eq!(first, second);
        let third = ready.status(Some(&second), &at(3));
        let times: Vec<_> = third
            .conditions
            .iter()
            .flatten()
            .map(|condition| {
                (
                    condition.last_transition_time.clone(),
                    condition.last_update_time.clone(),
                )
            })
            .collect();
        // It was progressing all the time, for another reason.
        assert_eq!(times, [(Some(at(3)), Some(at(3))), (Some(at(1)), Some(at(3)))]);
    }
}
