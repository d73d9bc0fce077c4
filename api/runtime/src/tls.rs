//! TLS with certificates from files that may be replaced at any time.
//!
//! ```text
//! CertificateFiles ─load─> Credentials ─current─> ServerTls (accepts), ClientTls (connects)
//!                              └ follow: files ─change─> what is good replaces what was; what is broken is told
//! ```
//!
//! Every new connection uses the certificates of the moment; connections that are open stay as they are.

mod client;
mod files;
mod peer;
mod server;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub use self::client::{ClientTls, ServerCheck};
pub use self::files::{CertificateError, CertificateFiles, Certificates, Credentials, IdentityFiles};
pub use self::peer::PeerCertificates;
pub use self::server::{ClientAuth, ServerTls};

/// The protocol of gRPC, for [`ServerTls::new`].
pub const H2: &[u8] = b"h2";
/// HTTP/1.1, for [`ServerTls::new`].
pub const HTTP_1: &[u8] = b"http/1.1";

/// The one crypto backend.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

#[cfg(test)]
mod tests;
