//! What the machine must have: found, installed where that is harmless, or named.

mod tools;

pub use self::tools::{install_envoy, install_tools, require_tools};
