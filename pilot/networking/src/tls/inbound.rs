//! TLS that callers of a workload speak, as authentication policies say (spec 03, §7.4).

use mesh_api::envoy::config::core::v3::TransportSocket;
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{CommonTlsContext, DownstreamTlsContext};
use mesh_config::ConfigKey;
use pilot_model::{AuthenticationPolicy, PeerMode, Proxy, ScopedView};

use super::workload::{CertificateFiles, WorkloadCertificates};
use super::{ALPN_HTTP1, ALPN_HTTP2};

/// How a port of a workload takes connections that need not be plain text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InboundTls {
    /// The policy that says so.
    pub(crate) policy: ConfigKey,
    pub(crate) taken: Taken,
}

/// Which connections are taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taken {
    /// Those of callers with a certificate of the mesh.
    Secured(WorkloadCertificates),
    /// Those of callers with a certificate of the mesh, and whatever others send.
    All(WorkloadCertificates),
    /// None: the proxy rejects what it would need to tell whom it may serve.
    Nothing,
}

// === impl InboundTls ===

impl InboundTls {
    /// What a policy asks of connections to the workload of a proxy; `None` when it asks for nothing.
    pub(crate) fn new(view: &ScopedView, proxy: &Proxy, policy: &AuthenticationPolicy) -> Option<Self> {
        let certificates = || WorkloadCertificates::new(view.mesh(), CertificateFiles::of_server(proxy));
        let taken = match (policy.peer_mode(), policy.is_rejected) {
            (PeerMode::PlainText, _) | (PeerMode::Permissive, true) => return None,
            (PeerMode::Strict, true) => Taken::Nothing,
            (PeerMode::Strict, false) => Taken::Secured(certificates()),
            (PeerMode::Permissive, false) => Taken::All(certificates()),
        };
        Some(Self {
            policy: policy.key.clone(),
            taken,
        })
    }
}

/// The transport socket towards callers, who must show a certificate of the mesh, whoever they are.
///
/// `istio` is not among the protocols: it tells who is calling, and nobody speaks it.
pub(crate) fn transport_socket(certificates: &WorkloadCertificates) -> TransportSocket {
    super::transport_socket(&DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: [ALPN_HTTP2, ALPN_HTTP1].map(str::to_owned).to_vec(),
            ..certificates.context(None)
        }),
        require_client_certificate: Some(true),
        ..DownstreamTlsContext::default()
    })
}
