//! The attributes of all manifests (`spec 02` §3.3).

use mesh_api::istio::policy::v1beta1::AttributeManifest;
use mesh_config::{Config, Kind};
use mixer_attribute::{ValueType, Vocabulary};

use super::problems::Problems;
use super::state::Objects;

/// Which side of a request its proxy stands on: `inbound` or `outbound`.
pub const REPORTER_KIND: &str = "context.reporter.kind";
/// Namespace of the workload that is called.
pub const DESTINATION_NAMESPACE: &str = "destination.namespace";
/// Namespace of the workload that calls.
pub const SOURCE_NAMESPACE: &str = "source.namespace";

/// What decides about the namespace of a request (§9.6): text, whether a manifest declares it or not.
const ALWAYS: [&str; 3] = [REPORTER_KIND, DESTINATION_NAMESPACE, SOURCE_NAMESPACE];

/// All manifests together, whatever their namespaces. An attribute with two types has that of the manifest that comes
/// first by name, and the other is told.
pub(super) fn build(objects: &Objects, problems: &mut Problems) -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    for name in ALWAYS {
        // They are the first, so that a manifest that says otherwise is told.
        let _added = vocabulary.add(name, ValueType::String);
    }
    let manifests = objects
        .values()
        .filter(|config| config.meta.key.kind == Kind::AttributeManifest);
    for config in manifests {
        add(config, &mut vocabulary, problems);
    }
    vocabulary
}

fn add(config: &Config, vocabulary: &mut Vocabulary, problems: &mut Problems) {
    let key = &config.meta.key;
    let manifest: AttributeManifest = match config.decode() {
        Ok(manifest) => manifest,
        Err(error) => return problems.push(key, "", error.to_string()),
    };
    for (name, info) in &manifest.attributes {
        let field = || format!("attributes[{name}]");
        match ValueType::from_wire(info.value_type) {
            None => problems.push(key, field(), "the attribute has no type"),
            Some(value_type) => {
                if let Err(conflict) = vocabulary.add(name, value_type) {
                    problems.push(key, field(), conflict.to_string());
                }
            }
        }
    }
}
