//! Whether certificates and keys belong together.

use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Why Envoy could not use a certificate with its key.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub(super) struct Mismatch {
    file: PathBuf,
    reason: String,
}

/// Checks each `<name>.crt` that has a `<name>.key` beside it, as Secrets of type `kubernetes.io/tls` have.
pub(super) fn check(files: &[PathBuf]) -> Result<(), Mismatch> {
    for certificate in files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "crt"))
    {
        let key = certificate.with_extension("key");
        if files.contains(&key) {
            check_pair(certificate, &key).map_err(|reason| Mismatch {
                file: certificate.clone(),
                reason,
            })?;
        }
    }
    Ok(())
}

fn check_pair(certificate: &Path, key: &Path) -> Result<(), String> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("its key: {error}"))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mesh_testing::certificates::{Authority, Pair};

    use super::*;

    #[test]
    fn a_key_must_be_that_of_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test").unwrap();
        let pair = || authority.issue(&["weather.com"]).unwrap();
        let (ours, other) = (pair(), pair());
        let mixed = Pair {
            certificate: ours.certificate.clone(),
            key: other.key,
        };
        let cut = Pair {
            certificate: ours.certificate.chars().take(200).collect(),
            key: ours.key.clone(),
        };
        let empty = Pair {
            certificate: String::new(),
            key: String::new(),
        };
        for (pair, fits) in [(ours, true), (mixed, false), (cut, false), (empty, false)] {
            let files = ["tls.crt", "tls.key", "ca.crt"].map(|name| folder.path().join(name));
            fs::write(&files[0], pair.certificate).unwrap();
            fs::write(&files[1], pair.key).unwrap();
            fs::write(&files[2], authority.certificate()).unwrap();
            assert_eq!(check(&files).is_ok(), fits, "{:?}", check(&files));
            assert!(
                check(&files[..1]).is_ok(),
                "a certificate alone is nobody's business"
            );
        }
    }
}
