//! Programs that are built from Go modules.
//!
//! A module of a certain version never changes: Go checks it, and all that it needs, against the public checksum
//! database. What is built once is kept in the cache.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Missing, cached};

/// The agent that tests run: the Consul of Istio 1.1's time, which builds in about two minutes on two cores.
const CONSUL: GoProgram = GoProgram {
    name: "consul",
    package: "github.com/hashicorp/consul",
    version: "1.6.10",
};

/// A program and the module that it is built from.
struct GoProgram {
    name: &'static str,
    package: &'static str,
    version: &'static str,
}

/// Path of Consul's executable: `$CONSUL_BIN` if set, else the cached one, built if need be.
///
/// Blocks while it builds. May be called from many threads and processes at once.
///
/// # Errors
/// When `$CONSUL_BIN` is no file, or building fails; the message says what to install.
pub fn consul() -> Result<PathBuf> {
    if let Some(path) = env::var_os("CONSUL_BIN").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "CONSUL_BIN names {}, which is no file",
            path.display()
        );
        return Ok(path);
    }
    cached(CONSUL.name, CONSUL.version, |folder, path| {
        CONSUL.build(folder, path)
    })
}

// === impl GoProgram ===

impl GoProgram {
    /// Builds the program as a dependency of an empty module: one that replaces parts of itself cannot be installed
    /// by its name.
    fn build(&self, folder: &Path, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(folder)?;
        let module = format!(
            "module provision\n\ngo 1.21\n\nrequire {} v{}\n",
            self.package, self.version
        );
        fs::write(scratch.path().join("go.mod"), module)?;
        let binary = scratch.path().join(self.name);
        let output = Command::new("go")
            .args(["build", "-mod=mod", "-trimpath", "-o"])
            .arg(&binary)
            .arg(self.package)
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .output();
        match output {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(Missing {
                what: "go".to_owned(),
                remedy: "install it from https://go.dev/dl".to_owned(),
            }),
            Err(error) => return Err(error).context("cannot run go"),
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                bail!(
                    "go build failed: {}",
                    text.lines().last().unwrap_or("no reason given")
                );
            }
        }
        // Whoever sees the file sees all of it.
        fs::rename(&binary, path)?;
        Ok(())
    }
}
