//! Programs of Maven's central repository, which run in the `java` of this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{Missing, cached, named_by, sha256};

/// A JAR that needs no other.
struct Jar {
    name: &'static str,
    /// `group:artifact`
    artifact: &'static str,
    version: &'static str,
    /// Which of the artifact's files.
    classifier: &'static str,
    sha256: &'static str,
    /// Names a JAR to use instead.
    variable: &'static str,
}

const ZIPKIN: Jar = Jar {
    name: "zipkin.jar",
    artifact: "io.zipkin:zipkin-server",
    version: "3.4.4",
    classifier: "exec",
    sha256: "45530b0d895d7b56fffa5f6385f4bd45a6b8aa3c57e1c2bda4b4bb1225881333",
    variable: "ZIPKIN_JAR",
};

/// What copies an artifact to a folder.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";

/// Path of Zipkin's server, a JAR: `$ZIPKIN_JAR` if set, else the cached one, fetched if need be.
///
/// Blocks while it fetches. May be called from many threads and processes at once.
///
/// # Errors
/// When `$ZIPKIN_JAR` is no file, or mvn is missing, or fetching fails, or the JAR is not the one that was pinned; the
/// message says what to install.
pub fn zipkin() -> Result<PathBuf> {
    ZIPKIN.provide()
}

// === impl Jar ===

impl Jar {
    fn provide(&self) -> Result<PathBuf> {
        match named_by(self.variable)? {
            Some(path) => Ok(path),
            None => cached(self.name, self.version, |folder, path| self.fetch(folder, path)),
        }
    }

    fn fetch(&self, folder: &Path, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(folder)?;
        let artifact = format!("{}:{}:jar:{}", self.artifact, self.version, self.classifier);
        let output = Command::new("mvn")
            .args(["--batch-mode", "--quiet", COPY])
            .arg(format!("-Dartifact={artifact}"))
            .arg(format!("-DoutputDirectory={}", scratch.path().display()))
            .args(["-Dmdep.useBaseVersion=true", "-Dmdep.stripVersion=false"])
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(anyhow::Error::from(Missing {
                    what: "mvn".to_owned(),
                    remedy: "install it with: apt-get install -y maven".to_owned(),
                }));
            }
            output => output.context("cannot run mvn")?,
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let reason = text.lines().next().unwrap_or("no reason given");
        ensure!(output.status.success(), "mvn failed: {reason}");
        let (_, name) = self.artifact.split_once(':').unwrap_or(("", self.artifact));
        let jar = scratch
            .path()
            .join(format!("{name}-{}-{}.jar", self.version, self.classifier));
        let found = sha256(&jar).context("mvn copied no JAR")?;
        ensure!(
            found == self.sha256,
            "the JAR's sha256 is {found}, the pinned one is {}",
            self.sha256
        );
        // Whoever sees the file sees all of it.
        Ok(fs::rename(&jar, path)?)
    }
}
