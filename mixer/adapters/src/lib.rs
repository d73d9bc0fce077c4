//! The adapters that are built into Mixer (`spec 02` §7): each a folder and a feature, all under the contract of
//! [`mixer_adapter`].

#[cfg(any(feature = "fluentd", feature = "zipkin"))]
mod batch;
#[cfg(feature = "bypass")]
pub mod bypass;
#[cfg(feature = "denier")]
pub mod denier;
#[cfg(any(feature = "listchecker", feature = "zipkin"))]
mod dial;
#[cfg(any(feature = "prometheus", feature = "statsd"))]
mod faults;
#[cfg(feature = "fluentd")]
pub mod fluentd;
#[cfg(feature = "kubernetesenv")]
pub mod kubernetesenv;
#[cfg(feature = "listchecker")]
pub mod listchecker;
#[cfg(feature = "memquota")]
pub mod memquota;
#[cfg(feature = "noop")]
pub mod noop;
#[cfg(feature = "opa")]
pub mod opa;
#[cfg(any(
    feature = "fluentd",
    feature = "statsd",
    feature = "stdio",
    feature = "zipkin"
))]
mod outbox;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(any(feature = "memquota", feature = "redisquota"))]
mod quota;
#[cfg(feature = "rbac")]
pub mod rbac;
#[cfg(feature = "redisquota")]
pub mod redisquota;
#[cfg(feature = "statsd")]
pub mod statsd;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(any(feature = "opa", feature = "redisquota"))]
mod tell;
#[cfg(test)]
mod testing;
#[cfg(feature = "zipkin")]
pub mod zipkin;

#[cfg(feature = "prometheus")]
use mesh_runtime::args::HostPort;
use mixer_adapter::SomeAdapter;

/// What is said of the adapters of a process, and not of their handlers.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where Prometheus scrapes the metrics of all its handlers.
    #[cfg(feature = "prometheus")]
    pub prometheus: HostPort,
}

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            #[cfg(feature = "prometheus")]
            prometheus: HostPort::any(prometheus::PORT),
        }
    }
}

/// All adapters that are built in.
#[must_use]
pub fn all() -> Vec<Box<dyn SomeAdapter>> {
    all_with(Options::default())
}

/// All adapters that are built in, as a process wants them.
#[must_use]
#[cfg_attr(
    not(feature = "prometheus"),
    expect(unused_variables, reason = "no other adapter has options")
)]
pub fn all_with(options: Options) -> Vec<Box<dyn SomeAdapter>> {
    vec![
        #[cfg(feature = "bypass")]
        Box::new(bypass::Bypass),
        #[cfg(feature = "denier")]
        Box::new(denier::Denier),
        #[cfg(feature = "fluentd")]
        Box::new(fluentd::Fluentd),
        #[cfg(feature = "kubernetesenv")]
        Box::new(kubernetesenv::Kubernetesenv::default()),
        #[cfg(feature = "listchecker")]
        Box::new(listchecker::Listchecker::default()),
        #[cfg(feature = "memquota")]
        Box::new(memquota::Memquota),
        #[cfg(feature = "noop")]
        Box::new(noop::Noop),
        #[cfg(feature = "opa")]
        Box::new(opa::Opa),
        #[cfg(feature = "prometheus")]
        Box::new(prometheus::Prometheus::new(options.prometheus)),
        #[cfg(feature = "rbac")]
        Box::new(rbac::Rbac),
        #[cfg(feature = "redisquota")]
        Box::new(redisquota::Redisquota),
        #[cfg(feature = "statsd")]
        Box::new(statsd::Statsd),
        #[cfg(feature = "stdio")]
        Box::new(stdio::Stdio),
        #[cfg(feature = "zipkin")]
        Box::new(zipkin::Zipkin::default()),
    ]
}
