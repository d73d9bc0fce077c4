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

/// What our .proto files say about a message, a field (`package.Message.field_name`), an enum or one of its values
/// (`package.Enum.VALUE`), as running text.
pub fn comment(full_name: &str) -> Option<&'static str> {
    static COMMENTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/comments.rs"));
    let index = COMMENTS.binary_search_by_key(&full_name, |(name, _)| name).ok()?;
    COMMENTS.get(index).map(|(_, comment)| *comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_by_full_name() {
        for (name, start) in [
            ("istio.networking.v1alpha3.VirtualService", "Rules that choose"),
            (
                "istio.networking.v1alpha3.VirtualService.export_to",
                "Namespaces that see",
            ),
            (
                "istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie.ttl",
                "Lifetime of a generated cookie",
            ),
            (
                "istio.networking.v1alpha3.LoadBalancerSettings.SimpleLB.RANDOM",
                "A random healthy",
            ),
        ] {
            let comment = comment(name).unwrap_or_default();
            assert!(comment.starts_with(start), "{name}: {comment}");
        }
        assert_eq!(comment("istio.networking.v1alpha3.Nothing"), None);
    }
}
