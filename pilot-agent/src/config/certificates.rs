//! Where the certificates of the proxy are.

use std::path::{Path, PathBuf};

use super::Role;
use crate::env::Environment;

/// Certificate chain, key and root certificate, each for both directions.
pub(super) struct CertificateFiles {
    pub(super) client: [PathBuf; 3],
    server: [PathBuf; 3],
}

// === impl CertificateFiles ===

impl CertificateFiles {
    pub(super) fn resolve(folder: &Path, env: &Environment) -> CertificateFiles {
        let file =
            |variable: &str, name: &str| env.get(variable).map_or_else(|| folder.join(name), PathBuf::from);
        CertificateFiles {
            client: [
                file("ISTIO_META_TLS_CLIENT_CERT_CHAIN", "cert-chain.pem"),
                file("ISTIO_META_TLS_CLIENT_KEY", "key.pem"),
                file("ISTIO_META_TLS_CLIENT_ROOT_CERT", "root-cert.pem"),
            ],
            server: [
                file("ISTIO_META_TLS_SERVER_CERT_CHAIN", "cert-chain.pem"),
                file("ISTIO_META_TLS_SERVER_KEY", "key.pem"),
                file("ISTIO_META_TLS_SERVER_ROOT_CERT", "root-cert.pem"),
            ],
        }
    }

    /// Every file once, in the order in which they are hashed (`AGT-52`).
    pub(super) fn watched(self, role: Role) -> Vec<PathBuf> {
        let ingress = [
            "/etc/istio/ingress-certs/tls.crt",
            "/etc/istio/ingress-certs/tls.key",
        ];
        let ingress = ingress
            .into_iter()
            .filter(|_| role == Role::Ingress)
            .map(PathBuf::from);
        let mut files = Vec::new();
        for file in self.client.into_iter().chain(self.server).chain(ingress) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }
}
