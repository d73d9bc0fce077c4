//! Everything that keeps an object from being read, not only the first of it.

use serde_json::Value;

use super::wire::Fault;
use super::{MessageError, encode, error, read};
use crate::path::Segment;
use crate::{ConfigError, Kind};

/// Faults of an object that a source delivers as JSON ([`super::from_json`]), at most `limit`; none when it can be read.
///
/// Reading ends at a fault, so what is at fault is taken away and the rest read again. An item of a list takes its list
/// with it, since the others would get other numbers.
pub fn faults(kind: Option<Kind>, value: &Value, limit: usize) -> Vec<ConfigError> {
    let found = every(value, limit, |rest| read(rest, kind).err());
    found.into_iter().map(|fault| error(None, value, fault)).collect()
}

/// Faults of what should be a message ([`super::message`]), found in the same way.
pub fn message_faults(name: &str, value: &Value, limit: usize) -> Vec<MessageError> {
    let found = every(value, limit, |rest| encode(name, rest).err());
    found.into_iter().map(MessageError::from).collect()
}

fn every(value: &Value, limit: usize, fault: impl Fn(&Value) -> Option<Fault>) -> Vec<Fault> {
    let mut found: Vec<Fault> = Vec::new();
    let mut rest = value.clone();
    while found.len() < limit
        && let Some(fault) = fault(&rest)
    {
        let is_gone = remove(&mut rest, &fault.path);
        found.push(fault);
        if !is_gone {
            break;
        }
    }
    found
}

/// Takes away what stands at a path; false when that is nothing, or something that an object cannot be without.
fn remove(value: &mut Value, path: &[Segment]) -> bool {
    let end = path
        .iter()
        .rposition(|segment| !matches!(segment, Segment::Index(_)))
        .map_or(0, |last| last + 1);
    let Some((last, parents)) = path.get(..end).and_then(<[_]>::split_last) else {
        return false;
    };
    let needed = match parents {
        [] => ["apiVersion", "kind", "metadata"].contains(&last.to_string().as_str()),
        [Segment::Field(parent)] => parent == "metadata" && last.to_string() == "name",
        _ => false,
    };
    let mut place = value;
    for segment in parents {
        let inner = match segment {
            Segment::Index(index) => place.get_mut(*index),
            Segment::Field(name) | Segment::Key(name) => place.get_mut(name.as_str()),
        };
        match inner {
            Some(inner) => place = inner,
            None => return false,
        }
    }
    !needed
        && place
            .as_object_mut()
            .is_some_and(|object| object.remove(&last.to_string()).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(value: &Value, limit: usize) -> Vec<String> {
        let found = faults(None, value, limit);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "VirtualService",
            "metadata": {"name": "forecast", "namespace": "weather"},
            "gateways": ["mesh"],
            "spec": {
                "hosts": ["forecast", 5],
                "htp": [],
                "http": [
                    {"timeout": "soon", "route": [{"weight": "many", "destination": {"host": "a", "subsets": "b"}}]},
                    {"match": [{"uri": {"exact": "/", "prefix": "/"}}, {"headers": {"x": {"is": "y"}}}]},
                ],
            },
        });
        let expected = [
            "gateways: unknown field `gateways`",
            "hosts[1]: expected a string, found the number 5; put it in quotes",
            "htp: unknown field `htp`, did you mean `http`?",
            "http[0].route[0].destination.subsets: unknown field `subsets`, did you mean `subset`?",
            "http[0].route[0].weight: expected a whole number, found the string \"many\"",
            "http[0].timeout: soon is not a duration such as 10s, 500ms or 1h30m",
            "http[1].match[0].uri.prefix: `exact` and `prefix` exclude one another",
            "http[1].match[1].headers[x].is: unknown field `is`",
        ];
        let mut found = texts(&object, 100);
        found.sort();
        let expected = expected.map(|fault| format!("VirtualService weather/forecast: {fault}"));
        assert_eq!(found, expected);
        assert_eq!(texts(&object, 3).len(), 3);
    }

    #[test]
    fn what_an_object_cannot_be_without_ends_the_search() {
        for (object, expected) in [
            (json!([]), "expected an object, found a list"),
            (json!({}), "apiVersion: missing"),
            (
                json!({"apiVersion": 1, "kind": 2}),
                "apiVersion: expected a string, found the number 1",
            ),
            (
                json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "Gateway", "metadata": {"name": 1}}),
                "Gateway: metadata.name: expected a string, found the number 1; put it in quotes",
            ),
            (
                json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "Gateway", "spec": {"x": 1}}),
                "Gateway: metadata.name: missing",
            ),
        ] {
            assert_eq!(texts(&object, 10), [expected]);
        }
    }

    #[test]
    fn a_good_object_has_none() {
        let object = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "Gateway", "metadata": {"name": "a"}, "spec": {},
        });
        assert_eq!(faults(None, &object, 10), []);
    }
}
