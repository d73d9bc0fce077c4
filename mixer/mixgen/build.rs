//! Takes the protos along that adapters are written against, so that `mixgen` needs nothing beside itself.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Include root, and the folders in it. Files of later roots hide nothing.
const ROOTS: &[(&str, &[&str])] = &[
    (
        "../../api/proto",
        &["istio/mixer/adapter", "istio/policy", "mixer/template"],
    ),
    ("proto", &["google/rpc"]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let mut files = Vec::new();
    for (root, folders) in ROOTS {
        let root = package.join(root).canonicalize()?;
        for folder in *folders {
            println!("cargo:rerun-if-changed={}", root.join(folder).display());
            collect(&root, &root.join(folder), &mut files)?;
        }
    }
    files.sort();
    let mut table = String::from("&[\n");
    for (name, path) in files {
        writeln!(table, "    ({name:?}, include_str!({path:?})),")?;
    }
    table.push(']');
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("protos.rs"), table)?;
    Ok(())
}

/// The .proto files below a folder, with their names for imports.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            let name = path
                .strip_prefix(root)?
                .to_str()
                .ok_or("a name that is not UTF-8")?;
            files.push((name.to_owned(), path));
        }
    }
    Ok(())
}
