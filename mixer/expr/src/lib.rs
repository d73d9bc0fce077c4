//! CEXL, the expressions of Mixer's configuration (`spec 02` §4): parsed, checked against a vocabulary, compiled once,
//! and evaluated for every request.
//!
//! A program borrows its results from the bag and from itself: comparing, falling back and looking up allocate nothing.

pub mod ast;
mod check;
pub mod convert;
mod error;
mod eval;
mod function;
mod lexer;
mod lookup;
mod name;
mod parser;
mod program;
mod re2;
mod uri;

pub use error::{Error, EvalError, Reason};
pub use lookup::{BaseOnly, Lookup, Overlay};
pub use parser::parse;
pub use program::{Program, compile, compile_typed};
