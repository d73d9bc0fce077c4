//! From what an adapter puts out to attributes (`spec 02` §6.5).

use std::collections::BTreeMap;

use mixer_attribute::{AttributeId, Bag, Conflict, Text, Track, Value, ValueType, Vocabulary};
use mixer_expr::{Overlay, Program};

use super::{BuildError, FieldError};
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

/// Attributes, and the expressions over outputs of an adapter that give them.
#[derive(Debug, Default)]
pub struct Bindings {
    bound: Vec<Binding>,
    outputs: Outputs,
}

/// What an adapter puts out, as expressions see it: attributes above those of the request.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// How many attributes a request may have. Outputs are numbered from there on.
    first: usize,
    ids: Vec<AttributeId>,
}

#[derive(Debug)]
struct Binding {
    attribute: AttributeId,
    name: Box<str>,
    program: Program,
}

/// The outputs of the template `kubernetes`, in the order of [`values`].
pub(super) fn kubernetes() -> impl Iterator<Item = (String, ValueType)> {
    let of = |side: &'static str, count: usize| {
        OUTPUTS[..count]
            .iter()
            .map(move |(name, value_type, _)| (format!("{side}_{name}"), *value_type))
    };
    of("source", OF_BOTH).chain(of("destination", OUTPUTS.len()))
}

/// The values of the outputs of the template `kubernetes`.
pub(super) fn values(output: &KubernetesOutput) -> impl Iterator<Item = Option<Value<'static>>> {
    let of = |side: &KubernetesSide, count: usize| -> Vec<_> {
        OUTPUTS[..count].iter().map(|(_, _, value)| value(side)).collect()
    };
    let mut values = of(&output.source, OF_BOTH);
    values.extend(of(&output.destination, OUTPUTS.len()));
    values.into_iter()
}

// === impl Outputs ===

impl Outputs {
    /// Adds outputs to a vocabulary, each under all of its names: behind each of the prefixes.
    ///
    /// # Errors
    ///
    /// When an attribute of another type is called so, or there are too many.
    pub fn declare(
        vocabulary: &mut Vocabulary,
        prefixes: &[&str],
        outputs: impl IntoIterator<Item = (String, ValueType)>,
    ) -> Result<Self, Conflict> {
        let first = vocabulary.len();
        let mut ids = Vec::new();
        for (name, value_type) in outputs {
            let mut names = prefixes.iter().map(|prefix| format!("{prefix}{name}"));
            let Some(name) = names.next() else { continue };
            let id = vocabulary.add(&name, value_type)?;
            for name in names {
                vocabulary.alias(&name, id)?;
            }
            ids.push(id);
        }
        Ok(Self { first, ids })
    }

    /// Puts values above a bag, in the order in which their outputs were declared; `None` is absent.
    pub fn fill<'r>(
        &self,
        overlay: &mut Overlay<'_, 'r>,
        values: impl IntoIterator<Item = Option<Value<'static>>>,
    ) {
        for (id, value) in self.ids.iter().zip(values) {
            if let Some(value) = value {
                overlay.set(*id, value);
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

// === impl Bindings ===

impl Bindings {
    /// Compiles expressions over `outputs`, by the attribute that each gives.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them: attributes and outputs that are unknown, or of another type.
    pub fn compile(
        bindings: &BTreeMap<String, String>,
        outputs: impl IntoIterator<Item = (String, ValueType)>,
        vocabulary: &Vocabulary,
    ) -> Result<Self, Vec<FieldError>> {
        if bindings.is_empty() {
            return Ok(Self::default());
        }
        let mut extended = vocabulary.clone();
        let outputs = Outputs::declare(&mut extended, &PREFIXES, outputs)
            .map_err(|conflict| vec![fault("attributeBindings".to_owned(), conflict.to_string())])?;
        let mut bound = Vec::with_capacity(bindings.len());
        let mut errors = Vec::new();
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
                Err(reason) => errors.push(fault(path(name), reason)),
            }
        }
        if errors.is_empty() {
            Ok(Self { bound, outputs })
        } else {
            Err(errors)
        }
    }

    /// Adds the attributes that the values of outputs give; see [`InstanceBuilder::bind`](super::InstanceBuilder::bind).
    ///
    /// # Errors
    ///
    /// When the expression of a binding has no value. Nothing is added then.
    pub fn bind<'r>(
        &'r self,
        output: impl IntoIterator<Item = Option<Value<'static>>>,
        bag: &mut Bag<'r>,
        track: &mut impl Track,
    ) -> Result<(), BuildError> {
        if self.bound.is_empty() {
            return Ok(());
        }
        let mut overlay: Overlay<'_, 'r> = Overlay::new(bag, self.outputs.first, self.outputs.len());
        self.outputs.fill(&mut overlay, output);
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

fn fault(field: String, reason: String) -> FieldError {
    FieldError { field, reason }
}

fn path(attribute: &str) -> String {
    format!("attributeBindings[{attribute}]")
}

fn text(text: Option<&Text<'static>>) -> Option<Value<'static>> {
    text.cloned().map(Value::String)
}
