//! What policies see of a request.

use mixer_adapter::text::stringify;
use mixer_attribute::{Value, nanos};
use mixer_template::{Action, Authorization, Fields, Subject};
use serde_json::{Map, Value as Json, json};

/// The document `input`. Members that are empty are not there.
pub(super) fn input(instance: &Authorization<'_>) -> Json {
    let mut document = Map::new();
    add(&mut document, "action", instance.action.as_ref().map(action));
    add(&mut document, "subject", instance.subject.as_ref().map(subject));
    Json::Object(document)
}

fn action(action: &Action<'_>) -> Json {
    let mut document = Map::new();
    add(&mut document, "namespace", text(&action.namespace));
    add(&mut document, "service", text(&action.service));
    add(&mut document, "method", text(&action.method));
    add(&mut document, "path", text(&action.path));
    add(&mut document, "properties", properties(&action.properties));
    Json::Object(document)
}

fn subject(subject: &Subject<'_>) -> Json {
    let mut document = Map::new();
    add(&mut document, "user", text(&subject.user));
    add(
        &mut document,
        "groups",
        text(&subject.groups).map(|group| json!([group])),
    );
    add(&mut document, "properties", properties(&subject.properties));
    Json::Object(document)
}

fn add(document: &mut Map<String, Json>, name: &str, value: Option<Json>) {
    let empty = |value: &Json| value.as_object().is_some_and(Map::is_empty);
    if let Some(value) = value.filter(|value| !empty(value)) {
        document.insert(name.to_owned(), value);
    }
}

fn text(text: &str) -> Option<Json> {
    (!text.is_empty()).then(|| text.into())
}

fn properties(fields: &Fields<'_>) -> Option<Json> {
    let properties = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json_of(value)));
    (!fields.is_empty()).then(|| Json::Object(properties.collect()))
}

/// As Go writes the values of Mixer: a duration is a number of nanoseconds.
fn json_of(value: &Value<'_>) -> Json {
    match value {
        Value::Int64(number) => (*number).into(),
        // What JSON does not have is null.
        Value::Double(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Duration(duration) => nanos(duration).into(),
        Value::StringMap(map) => {
            let mut entries = Map::new();
            map.for_each(|key, value| {
                entries.insert(key.to_owned(), value.into());
            });
            Json::Object(entries)
        }
        Value::String(_) | Value::Timestamp(_) | Value::IpAddress(_) => {
            stringify(Some(value)).into_owned().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use mixer_attribute::StringMap;
    use prost_types::Duration;

    use super::*;

    /// §7.11.
    #[test]
    fn the_document_has_what_is_not_empty() {
        let mut instance = Authorization::default();
        assert_eq!(input(&instance), json!({}));
        instance.subject = Some(Subject::default());
        assert_eq!(input(&instance), json!({}));
        instance.subject = Some(Subject {
            user: "alice".into(),
            groups: "staff".into(),
            properties: vec![
                ("age", Value::Int64(7)),
                (
                    "waited",
                    Value::Duration(Duration {
                        seconds: 1,
                        nanos: 500_000_000,
                    }),
                ),
                ("labels", Value::StringMap(StringMap::borrowed([("app", "web")]))),
                ("ip", Value::IpAddress("10.0.0.1".parse().unwrap())),
            ],
        });
        instance.action = Some(Action {
            method: "GET".into(),
            path: "/".into(),
            properties: vec![("admin", Value::Bool(true)), ("share", Value::Double(0.5))],
            ..Action::default()
        });
        let expected = json!({
            "subject": {
                "user": "alice",
                "groups": ["staff"],
                "properties": {
                    "age": 7, "waited": 1_500_000_000, "labels": {"app": "web"}, "ip": "10.0.0.1",
                },
            },
            "action": {"method": "GET", "path": "/", "properties": {"admin": true, "share": 0.5}},
        });
        assert_eq!(input(&instance), expected);
    }
}
