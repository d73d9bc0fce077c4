//! The adapters that are built into Mixer (`spec 02` §7): each a folder and a feature, all under the contract of
//! [`mixer_adapter`].

#[cfg(feature = "bypass")]
pub mod bypass;
#[cfg(feature = "denier")]
pub mod denier;
#[cfg(feature = "listchecker")]
pub mod listchecker;
#[cfg(feature = "memquota")]
pub mod memquota;
#[cfg(feature = "noop")]
pub mod noop;
#[cfg(any(feature = "statsd", feature = "stdio"))]
mod outbox;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "memquota")]
mod quota;
#[cfg(feature = "rbac")]
pub mod rbac;
#[cfg(feature = "statsd")]
pub mod statsd;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(test)]
mod testing;

use mixer_adapter::SomeAdapter;

/// All adapters that are built in.
#[must_use]
pub fn all() -> Vec<Box<dyn SomeAdapter>> {
    vec![
        #[cfg(feature = "bypass")]
        Box::new(bypass::Bypass),
        #[cfg(feature = "denier")]
        Box::new(denier::Denier),
        #[cfg(feature = "listchecker")]
        Box::new(listchecker::Listchecker::default()),
        #[cfg(feature = "memquota")]
        Box::new(memquota::Memquota),
        #[cfg(feature = "noop")]
        Box::new(noop::Noop),
        #[cfg(feature = "prometheus")]
        Box::new(prometheus::Prometheus::default()),
        #[cfg(feature = "rbac")]
        Box::new(rbac::Rbac),
        #[cfg(feature = "statsd")]
        Box::new(statsd::Statsd),
        #[cfg(feature = "stdio")]
        Box::new(stdio::Stdio),
    ]
}
