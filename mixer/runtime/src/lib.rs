//! Mixer's engine: from objects to handlers and routes, and from requests through those to answers (`spec 08` F6-F9).
//!
//! ```text
//! stores ─StoreEvent─> Controller { State } ─(1 s)─> Snapshot ─> HandlerTable ─> Table ─swap─> Engine
//!                                                                                               │
//!                                 request ─> Bag ─generators─> Bag ─routes─> instances ─> handlers ─> answer
//! ```
//!
//! Objects that are wrong are left out and told; nothing that they or requests do reaches further than themselves.

mod adapters;
pub mod config;
mod controller;
pub mod dispatch;
pub mod handler;
mod instance;
pub mod loadshed;
mod metrics;
pub mod routing;

pub use adapters::{Adapters, DuplicateAdapter};
pub use controller::{Controller, ControllerOptions, Report};
pub use dispatch::Engine;
pub use instance::{AnyTemplate, Made, MakeError, Maker};
pub use metrics::EngineMetrics;
