//! From the attributes of a request to the bytes of an instance (`spec 02` §10.3).
//!
//! What does not depend on the request is encoded once; what does is an expression that writes its value where the
//! bytes go.

mod compile;
mod constant;
mod form;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::Any;
use mixer_attribute::{Bag, Track, Value, Vocabulary};
use mixer_expr::{EvalError, Program};
use mixer_template::{Bindings, BuildError, FieldError, Variety};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value as Json;

use crate::output::Output;
use crate::template::Template;
use compile::Compiler;
use form::Form;

pub(crate) use form::wrapped;

/// The field of a message with instances that holds them, or the only one.
const INSTANCE_FIELD: u32 = 1;

/// The field of an instance that holds its name.
const NAME_FIELD: u32 = 72_295_727;

/// How bindings may be spelled where they stand among the parameters.
const BINDINGS: [&str; 2] = ["attribute_bindings", "attributeBindings"];

/// Writes the instances of one object.
#[derive(Debug)]
pub struct Encoder {
    name: Box<str>,
    template: Arc<Template>,
    parts: Vec<Part>,
    bindings: Bindings,
    inferred: Option<Any>,
}

/// An instance cannot be written for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {reason}")]
pub struct EncodeError {
    /// Path of the field.
    pub field: Box<str>,
    /// Why it has no value, or one that it cannot hold.
    pub reason: Unfit,
}

/// Why a field gets no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Its expression has none.
    #[error(transparent)]
    Absent(EvalError),
    /// The field cannot hold it.
    #[error("{0}")]
    Value(Box<str>),
}

/// A piece of a message.
#[derive(Debug)]
enum Part {
    /// The same for every request.
    Constant(Vec<u8>),
    /// A field that is an expression.
    Leaf(Box<Leaf>),
    /// A field whose length depends on the request: a message, an entry of a map, a packed list.
    Nested(u32, Vec<Part>),
}

/// A field that is an expression.
#[derive(Debug)]
struct Leaf {
    path: Box<str>,
    /// `None` in packed lists, whose elements have no number.
    number: Option<u32>,
    /// A value that needs no place in the message.
    implicit: bool,
    form: Form,
    program: Program,
}

// === impl Encoder ===

impl Encoder {
    /// Compiles the parameters of an instance, in either spelling of their fields. `name` is its full name; `bindings` are
    /// attributes, and expressions over what an adapter gives.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: unknown fields, expressions that do not compile or have another type than their field.
    pub fn compile(
        template: &Arc<Template>,
        name: &str,
        params: &Json,
        bindings: &BTreeMap<String, String>,
        vocabulary: &Vocabulary,
    ) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let generates = template.variety() == Variety::AttributeGenerator;
        let mut bindings = bindings.clone();
        let mut params = params.clone();
        if generates {
            match take_bindings(&mut params) {
                Ok(more) => bindings.extend(more),
                Err(error) => errors.push(error),
            }
        } else if !bindings.is_empty() {
            errors.push(FieldError {
                field: "attributeBindings".to_owned(),
                reason: format!("template {} gives no attributes", template.name()),
            });
            bindings.clear();
        }
        let mut compiler = Compiler::new(vocabulary);
        let (mut parts, types) = compiler.instance(template, &params);
        errors.extend(compiler.into_errors());
        let bindings =
            Bindings::compile(&bindings, template.outputs(), vocabulary).unwrap_or_else(|faults| {
                errors.extend(faults);
                Bindings::default()
            });
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut own_name = Vec::new();
        if template.instance.get_field(NAME_FIELD).is_some() {
            put_bytes(NAME_FIELD, name.as_bytes(), &mut own_name);
        }
        push(&mut parts, Part::Constant(own_name));
        Ok(Self {
            name: name.into(),
            template: Arc::clone(template),
            parts,
            bindings,
            inferred: types,
        })
    }

    /// Full name of its instances.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Their template.
    #[must_use]
    pub fn template(&self) -> &Arc<Template> {
        &self.template
    }

    /// The message `Type` of the template: the types of the fields that may be of any. `None` if the template has none.
    #[must_use]
    pub fn inferred(&self) -> Option<&Any> {
        self.inferred.as_ref()
    }

    /// The instance for a request, as a field of the message that is sent.
    ///
    /// # Errors
    ///
    /// When one of its expressions has no value, or one that its field cannot hold.
    pub fn encode<'r>(&'r self, bag: &Bag<'r>, track: &mut impl Track) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        nested(INSTANCE_FIELD, &mut out, |out| {
            write(&self.parts, bag, track, out)
        })?;
        Ok(out)
    }

    /// Adds the attributes that an adapter's answer gives (`spec 02` §6.5), as
    /// [`InstanceBuilder::bind`](mixer_template::InstanceBuilder::bind) does.
    ///
    /// # Errors
    ///
    /// When the expression of a binding has no value. Nothing is added then.
    pub fn bind<'r>(
        &'r self,
        output: Output,
        bag: &mut Bag<'r>,
        track: &mut impl Track,
    ) -> Result<(), BuildError> {
        self.bindings.bind(output.into_values(), bag, track)
    }
}

fn take_bindings(params: &mut Json) -> Result<BTreeMap<String, String>, FieldError> {
    let mut bindings = BTreeMap::new();
    for name in BINDINGS {
        let Some(given) = params.as_object_mut().and_then(|params| params.remove(name)) else {
            continue;
        };
        let given: BTreeMap<String, String> = serde_json::from_value(given).map_err(|_| FieldError {
            field: "attributeBindings".to_owned(),
            reason: "is not a map of expressions".to_owned(),
        })?;
        bindings.extend(given);
    }
    Ok(bindings)
}

/// Adds a part; constants that follow one another are one.
fn push(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (_, Part::Constant(bytes)) if bytes.is_empty() => {}
        (Some(Part::Constant(before)), Part::Constant(bytes)) => before.extend(bytes),
        (_, part) => parts.push(part),
    }
}

fn write<'r>(
    parts: &'r [Part],
    bag: &Bag<'r>,
    track: &mut impl Track,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    for part in parts {
        match part {
            Part::Constant(bytes) => out.extend(bytes),
            Part::Leaf(leaf) => leaf.write(bag, track, out)?,
            Part::Nested(number, parts) => nested(*number, out, |out| write(parts, bag, track, out))?,
        }
    }
    Ok(())
}

// === impl Leaf ===

impl Leaf {
    fn write<'r>(
        &'r self,
        bag: &Bag<'r>,
        track: &mut impl Track,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let fail = |reason| EncodeError {
            field: self.path.clone(),
            reason,
        };
        let value: Value<'r> = self
            .program
            .evaluate(bag, track)
            .map_err(|error| fail(Unfit::Absent(error)))?;
        self.form
            .write(self.number, self.implicit, &value, out)
            .map_err(|reason| fail(Unfit::Value(reason)))
    }
}

/// Writes a field whose length is known when its content is.
fn nested<E>(
    number: u32,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    encode_key(number, WireType::LengthDelimited, out);
    let start = out.len();
    fill(out)?;
    let length = out.len() - start;
    let mut head = Vec::with_capacity(10);
    encode_varint(length as u64, &mut head);
    drop(out.splice(start..start, head));
    Ok(())
}

/// Writes a field of bytes.
pub(crate) fn put_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}
