//! Programs of Debian packages: fetched and unpacked into the cache, not installed.
//!
//! apt checks packages against the signed lists of the distribution, which also say which version is the one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::Uid;

use super::{Missing, cached, named_by};

/// Debian's release, as the version of what is kept.
const RELEASE: &str = "debian";

/// A program of a Debian package that needs nothing but the C library.
struct DebianProgram {
    name: &'static str,
    package: &'static str,
    /// Names a program to use instead.
    variable: &'static str,
}

const PROMETHEUS: DebianProgram = DebianProgram {
    name: "prometheus",
    package: "prometheus",
    variable: "PROMETHEUS_BIN",
};

/// Path of Prometheus: `$PROMETHEUS_BIN` if set, else the one of the Debian package in the cache, fetched if need be.
///
/// # Errors
/// When `$PROMETHEUS_BIN` is no file, or this is no Debian, or fetching fails; the message says what to install.
pub fn prometheus() -> Result<PathBuf> {
    PROMETHEUS.provide()
}

// === impl DebianProgram ===

impl DebianProgram {
    fn provide(&self) -> Result<PathBuf> {
        match named_by(self.variable)? {
            Some(path) => Ok(path),
            None => cached(self.name, RELEASE, |folder, path| self.fetch(folder, path)),
        }
    }

    fn fetch(&self, folder: &Path, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(folder)?;
        let download = || self.run(scratch.path(), "apt-get", &["download", "-qq", self.package]);
        let mut output = download()?;
        if !output.status.success() && Uid::effective().is_root() {
            // Images of containers have no lists.
            self.run(scratch.path(), "apt-get", &["update", "-qq"])?;
            output = download()?;
        }
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!(
                "apt-get download failed: {}",
                text.lines().last().unwrap_or("no reason given")
            );
        }
        let package = fs::read_dir(scratch.path())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded no package")?;
        let unpacked = scratch.path().join("unpacked");
        let output = self.run(
            scratch.path(),
            "dpkg-deb",
            &["-x", &package.to_string_lossy(), &unpacked.to_string_lossy()],
        )?;
        ensure!(output.status.success(), "dpkg-deb failed with {}", output.status);
        let binary = unpacked.join("usr/bin").join(self.name);
        // Whoever sees the file sees all of it.
        fs::rename(&binary, path).with_context(|| format!("the package has no {}", binary.display()))
    }

    fn run(&self, folder: &Path, program: &str, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .output();
        output.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Missing {
                what: self.name.to_owned(),
                remedy: format!("install it, and set {} where it is not found", self.variable),
            }
            .into(),
            _ => anyhow::Error::from(error).context(format!("cannot run {program}")),
        })
    }
}
