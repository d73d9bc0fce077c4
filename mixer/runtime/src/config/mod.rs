//! From objects to a configuration whose parts fit together (`spec 02` §5, §9.5).
//!
//! What is wrong is left out, as little as possible of it, and told; the rest counts (§5.9).

mod handlers;
mod instances;
mod names;
mod problems;
mod remote;
mod rules;
mod snapshot;
mod state;
mod vocabulary;

use std::collections::BTreeSet;

use mesh_config::Kind;
use mixer_template::Template;
use prost::Message as _;
use prost_types::Struct;
use serde_json::Value;

pub use handlers::{AdapterConfig, HandlerConfig};
pub use instances::InstanceConfig;
pub use names::FullName;
pub use problems::Problems;
pub use remote::RemoteAdapter;
pub use rules::{ActionConfig, Condition, HeaderOperation, HeaderTarget, RuleConfig, RuleOutputs};
pub use snapshot::{Counts, Replaced, Snapshot};
pub use state::{Objects, State, StoreEvent};
pub use vocabulary::{DESTINATION_NAMESPACE, REPORTER_KIND, SOURCE_NAMESPACE};

/// Where the kinds of Mixer belong.
const GROUP: &str = "config.istio.io";

/// A field and what is wrong with it.
type Fault = (&'static str, String);

/// The message of kinds whose `spec` holds the parameters themselves.
const STRUCT: &str = "google.protobuf.Struct";

/// The kinds that Mixer reads (`spec 02` §5.1). `legacy`: also those that are called after an adapter or a template
/// (`--useAdapterCRDs`).
#[must_use]
pub fn kinds(legacy: bool) -> BTreeSet<Kind> {
    let uniform = [
        Kind::Rule,
        Kind::AttributeManifest,
        Kind::Handler,
        Kind::Instance,
        Kind::Adapter,
        Kind::Template,
    ];
    let others = Kind::ALL
        .iter()
        .copied()
        .filter(|kind| legacy && is_legacy(*kind));
    uniform.into_iter().chain(others).collect()
}

/// Whether an object of this kind is nothing but the parameters of an adapter or a template.
fn is_legacy(kind: Kind) -> bool {
    let schema = kind.schema();
    let described = matches!(kind, Kind::Adapter | Kind::Template);
    schema.group == GROUP && schema.message == STRUCT && !described
}

/// The template that a legacy kind is called after.
fn template_of(kind: Kind) -> Option<Template> {
    Template::find(kind.schema().kind).filter(|_| is_legacy(kind))
}

/// The parameters of an object of a uniform kind.
fn params(params: Option<&Struct>) -> Result<Value, Fault> {
    match params {
        Some(params) => mesh_api::json::encoded_to_value(STRUCT, &params.encode_to_vec())
            .map_err(|error| ("params", error.to_string())),
        None => Ok(Value::Null),
    }
}
