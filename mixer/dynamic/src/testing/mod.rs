//! Descriptors of .proto files, and adapters that do what a test says.
//!
//! What cannot be made panics: a test that cannot go on fails.

mod adapter;
pub mod answers;
mod descriptor;

pub use adapter::{Call, FakeAdapter, Reply};
pub use descriptor::{built_in, compiled};
