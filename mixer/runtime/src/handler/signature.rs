//! What a handler was made of.

use mixer_adapter::Inferred;
use mixer_dynamic::BackendOptions;
use sha2::{Digest as _, Sha256};

/// Equal for handlers that would be the same: of one adapter, with equal parameters, sent equal types. Such a handler is
/// kept when the configuration changes, with its connections, counters and quotas (`spec 02` §9.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signature([u8; 32]);

// === impl Signature ===

impl Signature {
    /// Of an adapter, its encoded parameters with defaults, and what it is sent.
    pub(super) fn of(adapter: &str, params: &[u8], inferred: &Inferred) -> Self {
        let types = inferred.iter().flat_map(|(instance, (template, types))| {
            [instance.as_bytes(), template.name().as_bytes(), &types.value[..]]
        });
        Self::parts([adapter.as_bytes(), params].into_iter().chain(types))
    }

    /// Of an adapter of another process. One without sessions is not told what it will be sent.
    pub(super) fn remote(adapter: &str, options: &BackendOptions) -> Self {
        let config = options.config.as_ref().map(prost::Message::encode_to_vec);
        let connection = prost::Message::encode_to_vec(&options.connection);
        let head = [
            adapter.as_bytes(),
            config.as_deref().unwrap_or_default(),
            connection.as_slice(),
            &[u8::from(options.session_based)],
        ];
        let types = options.inferred.iter().filter(|_| options.session_based);
        let types = types
            .flat_map(|(instance, types)| [instance.as_bytes(), types.type_url.as_bytes(), &types.value[..]]);
        Self::parts(head.into_iter().chain(types))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for bytes in parts {
            // The length keeps neighbours apart.
            hash.update(bytes.len().to_le_bytes());
            hash.update(bytes);
        }
        Self(hash.finalize().into())
    }
}
