//! Where instances go (`spec 02` §9.5.4): by variety, namespace, destination and condition.
//!
//! A table never changes. It is replaced as a whole, and holds what its requests use: handlers, programs, vocabulary.

mod build;
mod table;

pub(crate) use table::Target;
pub use table::{Destination, Group, HeaderRoute, Route, RoutedInstance, Routes, Table};
