//! Who is at the other end.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The verified certificates of a client, an extension of its requests. A client without certificate has none.
#[derive(Clone, Default)]
pub struct PeerCertificates(Arc<[CertificateDer<'static>]>);

// === impl PeerCertificates ===

impl PeerCertificates {
    pub(super) fn new(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let chain = chain.unwrap_or_default().iter();
        Self(
            chain
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        )
    }

    /// The alternative names of the client's own certificate that are URIs, such as its SPIFFE id.
    #[must_use]
    pub fn uris(&self) -> Vec<String> {
        uris(self.0.first())
    }
}

/// The alternative names of a certificate that are URIs.
pub(super) fn uris(leaf: Option<&CertificateDer<'_>>) -> Vec<String> {
    let leaf = leaf.and_then(|leaf| EndEntityCert::try_from(leaf).ok());
    leaf.iter()
        .flat_map(|leaf| leaf.valid_uri_names())
        .map(str::to_owned)
        .collect()
}

impl fmt::Debug for PeerCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PeerCertificates").field(&self.uris()).finish()
    }
}
