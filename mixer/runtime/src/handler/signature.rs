//! What a handler was made of.

use mixer_adapter::Inferred;
use sha2::{Digest as _, Sha256};

/// Equal for handlers that would be the same: of one adapter, with equal parameters, sent equal types. Such a handler is
/// kept when the configuration changes, with its connections, counters and quotas (`spec 02` §9.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature([u8; 32]);

// === impl Signature ===

impl Signature {
    /// Of an adapter, its encoded parameters with defaults, and what it is sent.
    pub(super) fn of(adapter: &str, params: &[u8], inferred: &Inferred) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            // The length keeps neighbours apart.
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        };
        part(adapter.as_bytes());
        part(params);
        for (instance, (template, types)) in inferred {
            part(instance.as_bytes());
            part(template.name().as_bytes());
            part(&types.value);
        }
        Self(hash.finalize().into())
    }
}
