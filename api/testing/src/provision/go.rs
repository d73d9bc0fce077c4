//! Programs that are built from Go modules.
//!
//! A module of a certain version never changes: Go checks it, and all that it needs, against the public checksum
//! database, or against the checksums that we keep. What is built once is kept in the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Missing, cached, named_by};

/// The agent that tests run: the Consul of Istio 1.1's time, which builds in about two minutes on two cores.
const CONSUL: GoProgram = GoProgram {
    name: "consul",
    package: "github.com/hashicorp/consul",
    variable: "CONSUL_BIN",
    version: "1.6.10",
    build: Build {
        module: Module::Published("github.com/hashicorp/consul"),
        flags: &["-mod=mod", "-trimpath"],
    },
};

/// What users install the charts with. Five CPU minutes when nothing is cached.
const HELM: GoProgram = GoProgram {
    name: "helm",
    package: "helm.sh/helm/v4/cmd/helm",
    variable: "HELM_BIN",
    version: "4.3.1",
    build: Build {
        module: Module::Published("helm.sh/helm/v4"),
        flags: &[
            "-mod=mod",
            "-trimpath",
            "-ldflags=-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
        ],
    },
};

/// The module under `e2e/kube`: the parts of Kubernetes with the checksums of all that they are made of.
const KUBE_MODULE: Module = Module::Own {
    go_mod: include_str!("../../../../e2e/kube/go.mod"),
    go_sum: include_str!("../../../../e2e/kube/go.sum"),
};

/// How the parts of Kubernetes are built. The published module does not know its own version.
const KUBE: Build = Build {
    module: KUBE_MODULE,
    flags: &[
        "-trimpath",
        "-ldflags=-s -w \
         -X k8s.io/component-base/version.gitVersion=v1.33.13 \
         -X k8s.io/component-base/version.gitMajor=1 \
         -X k8s.io/component-base/version.gitMinor=33 \
         -X k8s.io/component-base/version.gitTreeState=archive",
    ],
};

/// Seven CPU minutes when nothing is cached.
const KUBE_APISERVER: GoProgram = GoProgram {
    name: "kube-apiserver",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    variable: "KUBE_APISERVER_BIN",
    version: "1.33.13",
    build: KUBE,
};

const KUBECTL: GoProgram = GoProgram {
    name: "kubectl",
    package: "k8s.io/kubernetes/cmd/kubectl",
    variable: "KUBECTL_BIN",
    version: "1.33.13",
    build: KUBE,
};

/// The etcd that this Kubernetes is released with; Debian's is older than what it supports.
const ETCD: GoProgram = GoProgram {
    name: "etcd",
    package: "go.etcd.io/etcd/server/v3",
    variable: "ETCD_BIN",
    version: "3.5.21",
    build: KUBE,
};

/// The last Flagger that writes `networking.istio.io/v1alpha3`. Four CPU minutes when nothing is cached.
const FLAGGER: GoProgram = GoProgram {
    name: "flagger",
    package: "github.com/fluxcd/flagger/cmd/flagger",
    variable: "FLAGGER_BIN",
    version: "1.36.1",
    build: Build {
        module: FLAGGER_MODULE,
        flags: &["-trimpath", "-ldflags=-s -w"],
    },
};

/// The module under `e2e/flagger`: Flagger with the checksums of all that it is made of.
const FLAGGER_MODULE: Module = Module::Own {
    go_mod: include_str!("../../../../e2e/flagger/go.mod"),
    go_sum: include_str!("../../../../e2e/flagger/go.sum"),
};

/// The files of Flagger's module that are installed into a cluster before the program runs.
const FLAGGER_MANIFESTS: [&str; 2] = ["artifacts/flagger/crd.yaml", "artifacts/flagger/account.yaml"];

/// Exit code of `nice` when there is no such program.
const NOT_FOUND: i32 = 127;

/// A program and how it is built.
struct GoProgram {
    name: &'static str,
    package: &'static str,
    /// Names an executable that is used instead.
    variable: &'static str,
    version: &'static str,
    build: Build,
}

/// What programs are built from.
struct Build {
    module: Module,
    flags: &'static [&'static str],
}

/// Where a program's package is found.
enum Module {
    /// In a module of this path, which an empty one requires at the version of the program.
    Published(&'static str),
    /// In what a module of our own requires.
    Own {
        go_mod: &'static str,
        go_sum: &'static str,
    },
}

/// Path of Consul's executable: `$CONSUL_BIN` if set, else the cached one, built if need be.
///
/// Blocks while it builds. May be called from many threads and processes at once.
///
/// # Errors
/// When `$CONSUL_BIN` is no file, or building fails; the message says what to install. So for all of this kind.
pub fn consul() -> Result<PathBuf> {
    CONSUL.provide()
}

/// Path of Helm: `$HELM_BIN` if set, else the cached one, built if need be.
///
/// # Errors
/// As [`consul`].
pub fn helm() -> Result<PathBuf> {
    HELM.provide()
}

/// Path of the Kubernetes API server: `$KUBE_APISERVER_BIN` if set, else the cached one, built if need be.
///
/// # Errors
/// As [`consul`].
pub fn kube_apiserver() -> Result<PathBuf> {
    KUBE_APISERVER.provide()
}

/// Path of kubectl: `$KUBECTL_BIN` if set, else the cached one, built if need be.
///
/// # Errors
/// As [`consul`].
pub fn kubectl() -> Result<PathBuf> {
    KUBECTL.provide()
}

/// Path of etcd: `$ETCD_BIN` if set, else the cached one, built if need be.
///
/// # Errors
/// As [`consul`].
pub fn etcd() -> Result<PathBuf> {
    ETCD.provide()
}

/// Path of Flagger: `$FLAGGER_BIN` if set, else the cached one, built if need be.
///
/// # Errors
/// As [`consul`].
pub fn flagger() -> Result<PathBuf> {
    FLAGGER.provide()
}

/// Path of a file with what Flagger comes with: the definitions of its kinds, and its service account in the namespace
/// `default` with all that it may do.
///
/// # Errors
/// As [`consul`].
pub fn flagger_manifests() -> Result<PathBuf> {
    cached("flagger-manifests", FLAGGER.version, |folder, path| {
        let scratch = tempfile::tempdir_in(folder)?;
        FLAGGER.write_module(scratch.path())?;
        let module = FLAGGER.package.trim_end_matches("/cmd/flagger");
        let mut command = Command::new("go");
        command
            .args(["mod", "download", "-json", module])
            .current_dir(scratch.path());
        let output = run(&mut command, "mod download")?;
        let downloaded: Value = serde_json::from_slice(&output)?;
        let sources = Path::new(downloaded["Dir"].as_str().context("go does not say where")?);
        let mut text = String::new();
        for file in FLAGGER_MANIFESTS {
            text += "---\n";
            text += &fs::read_to_string(sources.join(file)).with_context(|| file.to_owned())?;
        }
        let whole = scratch.path().join("whole");
        fs::write(&whole, text)?;
        // Whoever sees the file sees all of it.
        fs::rename(&whole, path)?;
        Ok(())
    })
}

/// What `go` prints.
fn run(command: &mut Command, what: &str) -> Result<Vec<u8>> {
    let missing = || Missing {
        what: "go".to_owned(),
        remedy: "install it from https://go.dev/dl".to_owned(),
    };
    let output = match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(missing()),
        result => result.with_context(|| format!("cannot run go {what}"))?,
    };
    if output.status.code() == Some(NOT_FOUND) {
        bail!(missing());
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "go {what} failed: {}",
            text.lines().last().unwrap_or("no reason given")
        );
    }
    Ok(output.stdout)
}

// === impl GoProgram ===

impl GoProgram {
    fn provide(&self) -> Result<PathBuf> {
        match named_by(self.variable)? {
            Some(path) => Ok(path),
            None => cached(self.name, self.version, |folder, path| self.build(folder, path)),
        }
    }

    /// Builds the program as a dependency of another module: one that replaces parts of itself cannot be installed by
    /// its name.
    fn build(&self, folder: &Path, path: &Path) -> Result<()> {
        let scratch = tempfile::tempdir_in(folder)?;
        self.write_module(scratch.path())?;
        let binary = scratch.path().join(self.name);
        // The tests of others on this machine come first.
        let mut command = Command::new("nice");
        command
            .args(["-n", "10", "go", "build"])
            .args(self.build.flags)
            .arg("-o")
            .arg(&binary)
            .arg(self.package)
            .current_dir(scratch.path())
            .env("CGO_ENABLED", "0");
        run(&mut command, "build")?;
        // Whoever sees the file sees all of it.
        fs::rename(&binary, path)?;
        Ok(())
    }

    /// Writes the module that requires the program.
    fn write_module(&self, folder: &Path) -> io::Result<()> {
        let go_mod = folder.join("go.mod");
        match self.build.module {
            Module::Published(path) => {
                let version = self.version;
                fs::write(
                    go_mod,
                    format!("module provision\n\ngo 1.21\n\nrequire {path} v{version}\n"),
                )
            }
            Module::Own { go_mod: text, go_sum } => {
                fs::write(go_mod, text)?;
                fs::write(folder.join("go.sum"), go_sum)
            }
        }
    }
}
