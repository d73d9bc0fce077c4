//! From a configuration source to state to snapshots.
//!
//! ```text
//! file::FileSource ─┐
//! kube::KubeSource ─┴Vec<Event>─> Processor { State, Strategy, ProblemTable } ─Snapshot─> SnapshotCache (mesh-mcp)
//! ```
//!
//! A *source* turns what it watches into [`Event`]s and says when it has told everything there was at the start
//! ([`Event::FullSync`]). The [`Processor`] owns the state: it ignores what does not change anything, waits until the
//! source is quiet ([`Strategy`]) and publishes an immutable snapshot. What cannot be served is a [`Problem`], shown
//! with the time since when it exists.

pub mod event;
pub mod file;
pub mod kube;
pub mod mesh;
pub mod metrics;
mod object;
pub mod problems;
mod processor;
mod projection;
mod state;
mod strategy;

pub use event::{Event, Problem};
pub use file::{FileSource, FileSourceError};
pub use kube::{KubeSource, KubeSourceHandle, StatusReporter};
pub use mesh::MeshSource;
pub use metrics::ProcessingMetrics;
pub use problems::ProblemRow;
pub use processor::{Processor, ProcessorHandle};
pub use state::{Served, ServedCollection};
pub use strategy::{DebounceOptions, Reason, Strategy};
