//! Where the certificates of the proxy are.

use std::fs;
use std::path::{Path, PathBuf};

use super::Role;
use crate::env::Environment;

/// Where the Secrets of gateways are mounted, each in a folder of its own whose name ends so.
const MOUNTS: (&str, &str) = ("/etc/istio", "certs");

/// The folders with the certificates that a gateway shows to its clients, and checks those of its clients against.
///
/// Gateways name files in them, so none is known before Pilot says so; but what is mounted is there before the proxy.
pub(super) fn gateway_folders(role: Role) -> Vec<PathBuf> {
    if role == Role::Sidecar {
        return Vec::new();
    }
    let (root, suffix) = MOUNTS;
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(suffix))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

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
