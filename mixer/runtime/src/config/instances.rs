//! Objects that describe instances (`spec 02` §5.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::policy::v1beta1::Instance;
use mesh_config::{Config, Kind};
use mixer_attribute::Vocabulary;
use mixer_template::Template;
use serde_json::Value;

use super::names::FullName;
use super::problems::Problems;
use super::state::Objects;
use super::{Fault, STRUCT, params, template_of};
use mixer_template::InstanceBuilder;

/// How the instances of one object are made.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Its full name.
    pub name: FullName,
    /// What it is an instance of.
    pub template: Template,
    /// Makes instances of attributes.
    pub builder: Arc<InstanceBuilder>,
}

/// All instances that can be made, and the number of those that cannot.
pub(super) fn build(
    objects: &Objects,
    vocabulary: &Vocabulary,
    problems: &mut Problems,
) -> (BTreeMap<FullName, InstanceConfig>, usize) {
    let (mut instances, mut errors) = (BTreeMap::new(), 0);
    for config in objects.values() {
        let key = &config.meta.key;
        let read = match key.kind {
            Kind::Instance => uniform(config),
            kind => match template_of(kind) {
                Some(template) => legacy(config, template),
                None => continue,
            },
        };
        let compiled = match read {
            Ok(description) => compile(config, description, vocabulary, problems),
            Err((field, reason)) => {
                problems.push(key, field, reason);
                None
            }
        };
        match compiled {
            Some(instance) => {
                instances.insert(instance.name.clone(), instance);
            }
            None => errors += 1,
        }
    }
    (instances, errors)
}

/// What an object says, of whatever kind it is.
struct Description {
    template: Template,
    params: Value,
    bindings: BTreeMap<String, String>,
    /// Where the parameters stand in the object.
    prefix: &'static str,
}

fn uniform(config: &Config) -> Result<Description, Fault> {
    let instance: Instance = config.decode().map_err(|error| ("", error.to_string()))?;
    let template = match (instance.compiled_template.as_str(), instance.template.as_str()) {
        ("", "") => return Err(("compiledTemplate", "an instance needs a template".to_owned())),
        (compiled, "") => Template::find(compiled)
            .ok_or_else(|| ("compiledTemplate", format!("there is no template {compiled}")))?,
        ("", template) => {
            let reason = format!("template {template} is not built in, which is not supported");
            return Err(("template", reason));
        }
        _ => {
            let reason = "an instance is one of compiledTemplate or of template, not of both".to_owned();
            return Err(("template", reason));
        }
    };
    let params = params(instance.params.as_ref())?;
    Ok(Description {
        template,
        params,
        bindings: instance.attribute_bindings,
        prefix: "params",
    })
}

/// Parameters and bindings stand side by side.
fn legacy(config: &Config, template: Template) -> Result<Description, Fault> {
    let mut params = mesh_api::json::encoded_to_value(STRUCT, &config.body.value)
        .map_err(|error| ("", error.to_string()))?;
    let mut bindings = BTreeMap::new();
    for name in ["attributeBindings", "attribute_bindings"] {
        let Some(given) = params.as_object_mut().and_then(|params| params.remove(name)) else {
            continue;
        };
        bindings = serde_json::from_value(given)
            .map_err(|_| ("attributeBindings", "is not a map of expressions".to_owned()))?;
    }
    Ok(Description {
        template,
        params,
        bindings,
        prefix: "",
    })
}

fn compile(
    config: &Config,
    description: Description,
    vocabulary: &Vocabulary,
    problems: &mut Problems,
) -> Option<InstanceConfig> {
    let Description {
        template,
        params,
        bindings,
        prefix,
    } = description;
    let key = &config.meta.key;
    let name = FullName::of(key);
    match InstanceBuilder::compile(template, name.as_str(), &params, &bindings, vocabulary) {
        Ok(builder) => Some(InstanceConfig {
            name,
            template,
            builder: Arc::new(builder),
        }),
        Err(errors) => {
            for error in errors {
                let field = match (prefix, error.field.as_str()) {
                    ("", field) | (field, "") => field.to_owned(),
                    (prefix, field) => format!("{prefix}.{field}"),
                };
                problems.push(key, field, error.reason);
            }
            None
        }
    }
}
