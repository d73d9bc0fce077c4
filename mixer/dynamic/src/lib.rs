//! Templates that are known by their descriptors only, and adapters that run in processes of their own (`spec 02` §10).
//!
//! ```text
//! object `template` ─Template─> Encoder ─bytes─┐
//! object `adapter`  ─Adapter──> parameters ────┴─> Backend ─gRPC─> the adapter's process ─answer─> Output
//! ```
//!
//! No generated code is needed for a new template. What objects bring is not trusted: what cannot be used is refused with
//! a reason, and nothing else is harmed.

mod adapter;
mod descriptor;
mod encode;
mod output;
mod remote;
mod template;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapter::Adapter;
pub use descriptor::DescriptorError;
pub use encode::{EncodeError, Encoder, Unfit};
pub use output::Output;
pub use remote::{Backend, BackendOptions, Checked, Pace};
pub use template::Template;
