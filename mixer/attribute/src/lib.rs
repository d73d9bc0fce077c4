//! Attributes of requests: their types and values, the vocabulary of a configuration, and the bag that holds the
//! attributes of one request.
//!
//! Nothing here waits, reads a clock or knows a transport, so that the server and the proxy can share it.

mod bag;
mod text;
mod track;
mod value;
mod vocabulary;

pub use bag::Bag;
pub use text::{StringMap, Text};
pub use track::{References, Track, Untracked};
pub use value::{Value, ValueType};
pub use vocabulary::{AttributeId, Conflict, Vocabulary};
