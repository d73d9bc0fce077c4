//! From what an adapter puts out to attributes (`spec 02` §6.5).

use std::collections::BTreeMap;

use mixer_attribute::{AttributeId, Bag, Text, Track, Value, ValueType, Vocabulary};
use mixer_expr::{Overlay, Program};

use super::BuildError;
use super::field::Compiler;
use crate::instance::{KubernetesOutput, KubernetesSide};

/// How expressions name outputs: those of instances of built-in templates, and those of others. Both are taken in both.
const PREFIXES: [&str; 2] = ["$out.", "output."];

/// The name of an output without its side, its type, and its value; `None` is absent.
type Output = (
    &'static str,
    ValueType,
    fn(&KubernetesSide) -> Option<Value<'static>>,
);

const OUTPUTS: [Output; 12] = [
    ("pod_uid", ValueType::String, |side| text(side.pod_uid.as_ref())),
    ("pod_ip", ValueType::IpAddress, |side| {
        side.pod_ip.map(Value::IpAddress)
    }),
    ("pod_name", ValueType::String, |side| text(side.pod_name.as_ref())),
    ("labels", ValueType::StringMap, |side| {
        side.labels.clone().map(Value::StringMap)
    }),
    ("namespace", ValueType::String, |side| {
        text(side.namespace.as_ref())
    }),
    ("service_account_name", ValueType::String, |side| {
        text(side.service_account_name.as_ref())
    }),
    ("host_ip", ValueType::IpAddress, |side| {
        side.host_ip.map(Value::IpAddress)
    }),
    ("workload_uid", ValueType::String, |side| {
        text(side.workload_uid.as_ref())
    }),
    ("workload_name", ValueType::String, |side| {
        text(side.workload_name.as_ref())
    }),
    ("workload_namespace", ValueType::String, |side| {
        text(side.workload_namespace.as_ref())
    }),
    ("owner", ValueType::String, |side| text(side.owner.as_ref())),
    ("container_name", ValueType::String, |side| {
        text(side.container_name.as_ref())
    }),
];

/// The outputs that both sides have; the others are of the destination only.
const OF_BOTH: usize = 11;

/// Attributes, and the expressions that give them.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    bound: Vec<Binding>,
    /// How many attributes a request may have. Outputs are numbered from there on.
    first: usize,
    /// Outputs of source and destination in the order of [`OUTPUTS`].
    outputs: [Vec<AttributeId>; 2],
}

#[derive(Debug)]
struct Binding {
    attribute: AttributeId,
    name: Box<str>,
    program: Program,
}

impl Bindings {
    pub(super) fn compile(bindings: &BTreeMap<String, String>, compiler: &mut Compiler<'_>) -> Self {
        if bindings.is_empty() {
            return Self::default();
        }
        let vocabulary = compiler.vocabulary();
        let mut extended = vocabulary.clone();
        let mut outputs = [Vec::new(), Vec::new()];
        for (side, ids) in ["source", "destination"].iter().zip(&mut outputs) {
            let count = if *side == "source" { OF_BOTH } else { OUTPUTS.len() };
            for (name, value_type, _) in &OUTPUTS[..count] {
                match declare(&mut extended, &format!("{side}_{name}"), *value_type) {
                    Ok(id) => ids.push(id),
                    Err(conflict) => compiler.refuse("attributeBindings", conflict),
                }
            }
        }
        let mut bound = Vec::with_capacity(bindings.len());
        for (name, text) in bindings {
            let program = match vocabulary.id(name) {
                None => Err(format!("unknown attribute {name}")),
                Some(id) => mixer_expr::compile_typed(text, &extended, vocabulary.value_type(id))
                    .map(|program| (id, program))
                    .map_err(|error| error.to_string()),
            };
            match program {
                Ok((attribute, program)) => bound.push(Binding {
                    attribute,
                    name: name.as_str().into(),
                    program,
                }),
                Err(reason) => compiler.refuse(path(name), reason),
            }
        }
        Self {
            bound,
            first: vocabulary.len(),
            outputs,
        }
    }

    pub(super) fn bind<'r>(
        &'r self,
        output: &KubernetesOutput,
        bag: &mut Bag<'r>,
        track: &mut impl Track,
    ) -> Result<(), BuildError> {
        let count = self.outputs.iter().map(Vec::len).sum();
        let mut overlay: Overlay<'_, 'r> = Overlay::new(bag, self.first, count);
        for (side, ids) in [&output.source, &output.destination]
            .into_iter()
            .zip(&self.outputs)
        {
            for (id, (_, _, value)) in ids.iter().zip(&OUTPUTS) {
                if let Some(value) = value(side) {
                    overlay.set(*id, value);
                }
            }
        }
        let mut track = overlay.track(track);
        let mut values = Vec::with_capacity(self.bound.len());
        for binding in &self.bound {
            if bag.get(binding.attribute).is_some() {
                continue;
            }
            let value = binding.program.evaluate(&overlay, &mut track);
            let value = value.map_err(|error| BuildError {
                field: path(&binding.name).into(),
                error,
            })?;
            values.push((binding.attribute, value));
        }
        drop(overlay);
        for (attribute, value) in values {
            bag.set(attribute, value);
        }
        Ok(())
    }
}

/// Adds an output by all of its names.
fn declare(vocabulary: &mut Vocabulary, name: &str, value_type: ValueType) -> Result<AttributeId, String> {
    let [first, second] = PREFIXES.map(|prefix| format!("{prefix}{name}"));
    let id = vocabulary
        .add(&first, value_type)
        .map_err(|conflict| conflict.to_string())?;
    vocabulary
        .alias(&second, id)
        .map_err(|conflict| conflict.to_string())?;
    Ok(id)
}

fn path(attribute: &str) -> String {
    format!("attributeBindings[{attribute}]")
}

fn text(text: Option<&Text<'static>>) -> Option<Value<'static>> {
    text.cloned().map(Value::String)
}
