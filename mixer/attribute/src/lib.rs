//! Attributes of requests: their types and values, the vocabulary of a configuration, and the bag that holds the
//! attributes of one request; and how they travel: the dictionary, and requests read from their bytes.
//!
//! Nothing here waits, reads a clock or knows a transport, so that the server and the proxy can share it.

mod bag;
#[cfg(feature = "baseline")]
pub mod baseline;
mod cache;
mod code;
mod decode;
pub mod dictionary;
pub mod encode;
mod request;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod track;
mod value;
mod vocabulary;
mod wire;

pub use bag::{Bag, Presence};
pub use cache::{CacheCounts, Cached, CheckCache, Validity};
pub use code::{code_name, denial};
pub use decode::{DecodeError, Decoder, Reader, Undecodable, Words};
pub use request::{CheckRequest, Compressed, MAX_QUOTAS, QuotaParams, ReportRequest, Semantics};
pub use text::{StringMap, Text};
pub use track::{References, Track, Untracked};
pub use value::{Value, ValueType, nanos, span};
pub use vocabulary::{AttributeId, Conflict, Vocabulary};
pub use wire::Malformed;
