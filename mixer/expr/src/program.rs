//! Compiled expressions.

use std::sync::Arc;

use mixer_attribute::{AttributeId, Track, Value, ValueType, Vocabulary};
use regex::Regex;

use crate::check::Checker;
use crate::error::{Error, EvalError, Reason};
use crate::eval::Run;
use crate::lookup::Lookup;
use crate::parser::parse;

/// An expression that is ready to be evaluated for requests. It knows attributes by their number in the vocabulary that
/// it was compiled with.
#[derive(Clone, Debug)]
pub struct Program {
    text: Arc<str>,
    root: Node,
    value_type: ValueType,
}

/// What is evaluated. Every node's type is checked, so that operands are what their operators need.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Text that stands in the expression, or was computed of what does.
    Text(Box<str>),
    /// Another value that does.
    Constant(Value<'static>),
    Attribute(Attribute),
    /// A value of a map.
    Key(Box<Node>, Box<Node>),
    /// The first that is there.
    Default(Box<[Node]>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Compare(Comparison, ValueType, Box<[Node; 2]>),
    /// The sum, or the strings one after another.
    Add(ValueType, Box<[Node]>),
    /// The second if the first, else the third.
    Conditional(Box<[Node; 3]>),
    /// A glob that is known, and what may be like it.
    Glob(Glob, Box<Node>),
    /// A regular expression that is known, and what may be like it.
    Regex(Regex, Box<Node>),
    /// Text, and what it may begin or end with, or be like.
    Test(Test, Box<[Node; 2]>),
    /// A function of a string.
    Convert(Conversion, Box<Node>),
}

/// An attribute that is read.
#[derive(Clone, Debug)]
pub(crate) struct Attribute {
    pub(crate) id: AttributeId,
    pub(crate) name: Arc<str>,
    pub(crate) value_type: ValueType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A pattern of `match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Glob {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
}

/// A question about two strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// `match`: the second one is the glob.
    Glob,
    /// `matches`: the first one is the regular expression.
    Regex,
    StartsWith,
    EndsWith,
}

/// What becomes of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    DnsName,
    Email,
    Ip,
    Size,
    Timestamp,
    ToLower,
    Uri,
}

/// Compiles an expression: attributes are found, types are checked, and what is known is computed.
///
/// # Errors
///
/// If it cannot be parsed, or if its types do not fit (`spec 02` §4.3).
pub fn compile(text: &str, vocabulary: &Vocabulary) -> Result<Program, Error> {
    let expression = parse(text)?;
    let (root, value_type) = Checker::new(text, vocabulary).check(&expression)?;
    Ok(Program {
        text: text.into(),
        root,
        value_type,
    })
}

/// Compiles an expression for a place that needs a certain type.
///
/// # Errors
///
/// Those of [`compile`], and if the expression has another type.
pub fn compile_typed(text: &str, vocabulary: &Vocabulary, expected: ValueType) -> Result<Program, Error> {
    let program = compile(text, vocabulary)?;
    let got = program.value_type;
    if got == expected {
        return Ok(program);
    }
    let reason = Reason::Result {
        expression: crate::error::shortened(text.trim()),
        got,
        expected,
    };
    Err(Error::new(text, 0..text.len(), reason))
}

// === impl Program ===

impl Program {
    /// The expression as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The type of its values.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// Its value, if that is the same for all requests.
    #[must_use]
    pub fn constant(&self) -> Option<Value<'_>> {
        self.root.constant()
    }

    /// Its value for a request, and tells `track` what was read for it.
    ///
    /// # Errors
    ///
    /// Absent attributes, attributes of another type than their manifest says, and text that cannot be converted.
    pub fn evaluate<'r>(
        &'r self,
        bag: &impl Lookup<'r>,
        track: &mut impl Track,
    ) -> Result<Value<'r>, EvalError> {
        Run::new(bag, track)
            .value(&self.root)
            .map(std::borrow::Cow::into_owned)
    }

    /// Whether it is true for a request; one of another type than BOOL never is.
    ///
    /// # Errors
    ///
    /// As [`evaluate`](Self::evaluate).
    pub fn holds<'r>(&'r self, bag: &impl Lookup<'r>, track: &mut impl Track) -> Result<bool, EvalError> {
        Run::new(bag, track).boolean(&self.root)
    }
}

// === impl Node ===

impl Node {
    /// The value of a node that does not depend on the request.
    pub(crate) fn constant(&self) -> Option<Value<'_>> {
        match self {
            Self::Text(text) => Some(Value::from(&**text)),
            Self::Constant(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// A node that has always this value.
    pub(crate) fn known(value: Value<'_>) -> Self {
        match value {
            Value::String(text) => Self::Text((*text).into()),
            value => Self::Constant(value.into_owned()),
        }
    }
}

// === impl Glob ===

impl Glob {
    /// The glob that is written `pattern`: a star at the end, else one at the beginning, else none (`spec 02` §4.2).
    pub(crate) fn new(pattern: &str) -> Self {
        if let Some(prefix) = pattern.strip_suffix('*') {
            Self::Prefix(prefix.into())
        } else if let Some(suffix) = pattern.strip_prefix('*') {
            Self::Suffix(suffix.into())
        } else {
            Self::Exact(pattern.into())
        }
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(pattern) => text == &**pattern,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
        }
    }
}
