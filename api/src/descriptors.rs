//! The descriptors of every message that we know.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// All messages of Istio, Kubernetes and Envoy that this package knows, by name.
///
/// Decoded on first use (some milliseconds), then shared.
pub fn descriptors() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        let encoded = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        DescriptorPool::decode(&encoded[..]).expect("the build script wrote a valid descriptor set")
    });
    &POOL
}
