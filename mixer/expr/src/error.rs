//! What can be wrong with an expression, and with a value that it meets.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use mixer_attribute::ValueType;

/// How many letters of an expression an error shows at most.
const SHOWN: usize = 200;

/// An expression cannot be compiled. Shows the reason and where in the expression it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Fault>);

/// Boxed: the parser recurses, and results are on its stack.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    text: Box<str>,
    span: Range<usize>,
    reason: Reason,
}

/// Why an expression cannot be compiled (`spec 02` §4.3). Expressions in it are printed, not quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// There is nothing.
    #[error("the expression is empty")]
    Empty,
    /// It does not follow the grammar.
    #[error("unexpected {found}, expected {expected}")]
    Syntax {
        /// What stands there.
        found: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// A literal that is none.
    #[error("{0}")]
    Literal(String),
    /// Something that Go has and expressions do not.
    #[error("unexpected expression")]
    UnexpectedExpression,
    /// It is nested too deeply.
    #[error("the expression is nested more than {0} levels deep")]
    TooDeep(u16),
    /// No manifest declares the attribute.
    #[error("unknown attribute {0}")]
    UnknownAttribute(String),
    /// There is no such function or operator.
    #[error("unknown function: {0}")]
    UnknownFunction(String),
    /// A function that needs a target has none.
    #[error("invoking instance method without an instance: {0}")]
    NoTarget(&'static str),
    /// A function that takes no target has one.
    #[error("invoking regular function on instance method: {0}")]
    NoMethod(&'static str),
    /// The target of a function has another type.
    #[error("{call} target ({target}) typeError got {got}, expected {expected}")]
    Target {
        /// The call.
        call: String,
        /// Its target.
        target: String,
        /// Type of the target.
        got: ValueType,
        /// What it should be.
        expected: ValueType,
    },
    /// An argument has another type.
    #[error("{call} arg {number} ({argument}) typeError got {got}, expected {expected}")]
    Argument {
        /// The call, or what the operator joins.
        call: String,
        /// Which argument, counted from 1.
        number: usize,
        /// The argument.
        argument: String,
        /// Its type.
        got: ValueType,
        /// The types that it could have.
        expected: String,
    },
    /// Too few or too many arguments.
    #[error("{call} arity mismatch: got {got} argument(s), expected {expected}")]
    Arity {
        /// The call.
        call: String,
        /// How many there are.
        got: usize,
        /// How many there should be.
        expected: usize,
    },
    /// The whole expression has another type than is needed where it stands.
    #[error("{expression} typeError got {got}, expected {expected}")]
    Result {
        /// The expression.
        expression: String,
        /// Its type.
        got: ValueType,
        /// What it should be.
        expected: ValueType,
    },
}

/// An expression has no value for a request (`spec 02` §4.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The attribute is not there, and nothing says what to use instead.
    #[error("lookup failed: '{0}'")]
    Absent(Arc<str>),
    /// The attribute is of another type than its manifest says.
    #[error("error converting value to {expected}: '{name}'")]
    Type {
        /// The attribute.
        name: Arc<str>,
        /// The type in the manifest.
        expected: ValueType,
    },
    /// Text cannot be what a function or a comparison needs.
    #[error("could not convert '{text}' to {expected}: {reason}")]
    Conversion {
        /// The text, or its beginning.
        text: Box<str>,
        /// What was to be made of it.
        expected: ValueType,
        /// Why that is impossible.
        reason: Box<str>,
    },
    /// The pattern of `matches` is no regular expression.
    #[error("'{pattern}' is not a regular expression: {reason}")]
    Pattern {
        /// The pattern, or its beginning.
        pattern: Box<str>,
        /// What is wrong with it.
        reason: Box<str>,
    },
}

/// The beginning of a text, for messages.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

// === impl Error ===

impl Error {
    pub(crate) fn new(text: &str, span: Range<usize>, reason: Reason) -> Self {
        Self(Box::new(Fault {
            text: text.into(),
            span,
            reason,
        }))
    }

    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The part of the expression that is wrong, in bytes.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.0.span.clone()
    }

    /// Where it begins: the letter, counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        let before = self.0.text.get(..self.0.span.start).unwrap_or(&self.0.text);
        before.chars().count() + 1
    }

    /// The expression and below it a mark under what is wrong, as two lines.
    #[must_use]
    pub fn pointed(&self) -> String {
        let line = self.0.text.replace(['\n', '\r', '\t'], " ");
        let width = self
            .0
            .text
            .get(self.0.span.clone())
            .map_or(0, |part| part.chars().count());
        format!(
            "{line}\n{}{}",
            " ".repeat(self.column() - 1),
            "^".repeat(width.max(1))
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.reason)?;
        if self.0.reason != Reason::Empty {
            write!(
                f,
                " (at column {} of `{}`)",
                self.column(),
                shortened(&self.0.text)
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

// === impl EvalError ===

impl EvalError {
    pub(crate) fn conversion(text: &str, expected: ValueType, reason: impl Into<Box<str>>) -> Self {
        Self::Conversion {
            text: shortened(text).into(),
            expected,
            reason: reason.into(),
        }
    }
}
