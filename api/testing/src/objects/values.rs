//! What people write into fields.

use prost_reflect::{FieldDescriptor, Kind as FieldKind};
use serde_json::{Value, json};

use super::{Choices, texts};

const PORTS: &[u32] = &[
    80, 80, 443, 443, 8080, 9090, 3306, 27017, 15443, 1, 65535, 15001, 15006, 15090, 0, 70000,
];

/// How many times out of a hundred a field is written.
pub(super) fn frequency(field: &FieldDescriptor, only_needed: bool) -> usize {
    let is_needed = matches!(
        field.name(),
        "host"
            | "hosts"
            | "port"
            | "ports"
            | "name"
            | "protocol"
            | "number"
            | "destination"
            | "servers"
            | "filters"
            | "address"
            | "default_endpoint"
            | "ttl"
            | "client_certificate"
            | "private_key"
            | "server_certificate"
            | "ca_certificates"
            | "sni_hosts"
            | "egress"
            | "relative_to"
            | "value"
            | "credential_name"
            | "fixed_delay"
            | "http_status"
            | "spec"
            | "subsets"
            | "addresses"
            | "ip"
            | "containers"
            | "containerPort"
            | "podIP"
            | "clusterIP"
            | "status"
            | "phase"
    );
    match field.name() {
        // Is written by whoever makes the object.
        "metadata" => 0,
        "route" => 90,
        "http" => 75,
        "redirect" | "rewrite" | "fault" | "mirror" | "tls_routes" => 10,
        // What nobody here looks at costs choices.
        "env"
        | "resources"
        | "conditions"
        | "initContainers"
        | "containerStatuses"
        | "initContainerStatuses" => 1,
        "addresses" if field.parent_message().name() == "ServiceEntry" => 60,
        _ if is_needed => 96,
        _ if field.parent_message().name() == "PortSelector" => 90,
        _ if only_needed => 0,
        _ => 30,
    }
}

/// How many items a list has.
pub(super) fn count(field: &FieldDescriptor, choices: &mut Choices<'_>) -> usize {
    match field.name() {
        "export_to" => 1,
        _ if choices.chance(4) => 0,
        _ => 1 + choices.below(3),
    }
}

/// A duration, mostly one that validation admits.
pub(super) fn duration(choices: &mut Choices<'_>) -> Value {
    json!(choices.one_of(&[
        "1s",
        "0.001s",
        "10s",
        "0.250s",
        "3600s",
        "86400s",
        "30s",
        "315576000000s",
        "9223372036.854s",
        "9223372037s",
        "4294967295s",
        "4294967.296s",
        "2147483648s",
        "0s",
        "0.0005s",
        "-1s",
    ]))
}

/// An entry of a map whose name and value belong together.
pub(super) fn pair(field: &FieldDescriptor, choices: &mut Choices<'_>) -> Option<(String, Value)> {
    let pairs: &[(&str, &str)] = match field.name() {
        "labels" | "source_labels" | "workload_labels" => &[
            ("app", "web"),
            ("version", "v1"),
            ("version", "v2"),
            ("app", "api"),
            ("", ""),
        ],
        "selector" => &[("istio", "ingressgateway"), ("app", "web")],
        _ => return None,
    };
    let (name, value) = choices.one_of(pairs);
    Some(((*name).to_owned(), (*value).into()))
}

/// A value of a field; `of` is the field itself, or the map that it is a part of.
pub(super) fn scalar(field: &FieldDescriptor, of: &FieldDescriptor, choices: &mut Choices<'_>) -> Value {
    match field.kind() {
        FieldKind::String | FieldKind::Bytes => texts::text(field, of, choices).into(),
        FieldKind::Bool => choices.chance(50).into(),
        FieldKind::Enum(descriptor) => {
            let values: Vec<_> = descriptor.values().collect();
            choices.one_of(&values).name().into()
        }
        FieldKind::Double | FieldKind::Float => {
            json!(choices.one_of(&[0.0, 0.0001, 1.5, 50.0, 99.9999, 100.0, 100.1, -1.0]))
        }
        _ => integer(field, choices),
    }
}

fn integer(field: &FieldDescriptor, choices: &mut Choices<'_>) -> Value {
    match field.name() {
        "number" | "port" | "port_number" | "containerPort" | "nodePort" | "hostPort" => {
            json!(choices.one_of(PORTS))
        }
        "http_status" => json!(choices.one_of(&[500, 503, 418, 200, 404, 600, 599, 100, 0, 199, 601])),
        name if name.contains("percent") || (name == "weight" && field.kind() == FieldKind::Int32) => {
            json!(choices.one_of(&[0, 1, 10, 50, 100, 101, -1].map(|value: i32| value.max(0))))
        }
        "minimum_ring_size" => {
            json!(choices.one_of(&[0_u64, 1, 1024, 8_388_608, 8_388_609, 10_000_000, u64::MAX]))
        }
        _ if field.kind() == FieldKind::Uint32 => {
            json!(choices.one_of(&[0, 1, 3, 128, 129, 100_000, u32::MAX]))
        }
        _ => json!(choices.one_of(&[0, 1, 3, 100, 1024, 1_000_000, i32::MAX])),
    }
}
