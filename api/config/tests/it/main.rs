//! The rules of objects, from tables.

mod parameters;
mod validation;
