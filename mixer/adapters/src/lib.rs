//! The adapters that are built into Mixer (`spec 02` §7): each a folder, all under the contract of [`mixer_adapter`].

pub mod noop;
#[cfg(any(feature = "statsd", feature = "stdio"))]
mod outbox;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "statsd")]
pub mod statsd;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(test)]
mod testing;

use mixer_adapter::SomeAdapter;

/// All adapters.
#[must_use]
pub fn all() -> Vec<Box<dyn SomeAdapter>> {
    vec![
        Box::new(noop::Noop),
        #[cfg(feature = "prometheus")]
        Box::new(prometheus::Prometheus::default()),
        #[cfg(feature = "statsd")]
        Box::new(statsd::Statsd),
        #[cfg(feature = "stdio")]
        Box::new(stdio::Stdio),
    ]
}
