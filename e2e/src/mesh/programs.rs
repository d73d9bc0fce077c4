//! The programs that a mesh runs: our own, built from this workspace, and Envoy.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::helper::protocol::Bind;

/// Programs of this workspace that pods may run, by the name under which they find them.
const NAMES: [&str; 7] = [
    "galley",
    "mixs",
    "mixc",
    "pilot-discovery",
    "pilot-agent",
    "istio-iptables",
    "mesh-sample",
];

/// The helper program.
const HELPER: &str = "mesh-pod";

/// Packages of the programs above. The first group is what a plain `cargo build` builds, the second what
/// `cargo run --bin mesh` builds: asking for them apart keeps cargo from building dependencies twice.
const PACKAGES: [&[&str]; 2] = [
    &[
        "galley",
        "mixer",
        "mixc",
        "pilot",
        "pilot-agent",
        "pilot-agent-iptables",
    ],
    &["e2e"],
];

/// Folder of a pod that holds the programs.
const BIN: &str = "/usr/local/bin";

/// Pods run the programs as other users, whatever the umask was when they were built.
const EVERYBODY: u32 = 0o555;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    envoy: PathBuf,
}

// === impl Programs ===

impl Programs {
    /// The programs beside the running one.
    ///
    /// # Errors
    /// When one is missing.
    pub fn locate(envoy: PathBuf) -> Result<Self> {
        let programs = Self {
            folder: folder()?,
            envoy,
        };
        for name in NAMES.iter().chain([&HELPER]) {
            let path = programs.folder.join(name);
            if !path.is_file() {
                bail!("{} is not built: run without --no-build", path.display());
            }
            let permissions = fs::metadata(&path)?.permissions();
            if permissions.mode() & EVERYBODY != EVERYBODY {
                fs::set_permissions(&path, Permissions::from_mode(permissions.mode() | EVERYBODY))
                    .with_context(|| format!("{} must be executable for everybody", path.display()))?;
            }
        }
        Ok(programs)
    }

    /// Builds all programs; quick when they are up to date.
    ///
    /// # Errors
    /// When cargo is missing or the build fails; its output has said why.
    pub fn build() -> Result<()> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let release = folder()?.ends_with("release");
        for group in PACKAGES {
            let mut command = Command::new(&cargo);
            command
                .args(["build", "--quiet", "--bins"])
                .current_dir(workspace());
            if release {
                command.arg("--release");
            }
            command.args(group.iter().flat_map(|name| ["-p", name]));
            let status = command.status().context("cannot run cargo")?;
            if !status.success() {
                bail!("cargo build failed");
            }
        }
        Ok(())
    }

    /// The helper program beside the running one.
    ///
    /// # Errors
    /// When the running program's path is unknown.
    pub fn helper_program() -> Result<PathBuf> {
        Ok(folder()?.join(HELPER))
    }

    /// The helper that enters namespaces.
    pub(crate) fn helper(&self) -> PathBuf {
        self.folder.join(HELPER)
    }

    /// How pods see the programs.
    pub(crate) fn binds(&self) -> Vec<Bind> {
        let bind = |source: &Path, name: &str| Bind {
            source: source.to_owned(),
            target: Path::new(BIN).join(name),
            read_only: false,
        };
        NAMES
            .iter()
            .map(|name| bind(&self.folder.join(name), name))
            .chain([bind(&self.envoy, "envoy")])
            .collect()
    }
}

/// The root of this workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The build folder, such as `target`.
///
/// # Errors
/// When the running program's path is unknown.
pub fn target() -> Result<PathBuf> {
    let folder = folder()?;
    Ok(folder.parent().unwrap_or(&folder).to_owned())
}

/// The folder of the running program and its siblings, such as `target/debug`.
fn folder() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let folder = own.parent().context("this program has no folder")?;
    // Tests lie one level deeper.
    let outer = if folder.ends_with("deps") {
        folder.parent()
    } else {
        None
    };
    Ok(outer.unwrap_or(folder).to_owned())
}
