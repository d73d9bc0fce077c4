//! Configuration objects as anybody might write them: by the descriptors of their messages, so that no field is forgotten.
//!
//! Most values are sensible, some are odd, few are wrong. What a test needs is decided by [`Choices`], which come from a
//! seed or from the bytes of a fuzzer: equal choices make equal objects.

mod choices;
mod values;

use mesh_config::{Config, Kind, decode, validation};
use prost_reflect::{FieldDescriptor, Kind as FieldKind, MessageDescriptor};
use serde_json::{Map, Value, json};

pub use self::choices::Choices;

/// The kinds that [`object`] makes.
pub const KINDS: [Kind; 6] = [
    Kind::VirtualService,
    Kind::DestinationRule,
    Kind::Gateway,
    Kind::ServiceEntry,
    Kind::Sidecar,
    Kind::EnvoyFilter,
];

/// How often an object is tried until one is valid.
const TRIES: usize = 40;
/// How deep messages are nested before only what is needed is written.
const DEPTH: usize = 7;

/// An object that validation admits; `None` when the choices lead to none.
pub fn admitted(kind: Kind, name: &str, choices: &mut Choices<'_>) -> Option<Config> {
    (0..TRIES)
        .map(|_| object(kind, name, choices))
        .find_map(|object| {
            let config = decode::from_json(None, &object).ok()?;
            validation::validate(&config).is_empty().then_some(config)
        })
}

/// An object as JSON, which need not be valid.
pub fn object(kind: Kind, name: &str, choices: &mut Choices<'_>) -> Value {
    let schema = kind.schema();
    let descriptor = mesh_api::descriptors()
        .get_message_by_name(schema.message)
        .expect("every kind has a message");
    let mut spec = message(&descriptor, 0, choices);
    tidy(kind, &mut spec, choices);
    let namespace = *choices.one_of(&["weather", "weather", "weather", "istio-system", "other"]);
    let created = choices.below(5);
    json!({
        "apiVersion": format!("{}/{}", schema.group, schema.version),
        "kind": schema.kind,
        "metadata": { "name": name, "namespace": namespace, "creationTimestamp": format!("2020-01-0{}T00:00:00Z", created + 1) },
        "spec": spec,
    })
}

fn message(descriptor: &MessageDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    match descriptor.full_name() {
        "google.protobuf.Duration" => return values::duration(choices),
        "google.protobuf.BoolValue" => return choices.chance(50).into(),
        "istio.networking.v1alpha3.EnvoyFilter.Filter" => return filter(descriptor, depth, choices),
        _ => {}
    }
    let mut fields = Map::new();
    let chosen: Vec<FieldDescriptor> = descriptor
        .oneofs()
        .filter_map(|oneof| {
            let members: Vec<_> = oneof.fields().collect();
            // The deprecated and unsupported members stand behind.
            let member = choices.below(members.len() + 1).saturating_sub(1);
            members.into_iter().nth(member)
        })
        .collect();
    for field in descriptor.fields() {
        let is_written = match field.containing_oneof() {
            Some(_) => chosen.contains(&field) && choices.chance(95),
            None => choices.chance(values::frequency(&field, depth >= DEPTH)),
        };
        if is_written {
            let value = if field.is_list() {
                let count = values::count(&field, choices);
                (0..count).map(|_| single(&field, depth, choices)).collect()
            } else if field.is_map() {
                map(&field, depth, choices)
            } else {
                single(&field, depth, choices)
            };
            fields.insert(field.json_name().to_owned(), value);
        }
    }
    Value::Object(fields)
}

fn map(field: &FieldDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    let FieldKind::Message(entry) = field.kind() else {
        return Value::Null;
    };
    let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
    let mut entries = Map::new();
    for _ in 0..choices.below(3) {
        let (name, value) = match values::pair(field, choices) {
            Some(pair) => pair,
            None => (
                values::text(&key, field, choices),
                match value.kind() {
                    FieldKind::Message(inner) => message(&inner, depth + 1, choices),
                    _ => values::scalar(&value, field, choices),
                },
            ),
        };
        entries.insert(name, value);
    }
    Value::Object(entries)
}

fn single(field: &FieldDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    match field.kind() {
        FieldKind::Message(inner) => message(&inner, depth + 1, choices),
        _ => values::scalar(field, field, choices),
    }
}

/// Type, name and configuration of a filter belong together.
fn filter(descriptor: &MessageDescriptor, depth: usize, choices: &mut Choices<'_>) -> Value {
    let mut fields = Map::new();
    for name in ["listener_match", "insert_position"] {
        if let Some(field) = descriptor.get_field_by_name(name)
            && choices.chance(50)
        {
            fields.insert(field.json_name().to_owned(), single(&field, depth, choices));
        }
    }
    let (filter_type, name, config) = values::filter(choices);
    fields.insert("filterType".to_owned(), filter_type.into());
    fields.insert("filterName".to_owned(), name.into());
    fields.insert("filterConfig".to_owned(), config);
    Value::Object(fields)
}

/// Mends what rules about several fields would nearly always refuse.
fn tidy(kind: Kind, spec: &mut Value, choices: &mut Choices<'_>) {
    if choices.chance(5) {
        return;
    }
    match kind {
        Kind::VirtualService => tidy_virtual_service(spec, choices),
        Kind::Gateway => each(spec, "servers", |server| tidy_server(server, choices)),
        Kind::ServiceEntry => tidy_service_entry(spec, choices),
        _ => {}
    }
}

fn each(value: &mut Value, field: &str, change: impl FnMut(&mut Value)) {
    let items = value.get_mut(field).and_then(Value::as_array_mut);
    items.into_iter().flatten().for_each(change);
}

fn remove(value: &mut Value, fields: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| !fields.contains(&name.as_str()));
    }
}

fn tidy_virtual_service(spec: &mut Value, choices: &mut Choices<'_>) {
    let hosts = spec.get("hosts").cloned().unwrap_or_else(|| json!(["web"]));
    if hosts
        .as_array()
        .is_some_and(|hosts| hosts.iter().any(|host| host == "*"))
    {
        spec["gateways"] = json!(["edge"]);
    }
    for routes in ["http", "tls", "tcp"] {
        each(spec, routes, |route| {
            if route.get("redirect").is_some() {
                remove(route, &["route", "fault", "rewrite", "websocketUpgrade"]);
            } else if route.get("route").is_none() {
                route["route"] = json!([{ "destination": { "host": "web" } }]);
            }
            share_out(route, choices);
            if routes == "tls" {
                if route.get("match").is_none() {
                    route["match"] = json!([{}]);
                }
                each(route, "match", |conditions| {
                    conditions["sniHosts"] = hosts.clone()
                });
            }
        });
    }
}

/// Weights that add up.
fn share_out(route: &mut Value, choices: &mut Choices<'_>) {
    let Some(destinations) = route.get_mut("route").and_then(Value::as_array_mut) else {
        return;
    };
    let count = destinations.len();
    let mut left = 100;
    for (index, destination) in destinations.iter_mut().enumerate() {
        let weight = if index + 1 == count {
            left
        } else {
            choices.below(left + 1)
        };
        left -= weight;
        destination["weight"] = weight.into();
    }
}

fn tidy_server(server: &mut Value, choices: &mut Choices<'_>) {
    let protocol = server["port"]["protocol"].as_str().unwrap_or_default().to_owned();
    match protocol.as_str() {
        "HTTPS" | "TLS" => {
            if server.get("tls").is_none() {
                server["tls"] = json!({ "mode": "SIMPLE", "serverCertificate": "/etc/certs/cert-chain.pem",
                    "privateKey": "/etc/certs/key.pem" });
            }
        }
        "HTTP" | "HTTP2" | "GRPC" if choices.chance(30) => {
            server["tls"] = json!({ "httpsRedirect": true });
        }
        _ => remove(server, &["tls"]),
    }
}

fn tidy_service_entry(spec: &mut Value, choices: &mut Choices<'_>) {
    let resolution = spec.get("resolution").and_then(Value::as_str).unwrap_or("NONE");
    match resolution {
        "NONE" => remove(spec, &["endpoints"]),
        "STATIC" if spec.get("endpoints").is_none() => {
            spec["endpoints"] = json!([{ "address": "10.1.0.40" }]);
        }
        _ => {}
    }
    // Endpoints may only name the ports of the entry.
    let names: Vec<String> = spec["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|port| port["name"].as_str().map(str::to_owned))
        .collect();
    each(spec, "endpoints", |endpoint| {
        remove(endpoint, &["ports"]);
        if let Some(name) = names.first()
            && choices.chance(40)
            && !endpoint["address"]
                .as_str()
                .unwrap_or_default()
                .starts_with("unix:")
        {
            endpoint["ports"] = json!({ name.as_str(): 7070 });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_choices_lead_to_an_object_of_every_kind() {
        for kind in KINDS {
            let mut choices = Choices::seeded(7);
            let made = (0..40)
                .filter(|_| admitted(kind, "a", &mut choices).is_some())
                .count();
            assert!(made >= 24, "{kind}: {made} of 40");
        }
    }

    #[test]
    fn equal_choices_make_equal_objects() {
        for kind in KINDS {
            let [a, b] = [1, 1].map(|seed| object(kind, "a", &mut Choices::seeded(seed)));
            assert_eq!(a, b);
        }
    }

    #[test]
    fn an_end_of_bytes_is_an_end_of_choices() {
        for kind in KINDS {
            for length in [0, 1, 10, 100] {
                object(kind, "a", &mut Choices::of_bytes(&vec![0x5a; length]));
            }
        }
    }
}
