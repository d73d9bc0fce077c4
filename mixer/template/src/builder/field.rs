//! Expressions of fields, and the values that they give.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mixer_attribute::{Bag, Text, Track, Value, ValueType, Vocabulary};
use mixer_expr::{EvalError, Program};
use prost_types::Timestamp;

use super::common::Common;
use super::{BuildError, FieldError};
use crate::instance::Fields;

/// An expression, if there is one, and the field that it stands in.
#[derive(Debug)]
pub(super) struct Field {
    name: Box<str>,
    program: Option<Program>,
}

/// Expressions by name, sorted.
#[derive(Debug)]
pub(super) struct FieldMap {
    name: Box<str>,
    programs: Vec<(Box<str>, Program)>,
}

/// What was compiled for one vocabulary, by name of the field and texts: instances that have a field in common share it.
#[derive(Debug, Default)]
pub(super) struct FieldMaps(BTreeMap<(String, BTreeMap<String, String>), Arc<FieldMap>>);

/// Compiles the fields of one object.
pub(super) struct Compiler<'a> {
    vocabulary: &'a Vocabulary,
    maps: &'a mut FieldMaps,
    /// What stands before the names of fields.
    prefix: &'static str,
    errors: Vec<FieldError>,
}

/// Evaluates the fields of one instance.
pub(super) struct Reader<'b, 'r, T> {
    pub(super) name: &'r str,
    pub(super) bag: &'b Bag<'r>,
    pub(super) track: &'b mut T,
    /// Of the instances that were made of the bag before; `None` where it is told what is read, which each of them has to
    /// tell.
    pub(super) common: Option<&'b mut Common<'r>>,
}

// === impl Compiler ===

impl<'a> Compiler<'a> {
    pub(super) fn new(vocabulary: &'a Vocabulary, maps: &'a mut FieldMaps) -> Self {
        Self {
            vocabulary,
            maps,
            prefix: "",
            errors: Vec::new(),
        }
    }

    /// Compiles fields of a message that is a field itself.
    pub(super) fn within<T>(&mut self, prefix: &'static str, compile: impl FnOnce(&mut Self) -> T) -> T {
        self.prefix = prefix;
        let compiled = compile(self);
        self.prefix = "";
        compiled
    }

    pub(super) fn refuse(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(FieldError {
            field: field.into(),
            reason: reason.into(),
        });
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// An expression of any type.
    pub(super) fn value(&mut self, name: &str, text: &str) -> Field {
        self.field(name, text, None)
    }

    /// An expression of type STRING, and so on.
    pub(super) fn text(&mut self, name: &str, text: &str) -> Field {
        self.field(name, text, Some(ValueType::String))
    }

    pub(super) fn number(&mut self, name: &str, text: &str) -> Field {
        self.field(name, text, Some(ValueType::Int64))
    }

    pub(super) fn flag(&mut self, name: &str, text: &str) -> Field {
        self.field(name, text, Some(ValueType::Bool))
    }

    pub(super) fn time(&mut self, name: &str, text: &str) -> Field {
        self.field(name, text, Some(ValueType::Timestamp))
    }

    pub(super) fn address(&mut self, name: &str, text: &str) -> Field {
        self.field(name, text, Some(ValueType::IpAddress))
    }

    /// Expressions of any types.
    pub(super) fn fields(&mut self, name: &str, texts: &BTreeMap<String, String>) -> Arc<FieldMap> {
        let key = (self.path(name), texts.clone());
        if let Some(map) = self.maps.0.get(&key) {
            return Arc::clone(map);
        }
        let (name, before) = (&key.0, self.errors.len());
        let mut programs = Vec::with_capacity(texts.len());
        for (field, text) in texts {
            let program = self.program(text, None, || format!("{name}[{field}]"));
            programs.extend(program.map(|program| (field.as_str().into(), program)));
        }
        let map = Arc::new(FieldMap {
            name: name.as_str().into(),
            programs,
        });
        // What is wrong is told for each object.
        if self.errors.len() == before {
            self.maps.0.insert(key, Arc::clone(&map));
        }
        map
    }

    fn field(&mut self, name: &str, text: &str, expected: Option<ValueType>) -> Field {
        let name = self.path(name);
        let program = self.program(text, expected, || name.clone());
        Field {
            name: name.into(),
            program,
        }
    }

    /// `None` where nothing is given (`spec 02` §6.2), and where it is wrong.
    fn program(
        &mut self,
        text: &str,
        expected: Option<ValueType>,
        path: impl FnOnce() -> String,
    ) -> Option<Program> {
        if text.is_empty() {
            return None;
        }
        let program = match expected {
            Some(expected) => mixer_expr::compile_typed(text, self.vocabulary, expected),
            None => mixer_expr::compile(text, self.vocabulary),
        };
        program
            .map_err(|error| self.refuse(path(), error.to_string()))
            .ok()
    }

    /// Path of a field in its JSON spelling.
    fn path(&self, name: &str) -> String {
        let mut path = self.prefix.to_owned();
        let mut words = name.split('_');
        path.extend(words.next());
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            path.push_str(&first.to_ascii_uppercase());
            path.push_str(rest);
        }
        path
    }
}

// === impl Field ===

impl Field {
    /// The type of its values in the message `Type`; 0 if there is no expression.
    pub(super) fn wire_type(&self) -> i32 {
        self.program.as_ref().map_or(0, wire_type)
    }
}

// === impl FieldMap ===

impl FieldMap {
    /// The types of its values in the message `Type`.
    pub(super) fn wire_type(&self) -> BTreeMap<String, i32> {
        self.programs
            .iter()
            .map(|(name, program)| (name.to_string(), wire_type(program)))
            .collect()
    }
}

fn wire_type(program: &Program) -> i32 {
    program.value_type().to_wire() as i32
}

// === impl Reader ===

impl<'r, T: Track> Reader<'_, 'r, T> {
    pub(super) fn value(&mut self, field: &'r Field) -> Result<Option<Value<'r>>, BuildError> {
        let Some(program) = &field.program else {
            return Ok(None);
        };
        let value = program.evaluate(self.bag, self.track);
        value.map(Some).map_err(|error| BuildError {
            field: field.name.clone(),
            error,
        })
    }

    // The compiler has seen to it that values are of the type of their fields: another one is as good as none.

    pub(super) fn text(&mut self, field: &'r Field) -> Result<Text<'r>, BuildError> {
        Ok(match self.value(field)? {
            Some(Value::String(text)) => text,
            _ => Text::default(),
        })
    }

    pub(super) fn number(&mut self, field: &'r Field) -> Result<i64, BuildError> {
        Ok(match self.value(field)? {
            Some(Value::Int64(number)) => number,
            _ => 0,
        })
    }

    pub(super) fn flag(&mut self, field: &'r Field) -> Result<bool, BuildError> {
        Ok(matches!(self.value(field)?, Some(Value::Bool(true))))
    }

    pub(super) fn time(&mut self, field: &'r Field) -> Result<Option<Timestamp>, BuildError> {
        Ok(match self.value(field)? {
            Some(Value::Timestamp(time)) => Some(time),
            _ => None,
        })
    }

    pub(super) fn address(&mut self, field: &'r Field) -> Result<Option<IpAddr>, BuildError> {
        Ok(match self.value(field)? {
            Some(Value::IpAddress(address)) => Some(address),
            _ => None,
        })
    }

    pub(super) fn fields(&mut self, map: &'r Arc<FieldMap>) -> Result<Fields<'r>, BuildError> {
        if let Some(fields) = self.common.as_ref().and_then(|common| common.get(map)) {
            return Ok(fields.clone());
        }
        let mut fields = Vec::with_capacity(map.programs.len());
        for (key, program) in &map.programs {
            let failed = |error: EvalError| BuildError {
                field: format!("{}[{key}]", map.name).into(),
                error,
            };
            fields.push((&**key, program.evaluate(self.bag, self.track).map_err(failed)?));
        }
        if let Some(common) = &mut self.common {
            common.put(map, &fields);
        }
        Ok(fields)
    }
}
