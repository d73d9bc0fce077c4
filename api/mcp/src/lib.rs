//! The Mesh Configuration Protocol: source, sink and the snapshot cache between them.
//!
//! A *source* (Galley) offers collections of configuration objects, a *sink* (Pilot, Mixer) subscribes to some of
//! them over one gRPC stream. Every response carries a nonce and is answered by an ACK or a NACK with that nonce;
//! while the answer is out nothing more is sent for that collection, so a slow sink skips intermediate states instead
//! of queueing them.
//!
//! ```text
//! Config ─convert─> Entry ─> Snapshot ─> SnapshotCache ═watch═> source::SourceState ─Frame─> gRPC
//! gRPC ─Resources─> sink::SinkState ─Change─> Apply ─> ACK or NACK
//! ```
//!
//! The rules of the protocol live in two state machines without input or output, [`source::SourceState`] and
//! [`sink::SinkState`]; the rest moves bytes.

pub mod convert;
mod frame;
pub mod metrics;
pub mod sink;
pub mod snapshot;
pub mod source;

pub use sink::{Apply, ApplyError, Change, Content, Sink, SinkHandle, SinkOptions, SinkServer};
pub use snapshot::{Collection, Entry, Snapshot, SnapshotCache};
pub use source::{Access, Callout, Denied, Source, SourceOptions};
