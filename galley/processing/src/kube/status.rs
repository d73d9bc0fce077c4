//! What the status of an object says, and what it ought to say.
//!
//! An object that cannot be served has a condition `Accepted` that is `False`, with everything that is wrong in its message
//! and the generation of the object that this is about. Any other object has none of ours.

use mesh_config::{ConfigError, Kind};
use mesh_kube::config::DynamicObject;
use serde_json::{Map, Value, json};

/// The type of our condition.
const TYPE: &str = "Accepted";

/// Longest message in bytes. Kubernetes' own conditions may have 32 KiB, but who would read that?
const MAX_MESSAGE: usize = 4096;

/// The field that says since when; no reason to write a status.
const SINCE: &str = "lastTransitionTime";

/// The status of an object, as far as we care.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// The version of the object that has it.
    pub(super) version: String,
    generation: i64,
    /// Our condition.
    own: Option<Value>,
    /// Conditions of others.
    others: Vec<Value>,
}

/// A status that has to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    /// The version of the object that it is for.
    pub(super) version: String,
    own: Option<Value>,
    others: Vec<Value>,
}

// === impl Seen ===

impl Seen {
    /// The status of an object; `None` where it is none of our business.
    pub(super) fn of(kind: Kind, object: &DynamicObject) -> Option<Self> {
        if !kind.schema().group.ends_with("istio.io") {
            return None;
        }
        let conditions = object
            .data
            .get("status")
            .and_then(|status| status.get("conditions"));
        let conditions = conditions.and_then(Value::as_array).cloned().unwrap_or_default();
        let (own, others): (Vec<_>, Vec<_>) = conditions
            .into_iter()
            .partition(|condition| condition["type"] == TYPE);
        let own = own.into_iter().next().map(|mut condition| {
            if let Some(condition) = condition.as_object_mut() {
                condition.remove(SINCE);
            }
            condition
        });
        Some(Self {
            version: object.metadata.resource_version.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            own,
            others,
        })
    }

    /// What has to be written, given what is wrong with the object; `None` when its status says that already.
    pub(super) fn due(self, errors: &[ConfigError]) -> Option<Due> {
        let wanted = (!errors.is_empty()).then(|| condition(errors, self.generation));
        (wanted != self.own).then_some(Due {
            version: self.version,
            own: wanted,
            others: self.others,
        })
    }
}

// === impl Due ===

impl Due {
    /// The fields of the status to write. `now` is the time of the transition.
    pub(super) fn status(self, now: jiff::Timestamp) -> Value {
        let mut conditions = self.others;
        conditions.extend(self.own.map(|mut condition| {
            condition[SINCE] = json!(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            condition
        }));
        let mut status = Map::new();
        let conditions = if conditions.is_empty() {
            // In a merge this removes the field.
            Value::Null
        } else {
            conditions.into()
        };
        status.insert("conditions".to_owned(), conditions);
        status.into()
    }
}

fn condition(errors: &[ConfigError], generation: i64) -> Value {
    json!({
        "type": TYPE,
        "status": "False",
        "reason": "Invalid",
        "message": message(errors),
        "observedGeneration": generation,
    })
}

/// `field: reason`, one after another.
fn message(errors: &[ConfigError]) -> String {
    let mut message = String::new();
    for (index, ConfigError { field, reason, .. }) in errors.iter().enumerate() {
        let colon = if field.is_empty() { "" } else { ": " };
        let one = format!("{field}{colon}{reason}");
        let room = MAX_MESSAGE.saturating_sub(message.len());
        if index > 0 && one.len() + 2 > room {
            message.push_str("; …");
            break;
        }
        if index > 0 {
            message.push_str("; ");
        }
        message.push_str(&one[..one.floor_char_boundary(room)]);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: i64, conditions: &Value) -> Seen {
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "Gateway",
            "metadata": { "name": "a", "namespace": "b", "generation": generation, "resourceVersion": "7" },
            "status": { "conditions": conditions },
        });
        Seen::of(Kind::Gateway, &serde_json::from_value(object).unwrap()).unwrap()
    }

    fn error(field: &str, reason: &str) -> ConfigError {
        ConfigError {
            location: None,
            object: "Gateway b/a".to_owned(),
            field: field.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn written(due: Option<Due>) -> Value {
        due.unwrap().status("2019-03-19T01:02:03.5Z".parse().unwrap())
    }

    #[test]
    fn pain_11_the_condition_names_field_reason_and_generation() {
        let errors = [error("spec.servers", "missing"), error("", "odd")];
        let status = written(seen(3, &Value::Null).due(&errors));
        let expected = json!({ "conditions": [{
            "type": "Accepted", "status": "False", "reason": "Invalid", "message": "spec.servers: missing; odd",
            "observedGeneration": 3, "lastTransitionTime": "2019-03-19T01:02:03Z",
        }] });
        assert_eq!(status, expected);
        // What stands there is not written again.
        assert_eq!(seen(3, &expected["conditions"]).due(&errors), None);
        let again = seen(4, &expected["conditions"]).due(&errors);
        assert_eq!(written(again)["conditions"][0]["observedGeneration"], 4);
    }

    #[test]
    fn pain_11_what_is_repaired_loses_the_condition_and_keeps_those_of_others() {
        let other = json!({ "type": "Ready", "status": "True" });
        let ours = json!({ "type": "Accepted", "status": "False" });
        let repaired = seen(1, &json!([ours, other]));
        assert_eq!(written(repaired.due(&[])), json!({ "conditions": [other] }));
        assert_eq!(
            written(seen(1, &json!([ours])).due(&[])),
            json!({ "conditions": null })
        );
        assert_eq!(seen(1, &json!([other])).due(&[]), None);
        let spoilt = written(seen(1, &json!([other])).due(&[error("a", "b")]));
        assert_eq!(spoilt["conditions"][0], other);
    }

    #[test]
    fn a_message_is_bounded() {
        let many: Vec<_> = (0..1000).map(|_| error("spec", &"é".repeat(100))).collect();
        assert!(message(&many).len() <= MAX_MESSAGE + 8);
        assert!(message(&many).ends_with("; …"));
        assert_eq!(message(&[error("", &"é".repeat(5000))]).len(), MAX_MESSAGE);
    }

    #[test]
    fn kinds_of_kubernetes_are_none_of_our_business() {
        let object = json!({ "metadata": { "name": "a" } });
        assert_eq!(
            Seen::of(Kind::Ingress, &serde_json::from_value(object).unwrap()),
            None
        );
    }
}
