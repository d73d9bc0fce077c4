//! Documents to objects, and back.

mod base64;
mod faults;
mod header;
mod kubernetes;
mod scalar;
mod suggest;
mod time;
mod well_known;
pub(crate) mod wire;

use mesh_api::Any;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::path::{Path, Segment, display};
use crate::yaml::Document;
use crate::{Body, Config, ConfigError, Kind, Scope};
pub use faults::{faults, message_faults};
use header::Header;
pub use time::duration_of as duration;
use wire::{Fault, Reader};

/// What a document holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// An object of a kind that we serve.
    Known(Kind),
    /// An object that is somebody else's, such as a Deployment.
    Foreign {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// No object, or one of a kind that does not exist although it claims one of our groups.
    Invalid(ConfigError),
}

/// What keeps JSON from being a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// Path of the field; empty for the message itself.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

/// Tells whose object a document holds, without reading its content.
pub fn classify(document: &Document) -> Class {
    match Header::read(&document.value, None) {
        Ok(Header { kind: Some(kind), .. }) => Class::Known(kind),
        Ok(Header {
            api_version,
            kind_name,
            ..
        }) => Class::Foreign {
            api_version,
            kind: kind_name,
        },
        Err(fault) => Class::Invalid(error(Some(document), &document.value, fault)),
    }
}

/// Reads an object of any known kind: metadata, and the content by canonical proto JSON, strictly.
///
/// # Errors
///
/// Unknown kind or field, wrong type, missing name: the error names file and line, object, field and reason.
pub fn object(document: &Document) -> Result<Config, ConfigError> {
    read(&document.value, None).map_err(|fault| error(Some(document), &document.value, fault))
}

/// Reads an object that a source delivers as JSON. `kind` is for sources that leave `apiVersion` and `kind` out, as
/// the API server does inside lists.
///
/// # Errors
///
/// As [`object`], without a location.
pub fn from_json(kind: Option<Kind>, value: &Value) -> Result<Config, ConfigError> {
    read(value, kind).map_err(|fault| error(None, value, fault))
}

/// Reads a message that Envoy or Istio defines, by canonical proto JSON, strictly.
///
/// # Errors
///
/// Unknown message or field, wrong type: the error names field and reason.
pub fn message(name: &str, value: &Value) -> Result<Any, MessageError> {
    let encoded = encode(name, value)?;
    Ok(Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: encoded.into(),
    })
}

/// Reads a message that somebody describes, by canonical proto JSON, strictly.
///
/// # Errors
///
/// Unknown field, wrong type: the error names field and reason.
pub fn described(descriptor: &MessageDescriptor, value: &Value) -> Result<Any, MessageError> {
    let encoded = Reader::default().message(descriptor, value, &Path::Root)?;
    Ok(Any {
        type_url: format!("type.googleapis.com/{}", descriptor.full_name()),
        value: encoded.into(),
    })
}

fn encode(name: &str, value: &Value) -> Result<Vec<u8>, Fault> {
    let unknown = || Fault::new(&Path::Root, suggest::unknown("message", name, []));
    let descriptor = mesh_api::descriptors().get_message_by_name(name);
    Reader::default().message(&descriptor.ok_or_else(unknown)?, value, &Path::Root)
}

impl From<Fault> for MessageError {
    fn from(Fault { path, reason }: Fault) -> Self {
        Self {
            field: display(&path),
            reason,
        }
    }
}

/// The whole object as JSON: `apiVersion`, `kind`, `metadata` and content.
///
/// Content that does not decode as the message of the kind is shown as its type URL and the reason.
pub fn to_json(config: &Config) -> Value {
    let schema = config.meta.key.kind.schema();
    let api_version = if schema.group.is_empty() {
        schema.version.to_owned()
    } else {
        format!("{}/{}", schema.group, schema.version)
    };
    let content = content_to_json(config);
    let metadata = header::metadata_to_json(&config.meta);
    let mut object = match schema.body {
        Body::Whole => content,
        Body::Spec => json!({ "spec": content }),
    };
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), Value::String(api_version));
        object.insert("kind".to_owned(), Value::String(schema.kind.to_owned()));
        match object.get_mut("metadata") {
            // What the content says beyond our metadata, such as owners, stays.
            Some(Value::Object(content)) => content.extend(metadata),
            _ => {
                object.insert("metadata".to_owned(), Value::Object(metadata));
            }
        }
    }
    object
}

fn content_to_json(config: &Config) -> Value {
    let undecodable = |reason: String| json!({ "@type": config.body.type_url, "undecodable": reason });
    let name = config.meta.key.kind.schema().message;
    let Some(descriptor) = mesh_api::descriptors().get_message_by_name(name) else {
        return undecodable(format!("message {name} is unknown"));
    };
    if config.body.message_name() != name {
        return undecodable(format!("expected {name}"));
    }
    if kubernetes::is_message(&descriptor) {
        return match DynamicMessage::decode(descriptor, config.body.value.clone()) {
            Ok(message) => kubernetes::to_json(&message),
            Err(error) => undecodable(error.to_string()),
        };
    }
    mesh_api::json::encoded_to_value(name, &config.body.value)
        .unwrap_or_else(|error| undecodable(error.to_string()))
}

fn read(value: &Value, hint: Option<Kind>) -> Result<Config, Fault> {
    let header = Header::read(value, hint)?;
    let Some(kind) = header.kind else {
        let reason = format!("unknown kind `{}` of {}", header.kind_name, header.api_version);
        return Err(Fault::new(&Path::Root.field("kind"), reason));
    };
    let meta = header.metadata(kind, value)?;
    let body = content(kind, &header, value)?;
    Ok(Config { meta, body })
}

fn content(kind: Kind, header: &Header, object: &Value) -> Result<Any, Fault> {
    let schema = kind.schema();
    let descriptor = mesh_api::descriptors()
        .get_message_by_name(schema.message)
        .ok_or_else(|| Fault::new(&Path::Root, format!("message {} is unknown", schema.message)))?;
    let reader = Reader::default();
    let encoded = match schema.body {
        Body::Whole => reader.message(&descriptor, object, &Path::Root)?,
        Body::Spec => {
            if !kubernetes::is_message(&descriptor) {
                header::only_known_fields(object)?;
            }
            let path = Path::Root;
            let path = path.field("spec");
            match object.get("spec") {
                None | Some(Value::Null) => reader.message(&descriptor, &Value::Object(Map::new()), &path)?,
                Some(spec) => match shaped(kind, header, spec) {
                    Some(spec) => reader.message(&descriptor, &spec, &path)?,
                    None => reader.message(&descriptor, spec, &path)?,
                },
            }
        }
    };
    Ok(Any {
        type_url: format!("type.googleapis.com/{}", schema.message),
        value: encoded.into(),
    })
}

/// The content in the shape of its message, where the version that it was written in has another one.
fn shaped(kind: Kind, header: &Header, spec: &Value) -> Option<Value> {
    match kind {
        Kind::Ingress if header.version() != kind.schema().version => {
            let mut spec = spec.clone();
            kubernetes::modern_ingress(&mut spec);
            Some(spec)
        }
        // `mtls:` alone asks for mutual TLS; to proto JSON it would be absent (G4, the auth-policy-resource converter).
        Kind::Policy | Kind::MeshPolicy => {
            let mut spec = spec.clone();
            for peer in spec
                .get_mut("peers")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(mtls @ Value::Null) = peer.get_mut("mtls") {
                    *mtls = json!({});
                }
            }
            Some(spec)
        }
        _ => None,
    }
}

/// Names the object and the place of a fault.
fn error(document: Option<&Document>, value: &Value, fault: Fault) -> ConfigError {
    let Fault { path, reason } = fault;
    let location = document.map(|document| document.locate_path(&path));
    // Users think of the fields of the spec as the fields of the object.
    let shown = match path.split_first() {
        Some((Segment::Field(first), rest)) if first == "spec" && !rest.is_empty() => rest,
        _ => &path,
    };
    ConfigError {
        location,
        object: object_name(value),
        field: display(shown),
        reason,
    }
}

/// `VirtualService weather/forecast`, as far as it can be read.
fn object_name(value: &Value) -> String {
    let Some(kind) = value.get("kind").and_then(Value::as_str) else {
        return String::new();
    };
    let mut text = wire::shortened(kind);
    let metadata = |name: &str| {
        value
            .pointer(&format!("/metadata/{name}"))
            .and_then(Value::as_str)
    };
    if let Some(name) = metadata("name") {
        let known = Header::read(value, None).ok().and_then(|header| header.kind);
        let in_namespace = known.is_none_or(|kind| kind.schema().scope == Scope::Namespace);
        text.push(' ');
        if in_namespace {
            text.push_str(&wire::shortened(
                metadata("namespace").unwrap_or(header::DEFAULT_NAMESPACE),
            ));
            text.push('/');
        }
        text.push_str(&wire::shortened(name));
    }
    text
}

#[cfg(test)]
mod tests;
