//! Packages of Python: wheels of the package index, kept in the cache, from which pip installs without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::{cached, missing_pip, sha256};

/// Folder with the wheels that a file of requirements pins with checksums, fetched if need be: for
/// `pip install --no-index --find-links`.
///
/// # Errors
/// When pip or the network is missing, or a wheel is not the one that was pinned.
pub fn wheels(requirements: &Path) -> Result<PathBuf> {
    let version = sha256(requirements)?;
    let list = cached("wheels", &version, |folder, path| {
        fetch(requirements, folder, path)
    })?;
    list.parent()
        .map(Path::to_owned)
        .context("the cache is no folder")
}

/// Virtual environment in which a file of requirements is installed, made if need be. As a project would do it, its
/// `installed.txt` says what is.
///
/// # Errors
/// As [`wheels`], or when Python has no `venv`.
pub fn environment(requirements: &Path) -> Result<PathBuf> {
    let wheels = wheels(requirements)?;
    let version = sha256(requirements)?;
    let done = cached("venv", &version, |folder, path| {
        let environment = folder.join("environment");
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        run(Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--require-hashes", "--no-index", "--find-links"])
            .arg(wheels)
            .arg("--requirement")
            .arg(requirements))?;
        fs::copy(requirements, environment.join("installed.txt"))?;
        fs::copy(requirements, path)?;
        Ok(())
    })?;
    Ok(done.with_file_name("environment"))
}

fn fetch(requirements: &Path, folder: &Path, path: &Path) -> Result<()> {
    run(Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(requirements)
        .arg("--dest")
        .arg(folder))?;
    // It says that the folder is complete.
    fs::copy(requirements, path)?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot run python3")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("No module named pip") {
        bail!(missing_pip("pip"));
    }
    ensure!(output.status.success(), "{command:?} failed: {text}");
    Ok(())
}
