//! Certificates for tests, of authorities that live as long as the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

pub use rcgen::Error;

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Where a certificate, its key, and the certificate of its authority are.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whom it trusts.
    pub authorities: PathBuf,
}

// === impl Authority ===

impl Authority {
    /// A new authority; `name` is its common name.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// Its own certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for these host names, addresses or URIs, good for servers and clients.
    ///
    /// # Errors
    ///
    /// When a name is not fit for a certificate.
    pub fn issue(&self, names: &[&str]) -> Result<Pair, Error> {
        self.sign(&Self::params(names)?)
    }

    /// A certificate as [`Self::issue`] makes it, with its key and the authority in a folder, which is made: `cert.pem`,
    /// `key.pem` and `ca.pem`.
    ///
    /// # Errors
    ///
    /// As [`Self::issue`], or when files cannot be written.
    pub fn issue_into(&self, folder: &Path, names: &[&str]) -> Result<Files> {
        let pair = self.issue(names)?;
        fs::create_dir_all(folder)?;
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Files {
            certificate: write("cert.pem", &pair.certificate)?,
            key: write("key.pem", &pair.key)?,
            authorities: write("ca.pem", &self.certificate)?,
        })
    }

    fn params(names: &[&str]) -> Result<CertificateParams, Error> {
        let (uris, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let mut params = CertificateParams::new(others.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        }
        if let Some(name) = names.first() {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok(params)
    }

    /// A certificate as [`Self::issue`] makes it, whose time was over long ago.
    ///
    /// # Errors
    ///
    /// As [`Self::issue`].
    pub fn issue_expired(&self, names: &[&str]) -> Result<Pair, Error> {
        let mut params = Self::params(names)?;
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 12, 31);
        self.sign(&params)
    }

    /// A certificate as [`Self::issue`] makes it, which expires so long from now.
    ///
    /// # Errors
    ///
    /// As [`Self::issue`].
    pub fn issue_for(&self, names: &[&str], lifetime: Duration) -> Result<Pair, Error> {
        let mut params = Self::params(names)?;
        params.not_after = (SystemTime::now() + lifetime).into();
        self.sign(&params)
    }

    /// A certificate for a client that Kubernetes knows as this user and member of this group.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn issue_client(&self, user: &str, group: &str) -> Result<Pair, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Pair, Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate,
            key: key.serialize_pem(),
        })
    }
}
