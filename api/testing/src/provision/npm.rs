//! Programs of packages of npm, which run in the `node` of this machine.
//!
//! Each is one archive with its checksum: nothing that it could need is fetched, and no script of it is run.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Missing, cached, named_by, sha256};

/// A program of a package of npm that needs no other package.
struct NpmProgram {
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the archive.
    sha256: &'static str,
    /// Where the package keeps the program.
    main: &'static str,
    /// Names a program to use instead.
    variable: &'static str,
}

/// The package says that it needs `generic-pool`, which only its other programs do.
const STATSD: NpmProgram = NpmProgram {
    name: "statsd",
    version: "0.9.0",
    sha256: "d3d35411ee42057ddc4071511590254c14e19f5a7952c6bb3761e83623bda8ae",
    main: "stats.js",
    variable: "STATSD_BIN",
};

/// Path of statsd: `$STATSD_BIN` if set, else the cached one, fetched if need be.
///
/// Blocks while it fetches. May be called from many threads and processes at once.
///
/// # Errors
/// When `$STATSD_BIN` is no file, or node or npm is missing, or fetching fails, or the archive is not the one that was
/// pinned; the message says what to install.
pub fn statsd() -> Result<PathBuf> {
    STATSD.provide()
}

// === impl NpmProgram ===

impl NpmProgram {
    fn provide(&self) -> Result<PathBuf> {
        match named_by(self.variable)? {
            Some(path) => Ok(path),
            None => cached(self.name, self.version, |folder, path| self.fetch(folder, path)),
        }
    }

    fn fetch(&self, folder: &Path, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(folder)?;
        let package = format!("{}@{}", self.name, self.version);
        run(scratch.path(), "node", &["--version"])?;
        run(scratch.path(), "npm", &["pack", "--silent", &package])?;
        let archive = scratch.path().join(format!("{}-{}.tgz", self.name, self.version));
        let found = sha256(&archive).context("npm packed no archive")?;
        ensure!(
            found == self.sha256,
            "the archive's sha256 is {found}, the pinned one is {}",
            self.sha256
        );
        run(scratch.path(), "tar", &["-xzf", &archive.to_string_lossy()])?;
        let kept = folder.join("package");
        // What an attempt left that did not get to the end.
        let _ = fs::remove_dir_all(&kept);
        fs::rename(scratch.path().join("package"), &kept)?;
        let main = kept.join(self.main);
        ensure!(main.is_file(), "the package has no {}", self.main);
        let script = scratch.path().join(self.name);
        // The shell becomes the program, so that signals reach it.
        fs::write(
            &script,
            format!("#!/bin/sh\nexec node '{}' \"$@\"\n", main.display()),
        )?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        // Whoever sees the file sees all of it.
        Ok(fs::rename(&script, path)?)
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(anyhow::Error::from(Missing {
                what: program.to_owned(),
                remedy: "install it with: apt-get install -y nodejs npm".to_owned(),
            }));
        }
        output => output.with_context(|| format!("cannot run {program}"))?,
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().last().unwrap_or("no reason given");
    ensure!(output.status.success(), "{program} failed: {reason}");
    Ok(output)
}
