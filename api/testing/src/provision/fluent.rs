//! The forward protocol as the Fluent project implements it for Node.js: two packages of npm, which run in the `node` of
//! this machine. Nothing else is fetched, and no script of them is run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::npm::{self, Archive};
use super::{cached, named_by};

const LOGGER: Archive = Archive {
    package: "@fluent-org/logger",
    version: "1.0.10",
    sha256: "6c0d5cde2baa9c242b405e9e5e16185304514e624a4ddcc05f362fdf1ce76f46",
};

/// All that it needs.
const MSGPACK: Archive = Archive {
    package: "@msgpack/msgpack",
    version: "2.8.0",
    sha256: "58502da6fabb0ae780dd5521bf770ee23274ed2ee87d8807f033410bfbf77608",
};

/// What is kept of it: a module that is the package.
const MODULE: &str = "module.exports = require('./node_modules/@fluent-org/logger');\n";

/// Path of a module of Node.js with a server of the forward protocol: `$FLUENT_LOGGER_JS` if set, else the cached one,
/// fetched if need be.
///
/// # Errors
/// When `$FLUENT_LOGGER_JS` is no file, or node or npm is missing, or fetching fails, or an archive is not the one that was
/// pinned; the message says what to install.
pub fn fluent_logger() -> Result<PathBuf> {
    match named_by("FLUENT_LOGGER_JS")? {
        Some(path) => Ok(path),
        None => cached("fluent-logger.js", LOGGER.version, fetch),
    }
}

fn fetch(folder: &Path, path: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(folder)?;
    let modules = folder.join("node_modules");
    // What an attempt left that did not get to the end.
    let _ = fs::remove_dir_all(&modules);
    for archive in [LOGGER, MSGPACK] {
        let unpacked = npm::unpack(&archive, scratch.path())?;
        let place = modules.join(archive.package);
        fs::create_dir_all(place.parent().context("a package is in a folder")?)?;
        fs::rename(unpacked, &place)?;
        ensure!(
            place.join("package.json").is_file(),
            "{} is no package",
            archive.package
        );
    }
    let module = scratch.path().join("module.js");
    fs::write(&module, MODULE)?;
    // Whoever sees the file sees all of it.
    Ok(fs::rename(&module, path)?)
}
