//! Which sinks are served: a list of SPIFFE ids in a file that is followed (G9.3).
//!
//! ```yaml
//! isblacklist: false   # the default; true turns the list around: those in it are turned away
//! allowed:
//! - spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::SpiffeId;
use mesh_mcp::{Access, Denied};
use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use mesh_runtime::tls::PeerCertificates;
use mesh_runtime::watch::{FileWatch, WatchError};
use prometheus::IntCounter;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::{info, warn};

/// The file is read when it did not change for this long.
const QUIET: Duration = Duration::from_millis(100);

/// The list that is in force. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct AccessList {
    path: Arc<Path>,
    rules: Arc<watch::Sender<Rules>>,
}

/// Counts what becomes of changes of the file.
#[derive(Clone, Debug)]
pub(crate) struct AccessListMetrics {
    updates: IntCounter,
    errors: IntCounter,
}

/// Who is served, of those that can prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rules {
    /// There never was a file: everybody.
    Open,
    /// These.
    Only(BTreeSet<String>),
    /// All but these.
    AllBut(BTreeSet<String>),
}

/// The content of the file. Unknown fields are errors: a misspelt `allowed` would turn everybody away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    isblacklist: bool,
    #[serde(default)]
    allowed: Vec<String>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessListError {
    #[error("--accessListFile: cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("--accessListFile: {path}: {reason}")]
    Content { path: String, reason: String },
}

// === impl AccessListMetrics ===

impl AccessListMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            updates: metrics.counter(
                "galley/mcp/access_list_updates_total",
                "Number of access lists that were taken over",
            )?,
            errors: metrics.counter(
                "galley/mcp/access_list_errors_total",
                "Number of changes of the access list that could not be used",
            )?,
        })
    }
}

// === impl AccessList ===

impl AccessList {
    /// Reads the file. Without one every sink with a certificate of the mesh is served, as in 1.1.
    ///
    /// # Errors
    ///
    /// When there is a file that cannot be used: nobody knows then who was to be turned away.
    pub(crate) fn load(path: PathBuf) -> Result<Self, AccessListError> {
        let rules = match read(&path)? {
            Some(rules) => rules,
            None => {
                info!(path = %path.display(), "no access list: every sink with a certificate of the mesh is served");
                Rules::Open
            }
        };
        Ok(Self {
            path: path.into(),
            rules: Arc::new(watch::Sender::new(rules)),
        })
    }

    /// Follows the file; never ends. A file that is removed or cannot be used leaves what is in force.
    pub(crate) async fn follow(self, metrics: AccessListMetrics) -> Result<(), WatchError> {
        let mut changes = FileWatch::new([&self.path], QUIET)?;
        loop {
            // Also before the first change is told: there may have been one before the watch.
            self.reload(&metrics);
            changes.changed().await;
        }
    }

    fn reload(&self, metrics: &AccessListMetrics) {
        match read(&self.path) {
            Ok(Some(rules)) => {
                let changed = self.rules.send_if_modified(|current| {
                    let changed = *current != rules;
                    *current = rules;
                    changed
                });
                if changed {
                    metrics.updates.inc();
                    info!(path = %self.path.display(), "new access list is in force");
                }
            }
            Ok(None) if *self.rules.borrow() == Rules::Open => {}
            Ok(None) => {
                warn!(path = %self.path.display(), "the access list is gone, the last one stays in force");
            }
            Err(error) => {
                metrics.errors.inc();
                let error = &error as &dyn std::error::Error;
                warn!(
                    error,
                    "the access list cannot be used, the last one stays in force"
                );
            }
        }
    }
}

impl Access for AccessList {
    fn check(&self, peer: Option<&PeerCertificates>) -> Result<(), Denied> {
        let peer = peer.ok_or_else(|| Denied("sinks are served over TLS only".to_owned()))?;
        self.rules.borrow().check(&peer.uris())
    }
}

/// `None` when there is no file.
fn read(path: &Path) -> Result<Option<Rules>, AccessListError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(AccessListError::Read {
                path: path.display().to_string(),
                source,
            });
        }
    };
    Rules::parse(&text)
        .map(Some)
        .map_err(|reason| AccessListError::Content {
            path: path.display().to_string(),
            reason,
        })
}

// === impl Rules ===

impl Rules {
    fn parse(text: &str) -> Result<Self, String> {
        let content: Content = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let mut ids = BTreeSet::new();
        for (index, id) in content.allowed.into_iter().enumerate() {
            // What no certificate can hold would be a hole in a list of those to be turned away.
            id.parse::<SpiffeId>()
                .map_err(|error| format!("allowed[{index}]: {error}"))?;
            ids.insert(id);
        }
        Ok(if content.isblacklist {
            Self::AllBut(ids)
        } else {
            Self::Only(ids)
        })
    }

    /// A certificate may hold several ids.
    fn check(&self, ids: &[String]) -> Result<(), Denied> {
        match self {
            Self::Open => Ok(()),
            Self::Only(listed) if ids.iter().any(|id| listed.contains(id)) => Ok(()),
            Self::Only(_) => Err(Denied(format!("{ids:?} is not in the access list"))),
            Self::AllBut(listed) => match ids.iter().find(|id| listed.contains(*id)) {
                Some(id) => Err(Denied(format!("{id:?} is excluded by the access list"))),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PILOT: &str = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account";
    const OTHER: &str = "spiffe://cluster.local/ns/weather/sa/frontend";

    fn allows(rules: &Rules, ids: &[&str]) -> bool {
        let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        rules.check(&ids).is_ok()
    }

    #[test]
    fn g9_3_a_list_allows_or_excludes() {
        let only = Rules::parse(&format!("allowed:\n- {PILOT}\n")).unwrap();
        assert!(allows(&only, &[PILOT]) && allows(&only, &[OTHER, PILOT]));
        assert!(!allows(&only, &[OTHER]) && !allows(&only, &[]));
        let but = Rules::parse(&format!("isblacklist: true\nallowed: [{PILOT}]\n")).unwrap();
        assert!(allows(&but, &[OTHER]) && allows(&but, &[]));
        assert!(!allows(&but, &[PILOT]) && !allows(&but, &[OTHER, PILOT]));
        let nobody = Rules::parse("allowed: []").unwrap();
        assert!(!allows(&nobody, &[PILOT]));
    }

    #[test]
    fn g9_3_a_list_that_may_mean_something_else_is_refused() {
        for (text, reason) in [
            ("allow: []", "allow"),
            ("allowed: [istio-pilot]", "allowed[0]"),
            ("allowed: {}", ""),
            ("isblacklist: perhaps", ""),
            ("[", ""),
        ] {
            let error = Rules::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn g9_3_the_last_good_list_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accesslist.yaml");
        let metrics = AccessListMetrics::register(&Metrics::new()).unwrap();
        let list = AccessList::load(path.clone()).unwrap();
        let rules = || list.rules.borrow().clone();
        assert_eq!(rules(), Rules::Open);

        fs::write(&path, format!("allowed: [{PILOT}]")).unwrap();
        list.reload(&metrics);
        let good = Rules::Only([PILOT.to_owned()].into());
        assert_eq!((rules(), metrics.updates.get()), (good.clone(), 1));
        fs::write(&path, "allowed: [nonsense]").unwrap();
        list.reload(&metrics);
        assert_eq!((rules(), metrics.errors.get()), (good.clone(), 1));
        AccessList::load(path.clone()).unwrap_err();
        fs::remove_file(&path).unwrap();
        list.reload(&metrics);
        assert_eq!(rules(), good);
        fs::write(&path, "isblacklist: true").unwrap();
        list.reload(&metrics);
        assert_eq!((rules(), metrics.updates.get()), (Rules::AllBut([].into()), 2));
    }
}
