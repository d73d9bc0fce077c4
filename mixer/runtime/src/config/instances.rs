//! Objects that describe instances (`spec 02` §5.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::istio::policy::v1beta1::Instance;
use mesh_config::{Config, Kind};
use mixer_attribute::Vocabulary;
use mixer_dynamic::Encoder;
use mixer_template::{FieldError, InstanceBuilder, InstanceCompiler, Template};
use serde_json::Value;

use super::names::FullName;
use super::problems::Problems;
use super::remote::Remotes;
use super::state::Objects;
use super::{Fault, STRUCT, params, template_of};
use crate::instance::{AnyTemplate, Maker};

/// How the instances of one object are made.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Its full name.
    pub name: FullName,
    /// What it is an instance of.
    pub template: AnyTemplate,
    /// Makes instances for adapters that are built in, if the template is.
    pub builder: Option<Arc<InstanceBuilder>>,
    /// Makes instances for adapters of other processes, or why that is not possible.
    pub encoder: Result<Arc<Encoder>, Box<str>>,
}

/// All instances that can be made, and the number of those that cannot.
pub(super) fn build(
    objects: &Objects,
    vocabulary: &Vocabulary,
    remotes: &Remotes,
    problems: &mut Problems,
) -> (BTreeMap<FullName, InstanceConfig>, usize) {
    let (mut instances, mut errors) = (BTreeMap::new(), 0);
    let mut compiler = InstanceCompiler::new(vocabulary);
    for config in objects.values() {
        let key = &config.meta.key;
        let read = match key.kind {
            Kind::Instance => uniform(config, remotes),
            kind => match template_of(kind) {
                Some(template) => legacy(config, template),
                None => continue,
            },
        };
        let compiled = match read {
            Ok(description) => compile(config, description, vocabulary, &mut compiler, remotes, problems),
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
    template: AnyTemplate,
    params: Value,
    bindings: BTreeMap<String, String>,
    /// Where the parameters stand in the object.
    prefix: &'static str,
}

fn uniform(config: &Config, remotes: &Remotes) -> Result<Description, Fault> {
    let instance: Instance = config.decode().map_err(|error| ("", error.to_string()))?;
    let template = match (instance.compiled_template.as_str(), instance.template.as_str()) {
        ("", "") => return Err(("compiledTemplate", "an instance needs a template".to_owned())),
        (compiled, "") => Template::find(compiled)
            .map(AnyTemplate::BuiltIn)
            .ok_or_else(|| ("compiledTemplate", format!("there is no template {compiled}")))?,
        ("", template) => {
            let found = remotes.template(template, &config.meta.key.namespace);
            AnyTemplate::Remote(Arc::clone(found.map_err(|reason| ("template", reason))?))
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
        template: AnyTemplate::BuiltIn(template),
        params,
        bindings,
        prefix: "",
    })
}

fn compile(
    config: &Config,
    description: Description,
    vocabulary: &Vocabulary,
    compiler: &mut InstanceCompiler<'_>,
    remotes: &Remotes,
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
    let encoder = |template: &Arc<mixer_dynamic::Template>| {
        Encoder::compile(template, name.as_str(), &params, &bindings, vocabulary).map(Arc::new)
    };
    let compiled = match &template {
        AnyTemplate::BuiltIn(known) => {
            let builder = compiler.compile(*known, name.as_str(), &params, &bindings);
            builder.map(|builder| {
                // What cannot be sent to another process may still be good for adapters that are built in.
                let remote = remotes.built_in(known.name());
                let encoder = remote
                    .ok_or_else(|| "there are no adapters of other processes".into())
                    .and_then(|remote| encoder(remote).map_err(|errors| joined(&errors)));
                (Some(Arc::new(builder)), encoder)
            })
        }
        AnyTemplate::Remote(remote) => encoder(remote).map(|encoder| (None, Ok(encoder))),
    };
    match compiled {
        Ok((builder, encoder)) => Some(InstanceConfig {
            name,
            template,
            builder,
            encoder,
        }),
        Err(errors) => {
            tell(config, prefix, errors, problems);
            None
        }
    }
}

fn joined(errors: &[FieldError]) -> Box<str> {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ").into()
}

fn tell(config: &Config, prefix: &str, errors: Vec<FieldError>, problems: &mut Problems) {
    for error in errors {
        let field = match (prefix, error.field.as_str()) {
            ("", field) | (field, "") => field.to_owned(),
            (prefix, field) => format!("{prefix}.{field}"),
        };
        problems.push(&config.meta.key, field, error.reason);
    }
}

// === impl InstanceConfig ===

impl InstanceConfig {
    /// What makes instances for an adapter that is built in, or for one of another process.
    #[must_use]
    pub fn maker(&self, remote: bool) -> Option<Maker> {
        if remote {
            self.encoder.clone().ok().map(Maker::Remote)
        } else {
            self.builder.clone().map(Maker::BuiltIn)
        }
    }
}
