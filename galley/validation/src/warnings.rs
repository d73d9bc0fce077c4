//! What is legal but surely a mistake.

use mesh_config::{Config, Kind};
use serde_json::Value;

/// What can be said about an object by whoever knows more than the object.
pub trait Warnings: Send + Sync {
    /// Warnings about an object that is valid, each with its field; the name of the object is put in front.
    fn about(&self, object: &Config) -> Vec<String>;
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWarnings;

/// Warnings about an object that is admitted, each with its field.
pub(crate) fn of(kind: Kind, object: &Value) -> Vec<String> {
    match kind {
        Kind::Policy | Kind::MeshPolicy => empty_peers(object),
        _ => Vec::new(),
    }
}

/// A warning about an instance or a handler that takes the place of one of another template or adapter: whoever applied it
/// may not know that there was one, and the rules that use the name get something else.
pub(crate) fn replaced(kind: Kind, old: &Value, new: &Value) -> Option<String> {
    let fields = match kind {
        Kind::Instance => ["compiledTemplate", "template"],
        Kind::Handler => ["compiledAdapter", "adapter"],
        _ => return None,
    };
    let made_of = |object: &Value| {
        let spec = object.get("spec")?;
        fields.iter().find_map(|field| {
            let value = spec.get(field)?.as_str().filter(|value| !value.is_empty())?;
            Some((*field, value.to_owned()))
        })
    };
    let ((_, old), (field, new)) = (made_of(old)?, made_of(new)?);
    (old != new).then(|| {
        format!(
            "{field}: replaces the {} of {old} by one of {new}, rules that use it may not fit it any more; another name \
             makes another {}",
            kind.schema().kind,
            kind.schema().kind
        )
    })
}

// === impl NoWarnings ===

impl Warnings for NoWarnings {
    fn about(&self, _object: &Config) -> Vec<String> {
        Vec::new()
    }
}

/// `kubectl apply` drops fields without a value, `mtls:` among them. What is left asks for nothing at all.
fn empty_peers(object: &Value) -> Vec<String> {
    let peers = object.pointer("/spec/peers").and_then(Value::as_array);
    peers
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, peer)| peer.as_object().is_some_and(serde_json::Map::is_empty))
        .map(|(index, _)| {
            format!("peers[{index}]: asks for no proof of identity; `mtls: {{}}` asks for mutual TLS")
        })
        .collect()
}
