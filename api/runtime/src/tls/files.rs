//! Certificates and keys from PEM files, loaded again when the files change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError as Reason, RootCertStore};
use tokio::sync::watch;
use tracing::{info, warn};

use super::peer::uris;
use super::provider;
use crate::backoff::Backoff;
use crate::error_chain;
use crate::watch::{FileWatch, WatchError};

/// Files are loaded when they did not change for this long: certificate and key are rarely written at once (G8.6).
const QUIET: Duration = Duration::from_millis(100);

/// Pauses after which files that cannot be used are looked at again without a change: time alone may make a
/// certificate valid, and a permission is no change of a file.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(30);

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// What a process proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate, followed by those that lead to an authority; PEM (`--tlsCertFile`).
    pub certificate: PathBuf,
    /// Its private key; PEM (`--tlsKeyFile`).
    pub key: PathBuf,
}

/// Where certificates come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The own identity. A server needs one.
    pub identity: Option<IdentityFiles>,
    /// The authorities that peers are checked against; PEM (`--caCertFile`).
    pub authorities: Option<PathBuf>,
}

/// What the files held when they were good.
#[derive(Clone)]
pub struct Certificates {
    pub(super) identity: Option<Arc<CertifiedKey>>,
    pub(super) authorities: Option<Arc<RootCertStore>>,
    /// The text of the files, to notice when nothing has changed.
    text: Vec<Vec<u8>>,
}

/// Certificates that follow their files. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Credentials {
    files: Arc<Files>,
    current: Arc<watch::Sender<Option<Arc<Certificates>>>>,
}

/// All files of some credentials.
#[derive(Debug)]
struct Files {
    named: CertificateFiles,
    /// Authorities that count, too, if the file is there.
    bundle: Option<PathBuf>,
}

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It does not hold what it should.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

// === impl CertificateFiles ===

impl CertificateFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        identity
            .flat_map(|files| [files.certificate.as_path(), files.key.as_path()])
            .chain(self.authorities.as_deref())
    }

    async fn load(&self) -> Result<Certificates, CertificateError> {
        let mut text = Vec::new();
        for path in self.paths() {
            text.push(read(path).await?);
        }
        Certificates::parse(self, text)
    }
}

// === impl Files ===

impl Files {
    async fn load(&self) -> Result<Certificates, CertificateError> {
        let mut certificates = self.named.load().await?;
        if let Some(bundle) = &self.bundle
            && let Ok(text) = read(bundle).await
        {
            certificates.trust(bundle, text)?;
        }
        Ok(certificates)
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(path)
        .await
        .map_err(|source| CertificateError::Read {
            path: path.display().to_string(),
            source,
        })
}

// === impl Certificates ===

impl Certificates {
    /// The certificates of the authorities, PEM, without anything else that their file holds.
    #[must_use]
    pub fn authorities_pem(&self) -> String {
        let text = self.text.last().filter(|_| self.authorities.is_some());
        certificate_blocks(&String::from_utf8_lossy(
            text.map(Vec::as_slice).unwrap_or_default(),
        ))
    }

    /// Whether the own certificate is one for this host.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let leaf = self.identity.as_ref().and_then(|identity| identity.cert.first());
        let leaf = leaf.and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
        let name = ServerName::try_from(host).ok();
        leaf.zip(name)
            .is_some_and(|(leaf, name)| verify_server_name(&leaf, &name).is_ok())
    }

    /// The alternative names of the own certificate that are URIs, such as its SPIFFE id.
    #[must_use]
    pub fn uris(&self) -> Vec<String> {
        let leaf = self.identity.as_ref().and_then(|identity| identity.cert.first());
        uris(leaf)
    }

    /// Adds the authorities of a bundle to those that there are.
    fn trust(&mut self, bundle: &Path, text: Vec<u8>) -> Result<(), CertificateError> {
        let mut store = self
            .authorities
            .as_deref()
            .cloned()
            .unwrap_or_else(RootCertStore::empty);
        // One that is strange does not spoil the others: nobody here has chosen them.
        let (usable, _) = store.add_parsable_certificates(certificates(bundle, &text)?);
        if usable > 0 {
            self.authorities = Some(Arc::new(store));
        }
        // Before that of the own authorities, which stands last.
        self.text.insert(0, text);
        Ok(())
    }

    /// `text` stands in the order of [`CertificateFiles::paths`].
    fn parse(files: &CertificateFiles, text: Vec<Vec<u8>>) -> Result<Self, CertificateError> {
        let mut remaining = text.iter();
        let mut next = || remaining.next().map(Vec::as_slice).unwrap_or_default();
        let identity = files
            .identity
            .as_ref()
            .map(|files| identity(files, next(), next()))
            .transpose()?;
        let authorities = files
            .authorities
            .as_deref()
            .map(|path| authorities(path, next()))
            .transpose()?;
        if let (Some(files), Some(identity), Some(authorities)) = (&files.identity, &identity, &authorities) {
            check(files, identity, authorities)?;
        }
        Ok(Self {
            identity: identity.map(Arc::new),
            authorities: authorities.map(Arc::new),
            text,
        })
    }
}

fn identity(files: &IdentityFiles, certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
    let chain = certificates(&files.certificate, certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| unusable(&files.key, format!("no private key in PEM: {error}")))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let reason = format!("does not go together with {}: {error}", files.key.display());
        unusable(&files.certificate, reason)
    })
}

/// Whether those who trust the authorities would trust the certificate today.
fn check(
    files: &IdentityFiles,
    identity: &CertifiedKey,
    authorities: &RootCertStore,
) -> Result<(), CertificateError> {
    let fail = |error: rustls::Error| unusable(&files.certificate, error.to_string());
    let leaf = ParsedCertificate::try_from(identity.end_entity_cert().map_err(fail)?).map_err(fail)?;
    let trusted = verify_server_cert_signed_by_trust_anchor(
        &leaf,
        authorities,
        identity.cert.get(1..).unwrap_or_default(),
        UnixTime::now(),
        provider().signature_verification_algorithms.all,
    );
    match trusted {
        Err(rustls::Error::InvalidCertificate(Reason::UnknownIssuer)) => Err(unusable(
            &files.certificate,
            "signed by none of the authorities".to_owned(),
        )),
        Err(
            error @ rustls::Error::InvalidCertificate(
                Reason::Expired
                | Reason::ExpiredContext { .. }
                | Reason::NotValidYet
                | Reason::NotValidYetContext { .. }
                | Reason::BadSignature
                | Reason::BadEncoding,
            ),
        ) => Err(fail(error)),
        Err(error) => {
            // Peers differ in what else they ask, such as the purpose that a certificate names.
            warn!(file = %files.certificate.display(), %error, "peers may refuse the certificate");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn authorities(path: &Path, text: &[u8]) -> Result<RootCertStore, CertificateError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path, text)? {
        store
            .add(certificate)
            .map_err(|error| unusable(path, error.to_string()))?;
    }
    Ok(store)
}

/// At least one certificate.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, format!("not PEM: {error}")))?;
    if found.is_empty() {
        return Err(unusable(path, "holds no certificate".to_owned()));
    }
    Ok(found)
}

/// The certificates of a file, and nothing else that is in it.
fn certificate_blocks(text: &str) -> String {
    let mut blocks = String::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once(PEM_BEGIN) {
        let Some((body, after)) = begun.split_once(PEM_END) else {
            break;
        };
        blocks.extend([PEM_BEGIN, body, PEM_END, "\n"]);
        rest = after;
    }
    blocks
}

fn unusable(path: &Path, reason: String) -> CertificateError {
    CertificateError::Content {
        path: path.display().to_string(),
        reason,
    }
}

/// Keys are not for logs.
impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field(
                "chain",
                &self.identity.as_ref().map_or(0, |identity| identity.cert.len()),
            )
            .field(
                "authorities",
                &self.authorities.as_ref().map_or(0, |store| store.len()),
            )
            .finish_non_exhaustive()
    }
}

// === impl Credentials ===

impl Credentials {
    /// Without certificates: every handshake fails until [`Self::follow`] has found some.
    #[must_use]
    pub fn new(files: CertificateFiles) -> Self {
        Self::of(Files {
            named: files,
            bundle: None,
        })
    }

    fn of(files: Files) -> Self {
        Self {
            files: Arc::new(files),
            current: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Loads the files, for who cannot begin without them.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or used, or they do not fit together: a key of another certificate, a certificate whose
    /// time is over or that the authorities have not signed.
    pub async fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        Self::new(files).loaded().await
    }

    /// As [`Self::load`]; the authorities of `bundle`, such as those of the operating system, count as well, if the file
    /// is there.
    ///
    /// # Errors
    ///
    /// Those of [`Self::load`], and a bundle without certificates.
    pub async fn load_with_bundle(
        files: CertificateFiles,
        bundle: PathBuf,
    ) -> Result<Self, CertificateError> {
        let files = Files {
            named: files,
            bundle: Some(bundle),
        };
        Self::of(files).loaded().await
    }

    async fn loaded(self) -> Result<Self, CertificateError> {
        let certificates = self.files.load().await?;
        self.take(certificates);
        Ok(self)
    }

    /// What is to be used now.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Certificates>> {
        self.current.borrow().clone()
    }

    /// What is in use, and every change of it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Certificates>>> {
        self.current.subscribe()
    }

    /// Waits until there are certificates: who issues them may be slower than who uses them (P5.4).
    pub async fn ready(&self) {
        // The sender lives in `self`, so the channel cannot close while waiting.
        let mut current = self.subscribe();
        let _closed = current.wait_for(Option::is_some).await;
    }

    /// Follows the files; never ends. Files that are broken or gone change nothing, and are told.
    ///
    /// `report` hears of every set that is new and in use, and of every one that cannot be used, once for each reason.
    /// Connections that are open are not touched.
    ///
    /// # Errors
    ///
    /// [`WatchError`] when files cannot be watched.
    pub async fn follow(
        self,
        mut report: impl FnMut(Result<(), &CertificateError>) + Send,
    ) -> Result<(), WatchError> {
        let mut watch = FileWatch::new(self.files.named.paths(), QUIET)?;
        let mut look = Backoff::new(FIRST_LOOK, LAST_LOOK);
        let mut told: Option<String> = None;
        loop {
            // Also before the first change is told: there may have been one before the watch.
            match self.files.load().await {
                Ok(certificates) => {
                    told = None;
                    if self.take(certificates) {
                        info!(files = %self.files.named, "certificates are in use");
                        report(Ok(()));
                    }
                }
                Err(error) => {
                    let text = error_chain(&error);
                    if told.as_ref() != Some(&text) {
                        let kept = self.current.borrow().is_some();
                        warn!(error = text, kept, "certificates cannot be used");
                        report(Err(&error));
                        told = Some(text);
                    }
                }
            }
            if told.is_some() {
                tokio::select! {
                    _changed = watch.changed() => look.reset(),
                    () = look.wait() => {}
                }
            } else {
                look.reset();
                watch.changed().await;
            }
        }
    }

    /// Uses certificates; whether they are others than before.
    fn take(&self, certificates: Certificates) -> bool {
        self.current.send_if_modified(|current| {
            let differs = current
                .as_ref()
                .is_none_or(|current| current.text != certificates.text);
            if differs {
                *current = Some(Arc::new(certificates));
            }
            differs
        })
    }
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.paths().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        Ok(())
    }
}
