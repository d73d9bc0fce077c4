//! Programs of Debian packages: fetched and unpacked into the cache with what they need, not installed.
//!
//! apt checks packages against the signed lists of the distribution, which also say which version is the one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, bail, ensure};
use nix::unistd::Uid;

use super::{Missing, cached, named_by};

/// Debian's release, as the version of what is kept.
const RELEASE: &str = "debian";

/// A program below `usr/bin` of Debian packages.
struct DebianProgram {
    name: &'static str,
    /// The package of the program, and those of its libraries that not every system has.
    packages: &'static [&'static str],
    /// Names a program to use instead.
    variable: &'static str,
}

const PROMETHEUS: DebianProgram = DebianProgram {
    name: "prometheus",
    packages: &["prometheus"],
    variable: "PROMETHEUS_BIN",
};

const NODE_EXPORTER: DebianProgram = DebianProgram {
    name: "prometheus-node-exporter",
    packages: &["prometheus-node-exporter"],
    variable: "NODE_EXPORTER_BIN",
};

const REDIS_SERVER: DebianProgram = DebianProgram {
    name: "redis-server",
    packages: &[
        "redis-server",
        "redis-tools",
        "libatomic1",
        "libjemalloc2",
        "liblzf1",
    ],
    variable: "REDIS_SERVER_BIN",
};

/// Path of Prometheus: `$PROMETHEUS_BIN` if set, else the one of the Debian package in the cache, fetched if need be.
///
/// # Errors
/// When `$PROMETHEUS_BIN` is no file, or this is no Debian, or fetching fails; the message says what to install.
pub fn prometheus() -> Result<PathBuf> {
    PROMETHEUS.provide()
}

/// Path of Prometheus' exporter for machines: `$NODE_EXPORTER_BIN` if set, else the one of the Debian package in the cache,
/// fetched if need be.
///
/// # Errors
/// As [`prometheus`].
pub fn node_exporter() -> Result<PathBuf> {
    NODE_EXPORTER.provide()
}

/// Path of the Redis server: `$REDIS_SERVER_BIN` if set, else the one of the Debian packages in the cache, fetched if
/// need be.
///
/// # Errors
/// As [`prometheus`].
pub fn redis_server() -> Result<PathBuf> {
    REDIS_SERVER.provide()
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
        let arguments: Vec<_> = ["download", "-qq"].iter().chain(self.packages).copied().collect();
        let download = || self.run(scratch.path(), "apt-get", &arguments);
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
        let root = scratch.path().join("root");
        for entry in fs::read_dir(scratch.path())? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                let arguments = ["-x", &package.to_string_lossy(), &root.to_string_lossy()];
                let output = self.run(scratch.path(), "dpkg-deb", &arguments)?;
                ensure!(output.status.success(), "dpkg-deb failed with {}", output.status);
            }
        }
        ensure!(
            root.join("usr/bin").join(self.name).is_file(),
            "the packages have no {}",
            self.name
        );
        let kept = folder.join("root");
        // What an attempt left that did not get to the end.
        let _ = fs::remove_dir_all(&kept);
        fs::rename(&root, &kept)?;
        let script = scratch.path().join(self.name);
        fs::write(&script, self.script(&kept))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        // Whoever sees the file sees all of it.
        Ok(fs::rename(&script, path)?)
    }

    /// Starts the program with the libraries beside it. The shell becomes the program, so that signals reach it.
    fn script(&self, root: &Path) -> String {
        let libraries = fs::read_dir(root.join("usr/lib")).into_iter().flatten().flatten();
        let libraries: Vec<_> = libraries
            .map(|entry| entry.path().to_string_lossy().into_owned())
            .collect();
        format!(
            "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
            libraries.join(":"),
            root.join("usr/bin").join(self.name).display()
        )
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
