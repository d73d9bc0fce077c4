//! Real Envoys: where they are, and whether they accept a configuration.

mod bootstrap;
mod files;

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mesh_api::Any;
use serde_json::Value;

pub use bootstrap::{AssembleError, assemble};

use crate::provision::{self, ENVOY, ENVOY_FLOOR, EnvoyRelease};

/// An Envoy executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envoy {
    /// The executable.
    pub path: PathBuf,
    /// Its version, such as `1.40.0`.
    pub version: String,
}

/// Why Envoy does not accept a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("envoy {version}: {reason}")]
pub struct Rejected {
    /// Version of Envoy.
    pub version: String,
    /// What it said.
    pub reason: String,
}

/// The Envoy that everything runs on: `$ENVOY_BIN`, else the one in the cache that [`provision`] fills.
///
/// `None` when there is none; a line says how to get it.
///
/// # Panics
///
/// When there is none and `$CI` is `true`: there nothing is skipped silently.
pub fn envoy() -> Option<Envoy> {
    locate(ENVOY, "ENVOY_BIN")
}

/// Every supported Envoy that is available: [`envoy`], and the oldest supported one (`$ENVOY_BIN_FLOOR`).
///
/// # Panics
///
/// As [`envoy`].
pub fn envoys() -> Vec<Envoy> {
    let mut envoys: Vec<_> = envoy().into_iter().collect();
    if let Some(floor) = locate(ENVOY_FLOOR, "ENVOY_BIN_FLOOR")
        && envoys.iter().all(|envoy| envoy.version != floor.version)
    {
        envoys.push(floor);
    }
    envoys
}

fn locate(release: EnvoyRelease, variable: &str) -> Option<Envoy> {
    let path = match env::var_os(variable).filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => cached(release),
    };
    let found = path.as_deref().map(Envoy::new);
    match found {
        Some(Ok(envoy)) => Some(envoy),
        Some(Err(reason)) => panic!("{variable}: {reason}"),
        None => {
            let advice = format!(
                "no Envoy {release}: run `cargo mesh test`, which fetches it, or set {variable} to an executable"
            );
            assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{advice}");
            eprintln!("skipped: {advice}");
            None
        }
    }
}

/// The executable in the cache, if it is there. Nothing is fetched in the middle of a test.
fn cached(release: EnvoyRelease) -> Option<PathBuf> {
    let path = provision::cache_dir()
        .ok()?
        .join("envoy")
        .join(release.version)
        .join("envoy");
    path.is_file().then_some(path)
}

/// As [`Envoy::validate_all`], of several Envoys and for cases that have nothing to do with one another: their resources
/// get names and addresses of their own, so that hundreds of them share a run. What fails together is halved until it
/// fails alone.
pub fn validate_apart(envoys: &[Envoy], cases: &[(String, Vec<Any>)]) -> Vec<(String, Rejected)> {
    let mut rejected = Vec::new();
    let mut parts = Vec::with_capacity(cases.len());
    for (index, (name, resources)) in cases.iter().enumerate() {
        match bootstrap::Parts::new(resources) {
            Ok(own) => parts.push((name.as_str(), own.apart(index))),
            Err(error) => rejected.push((
                name.clone(),
                Rejected {
                    version: "every".to_owned(),
                    reason: error.to_string(),
                },
            )),
        }
    }
    std::thread::scope(|scope| {
        let judges = envoys.iter().map(|envoy| {
            scope.spawn(|| {
                let mut rejected = Vec::new();
                envoy.halve(&parts, &mut rejected);
                rejected
            })
        });
        for judge in judges.collect::<Vec<_>>() {
            rejected.extend(judge.join().expect("a judge does not panic"));
        }
    });
    rejected
}

// === impl Envoy ===

impl Envoy {
    /// Takes an executable and asks for its version.
    ///
    /// # Errors
    ///
    /// When it does not run or is no Envoy.
    pub fn new(path: &Path) -> Result<Self, String> {
        let output = Command::new(path)
            .arg("--version")
            .output()
            .map_err(|error| format!("cannot run {}: {error}", path.display()))?;
        // The line begins with the path: /usr/bin/envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text
            .split_once("version:")
            .and_then(|(_, version)| version.split('/').nth(1));
        let version = version
            .ok_or_else(|| format!("{} is no Envoy", path.display()))?
            .to_owned();
        Ok(Self {
            path: path.to_owned(),
            version,
        })
    }

    /// Whether Envoy accepts a bootstrap configuration (`--mode validate`).
    ///
    /// # Errors
    ///
    /// With Envoy's reason.
    pub fn validate(&self, bootstrap: &Value) -> Result<(), Rejected> {
        self.try_validate(bootstrap)
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(|reason| Rejected {
                version: self.version.clone(),
                reason,
            })
    }

    /// Whether Envoy accepts the resources of every case; the names of those it does not, with its reasons.
    ///
    /// Cases that do not contradict one another share a run of Envoy: starting it is most of the cost. When a shared
    /// run fails, its cases run alone.
    pub fn validate_all(&self, cases: &[(String, Vec<Any>)]) -> Vec<(String, Rejected)> {
        let mut rejected = Vec::new();
        let mut batches: Vec<(bootstrap::Parts, Vec<(&str, bootstrap::Parts)>)> = Vec::new();
        for (name, resources) in cases {
            let parts = match bootstrap::Parts::new(resources) {
                Ok(parts) => parts,
                Err(error) => {
                    let reason = error.to_string();
                    rejected.push((
                        name.clone(),
                        Rejected {
                            version: self.version.clone(),
                            reason,
                        },
                    ));
                    continue;
                }
            };
            match batches.iter_mut().find(|(together, _)| together.fits(&parts)) {
                Some((together, members)) => {
                    together.add(&parts);
                    members.push((name, parts));
                }
                None => batches.push((parts.clone(), vec![(name, parts)])),
            }
        }
        for (together, members) in batches {
            let Err(reason) = self.validate(&together.bootstrap()) else {
                continue;
            };
            if let [(name, _)] = members.as_slice() {
                rejected.push(((*name).to_owned(), reason));
                continue;
            }
            let before = rejected.len();
            for (name, parts) in &members {
                if let Err(reason) = self.validate(&parts.bootstrap()) {
                    rejected.push(((*name).to_owned(), reason));
                }
            }
            if rejected.len() == before {
                // Each is fine alone, so our putting them together is at fault.
                let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
                rejected.push((names.join(" + "), reason));
            }
        }
        rejected
    }

    fn halve(&self, cases: &[(&str, bootstrap::Parts)], rejected: &mut Vec<(String, Rejected)>) {
        let mut together = bootstrap::Parts::default();
        for (_, parts) in cases {
            together.add(parts);
        }
        let Err(reason) = self.validate(&together.bootstrap()) else {
            return;
        };
        match cases {
            [] => {}
            [(name, _)] => rejected.push(((*name).to_owned(), reason)),
            _ => {
                let (first, second) = cases.split_at(cases.len() / 2);
                self.halve(first, rejected);
                self.halve(second, rejected);
            }
        }
    }

    fn try_validate(&self, bootstrap: &Value) -> std::io::Result<Result<(), String>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bootstrap.json");
        let bootstrap = files::provide(bootstrap, folder.path())?;
        fs::write(&file, bootstrap.to_string())?;
        let output = Command::new(&self.path)
            .args([
                "--mode",
                "validate",
                "--disable-hot-restart",
                "--log-level",
                "error",
                "-c",
            ])
            .arg(&file)
            .output()?;
        if output.status.success() {
            return Ok(Ok(()));
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Ok(Err(
            reason(&text).unwrap_or_else(|| format!("ended with {}", output.status))
        ))
    }
}

impl fmt::Display for Envoy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "envoy {}", self.version)
    }
}

/// The reason in what Envoy printed: what follows the file name in its last complaint.
fn reason(log: &str) -> Option<String> {
    let (_, complaint) = log.rsplit_once("error initializing configuration '")?;
    let (_, reason) = complaint.split_once("': ")?;
    Some(reason.trim().to_owned())
}
