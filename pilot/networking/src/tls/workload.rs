//! The certificate of a workload, which its proxy shows to callers and to those whom it calls (`R-DR-30`; spec 03, §5.4, §6).

use mesh_api::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_api::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext,
};
use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_config::Str;
use pilot_model::Proxy;

use super::{certificate_files, secret, subject_alt_names, validation};

/// The names of the secrets of a workload: its certificate, and the roots of the mesh.
const CERTIFICATE_SECRET: &str = "default";
const ROOTS_SECRET: &str = "ROOTCA";
/// The cluster of the bootstrap through which a proxy asks its agent for secrets.
const SDS_CLUSTER: &str = "sds-grpc";
/// Where certificate, key and roots of a workload are mounted.
const USUAL: [&str; 3] = [
    "/etc/certs/cert-chain.pem",
    "/etc/certs/key.pem",
    "/etc/certs/root-cert.pem",
];

/// The files that hold the certificate of a proxy's workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CertificateFiles {
    chain: Str,
    key: Str,
    roots: Str,
}

/// Where a proxy has the certificate of its workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WorkloadCertificates {
    /// It asks its agent.
    Secrets,
    /// In files.
    Files(CertificateFiles),
}

// === impl CertificateFiles ===

impl CertificateFiles {
    /// The files that a proxy shows to those whom it calls, where it says that they are not the usual ones.
    pub(crate) fn of_client(proxy: &Proxy) -> Option<Self> {
        Self::named(
            proxy,
            ["TLS_CLIENT_CERT_CHAIN", "TLS_CLIENT_KEY", "TLS_CLIENT_ROOT_CERT"],
        )
    }

    /// The files that a proxy shows to its callers, where it says that they are not the usual ones.
    pub(crate) fn of_server(proxy: &Proxy) -> Option<Self> {
        Self::named(
            proxy,
            ["TLS_SERVER_CERT_CHAIN", "TLS_SERVER_KEY", "TLS_SERVER_ROOT_CERT"],
        )
    }

    fn named(proxy: &Proxy, names: [&str; 3]) -> Option<Self> {
        let named = names.map(|name| proxy.metadata.get(name).filter(|path| !path.is_empty()));
        if named.iter().all(Option::is_none) {
            return None;
        }
        let usual = Self::default();
        let [chain, key, roots] = named.map(|path| path.cloned());
        Some(Self {
            chain: chain.unwrap_or(usual.chain),
            key: key.unwrap_or(usual.key),
            roots: roots.unwrap_or(usual.roots),
        })
    }
}

/// The usual ones.
impl Default for CertificateFiles {
    fn default() -> Self {
        let [chain, key, roots] = USUAL.map(Str::from);
        Self { chain, key, roots }
    }
}

// === impl WorkloadCertificates ===

impl WorkloadCertificates {
    /// By the agent where the mesh has one that is asked, else in files: these, or the usual ones.
    pub(crate) fn new(mesh: &MeshConfig, files: Option<CertificateFiles>) -> Self {
        if mesh.sds_uds_path.is_empty() {
            Self::Files(files.unwrap_or_default())
        } else {
            Self::Secrets
        }
    }

    /// TLS with the certificate of the workload, and with a peer that has one of the mesh: with one of these names when any
    /// is given.
    pub(crate) fn context<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> CommonTlsContext {
        match self {
            Self::Secrets => {
                let validation = CombinedCertificateValidationContext {
                    default_validation_context: Some(CertificateValidationContext {
                        match_typed_subject_alt_names: subject_alt_names(names),
                        ..CertificateValidationContext::default()
                    }),
                    validation_context_sds_secret_config: Some(secret(ROOTS_SECRET, agent())),
                    ..CombinedCertificateValidationContext::default()
                };
                CommonTlsContext {
                    tls_certificate_sds_secret_configs: vec![secret(CERTIFICATE_SECRET, agent())],
                    validation_context_type: Some(ValidationContextType::CombinedValidationContext(
                        validation,
                    )),
                    ..CommonTlsContext::default()
                }
            }
            Self::Files(files) => CommonTlsContext {
                tls_certificates: vec![certificate_files(&files.chain, &files.key)],
                validation_context_type: Some(ValidationContextType::ValidationContext(validation(
                    &files.roots,
                    names,
                ))),
                ..CommonTlsContext::default()
            },
        }
    }
}

/// Where a proxy asks for the secrets of its workload.
fn agent() -> TargetSpecifier {
    TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
        cluster_name: SDS_CLUSTER.to_owned(),
        ..EnvoyGrpc::default()
    })
}
