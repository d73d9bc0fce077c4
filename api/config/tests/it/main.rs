//! The rules of objects, from tables.

mod validation;
