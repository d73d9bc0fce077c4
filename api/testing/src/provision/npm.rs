//! Packages of npm and their programs, which run in the `node` of this machine.
//!
//! Each is one archive with its checksum: nothing that it could need is fetched, and no script of it is run.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Missing, cached, named_by, sha256};

/// A pinned archive of a package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Archive {
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    pub(super) sha256: &'static str,
}

/// A program of a package that needs no other package.
struct NpmProgram {
    archive: Archive,
    /// Where the package keeps the program.
    main: &'static str,
    /// Names a program to use instead.
    variable: &'static str,
}

/// The package says that it needs `generic-pool`, which only its other programs do.
const STATSD: NpmProgram = NpmProgram {
    archive: Archive {
        package: "statsd",
        version: "0.9.0",
        sha256: "d3d35411ee42057ddc4071511590254c14e19f5a7952c6bb3761e83623bda8ae",
    },
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
            None => cached(self.archive.package, self.archive.version, |folder, path| {
                self.fetch(folder, path)
            }),
        }
    }

    fn fetch(&self, folder: &Path, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(folder)?;
        let unpacked = unpack(&self.archive, scratch.path())?;
        let kept = folder.join("package");
        // What an attempt left that did not get to the end.
        let _ = fs::remove_dir_all(&kept);
        fs::rename(unpacked, &kept)?;
        let main = kept.join(self.main);
        ensure!(main.is_file(), "the package has no {}", self.main);
        let script = scratch.path().join("script");
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

/// Fetches an archive, checks and unpacks it; the folder with what is in it, below `scratch`.
pub(super) fn unpack(archive: &Archive, scratch: &Path) -> Result<PathBuf> {
    run(scratch, "node", &["--version"])?;
    let package = format!("{}@{}", archive.package, archive.version);
    run(scratch, "npm", &["pack", "--silent", &package])?;
    let name = archive.package.trim_start_matches('@').replace('/', "-");
    let packed = scratch.join(format!("{name}-{}.tgz", archive.version));
    let found = sha256(&packed).context("npm packed no archive")?;
    ensure!(
        found == archive.sha256,
        "the archive's sha256 is {found}, the pinned one is {}",
        archive.sha256
    );
    let unpacked = scratch.join(name);
    fs::create_dir(&unpacked)?;
    let (packed, folder) = (packed.to_string_lossy(), unpacked.to_string_lossy());
    run(scratch, "tar", &["-xzf", &packed, "-C", &folder])?;
    Ok(unpacked.join("package"))
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
