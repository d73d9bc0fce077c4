//! Who may open a stream (G9.3).

use std::fmt;

use mesh_runtime::tls::PeerCertificates;

/// Decides about sinks when they open a stream.
pub trait Access: fmt::Debug + Send + Sync {
    /// Whether a sink with these verified certificates may be served; without TLS there are none.
    ///
    /// # Errors
    ///
    /// Why not, as it is told to the sink with the code `Unauthenticated`.
    fn check(&self, peer: Option<&PeerCertificates>) -> Result<(), Denied>;
}

/// A sink may not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Serves everybody who can connect.
#[derive(Clone, Copy, Debug)]
pub struct Everybody;

// === impl Everybody ===

impl Access for Everybody {
    fn check(&self, _peer: Option<&PeerCertificates>) -> Result<(), Denied> {
        Ok(())
    }
}
