//! Mends what rules about several fields would nearly always refuse.

use mesh_config::Kind;
use serde_json::{Value, json};

use super::Choices;

/// Mends an object of a kind, except for a few.
pub(super) fn tidy(kind: Kind, spec: &mut Value, choices: &mut Choices<'_>) {
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
