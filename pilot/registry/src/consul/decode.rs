//! Answers of the agent's HTTP API. Pure.
//!
//! Read field by field, so that an error says which field of which instance of which service it is about, and so that
//! an instance that cannot be used is left out alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use mesh_config::{Labels, Protocol, Str};
use pilot_model::Locality;
use serde_json::{Map, Value};

/// Meta key with the protocol that an instance speaks (P4.4).
const PROTOCOL: &str = "protocol";
/// Meta key that says, with any value, that a service lies outside the mesh (P4.4).
const EXTERNAL: &str = "external";
/// What an instance speaks that does not say so, as in 1.1.
const DEFAULT_PROTOCOL: &str = "http";
/// A label that gives a locality within the datacenter (P2.4).
const LOCALITY_LABEL: &str = "istio-locality";

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its id, unique on its node only.
    pub id: Str,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it lies outside the mesh.
    pub external: bool,
    /// From its tags `key|value`.
    pub labels: Labels,
    /// Where it runs: the datacenter, unless its label says more.
    pub locality: Locality,
    /// Its share of the load; at least 1.
    pub weight: u32,
    /// Whether no check of it or of its node is critical.
    pub serving: bool,
}

/// The instances of one service as an answer gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// Those that can be used, sorted.
    pub instances: Vec<Instance>,
    /// Why others cannot, sorted.
    pub problems: Vec<String>,
}

/// An answer that is not what the API promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not {expected}")]
pub(super) struct FieldError {
    field: String,
    expected: &'static str,
}

/// The object at a path of an answer.
struct Object<'a> {
    path: String,
    fields: &'a Map<String, Value>,
}

/// The names of all services: the answer of `/v1/catalog/services`.
pub(super) fn catalog(body: &[u8]) -> Result<BTreeSet<String>, FieldError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| error("the catalog", "JSON"))?;
    let services = value
        .as_object()
        .ok_or_else(|| error("the catalog", "an object of services"))?;
    Ok(services.keys().cloned().collect())
}

/// The instances of a service: the answer of `/v1/health/service/<name>`.
pub(super) fn instances(body: &[u8]) -> Result<Instances, FieldError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| error("the answer", "JSON"))?;
    let entries = value
        .as_array()
        .ok_or_else(|| error("the answer", "a list of instances"))?;
    let mut decoded = Instances::default();
    for (position, entry) in entries.iter().enumerate() {
        match instance(entry) {
            Ok(instance) => decoded.instances.push(instance),
            Err(error) => {
                let name = match entry.pointer("/Service/ID").and_then(Value::as_str) {
                    Some(id) => format!("instance {id:?}"),
                    None => format!("instance {position}"),
                };
                decoded.problems.push(format!("{name}: {error}"));
            }
        }
    }
    decoded.instances.sort();
    decoded.agree_on_protocols();
    decoded.problems.sort();
    Ok(decoded)
}

fn instance(entry: &Value) -> Result<Instance, FieldError> {
    let entry = Object::new(String::new(), entry)?;
    let node = entry.object("Node")?;
    let service = entry.object("Service")?;
    let meta = service.texts("Meta")?;
    let labels = labels(&service.list("Tags")?);
    let address = match service.text("Address")? {
        "" => node.address("Address")?,
        _ => service.address("Address")?,
    };
    let health = health(&entry)?;
    Ok(Instance {
        address: SocketAddr::new(address, service.port("Port")?),
        id: service.text("ID")?.into(),
        protocol: meta
            .get(PROTOCOL)
            .copied()
            .unwrap_or(DEFAULT_PROTOCOL)
            .parse()
            .unwrap_or(Protocol::Tcp),
        external: meta.get(EXTERNAL).is_some_and(|value| !value.is_empty()),
        locality: match labels.get(LOCALITY_LABEL) {
            Some(locality) => Locality::parse(locality),
            None => Locality {
                region: node.text("Datacenter")?.into(),
                ..Locality::default()
            },
        },
        labels,
        weight: weight(&service, health)?,
        serving: health != Health::Critical,
    })
}

/// The worst of the checks of an instance and its node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Passing,
    Warning,
    Critical,
}

fn health(entry: &Object<'_>) -> Result<Health, FieldError> {
    let checks = entry.list("Checks")?;
    let mut worst = Health::Passing;
    for (position, check) in checks.iter().enumerate() {
        let check = Object::new(format!("Checks[{position}]"), check)?;
        worst = worst.max(match check.text("Status")? {
            "passing" => Health::Passing,
            "warning" => Health::Warning,
            _ => Health::Critical,
        });
    }
    Ok(worst)
}

/// The weight that the service asks for; Consul's own is 1 for passing and warning.
fn weight(service: &Object<'_>, health: Health) -> Result<u32, FieldError> {
    let name = match health {
        Health::Warning => "Warning",
        Health::Passing | Health::Critical => "Passing",
    };
    let Some(weights) = service.fields.get("Weights").filter(|value| !value.is_null()) else {
        return Ok(1);
    };
    let weights = Object::new(service.path_of("Weights"), weights)?;
    let weight = match weights.fields.get(name) {
        None => 1,
        Some(value) => value
            .as_u64()
            .and_then(|weight| u32::try_from(weight).ok())
            .ok_or_else(|| error(&weights.path_of(name), "a weight"))?,
    };
    Ok(weight.max(1))
}

/// Labels from tags `key|value`; others say nothing. The order of tags means nothing, so the greatest of a key wins.
fn labels(tags: &[Value]) -> Labels {
    let tags: BTreeSet<&str> = tags.iter().filter_map(Value::as_str).collect();
    tags.into_iter()
        .filter_map(|tag| {
            let mut parts = tag.split('|');
            let key = parts.next().filter(|key| !key.is_empty())?;
            Some((key, parts.next()?))
        })
        .collect()
}

fn error(field: &str, expected: &'static str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        expected,
    }
}

// === impl Instances ===

impl Instances {
    /// A port has one protocol: that of the first instance, in order. Others are served all the same.
    fn agree_on_protocols(&mut self) {
        let mut protocols: BTreeMap<u16, (Protocol, Str)> = BTreeMap::new();
        for instance in &mut self.instances {
            let port = instance.address.port();
            let (protocol, first) = protocols
                .entry(port)
                .or_insert_with(|| (instance.protocol, instance.id.clone()));
            if *protocol != instance.protocol {
                self.problems.push(format!(
                    "instance {:?}: Service.Meta.protocol is {} where instance {first:?} has {protocol} on port {port}",
                    instance.id, instance.protocol
                ));
                instance.protocol = *protocol;
            }
        }
    }
}

// === impl Object ===

impl<'a> Object<'a> {
    fn new(path: String, value: &'a Value) -> Result<Self, FieldError> {
        match value.as_object() {
            Some(fields) => Ok(Self { path, fields }),
            None if path.is_empty() => Err(error("it", "an object")),
            None => Err(error(&path, "an object")),
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn object(&self, name: &str) -> Result<Object<'a>, FieldError> {
        let path = self.path_of(name);
        match self.fields.get(name) {
            Some(value) => Object::new(path, value),
            None => Err(error(&path, "an object")),
        }
    }

    /// A string; empty when absent.
    fn text(&self, name: &str) -> Result<&'a str, FieldError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(value) => value
                .as_str()
                .ok_or_else(|| error(&self.path_of(name), "a string")),
        }
    }

    /// A list; empty when absent, which Go writes as `null`.
    fn list(&self, name: &str) -> Result<Vec<Value>, FieldError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list.clone()),
            Some(_) => Err(error(&self.path_of(name), "a list")),
        }
    }

    /// A map of strings; empty when absent.
    fn texts(&self, name: &str) -> Result<BTreeMap<&'a str, &'a str>, FieldError> {
        let path = self.path_of(name);
        let map = match self.fields.get(name) {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(value) => Object::new(path, value)?,
        };
        map.fields
            .keys()
            .map(|key| Ok((key.as_str(), map.text(key)?)))
            .collect()
    }

    fn address(&self, name: &str) -> Result<IpAddr, FieldError> {
        // Endpoints are addresses: Envoy resolves no names of a registry.
        self.text(name)?
            .parse()
            .map_err(|_| error(&self.path_of(name), "an IP address"))
    }

    fn port(&self, name: &str) -> Result<u16, FieldError> {
        let number = self.fields.get(name).and_then(Value::as_u64).unwrap_or_default();
        match u16::try_from(number) {
            Ok(number) if number != 0 => Ok(number),
            _ => Err(error(&self.path_of(name), "a port from 1 to 65535")),
        }
    }
}
