//! The invariants of the tree that can be checked by reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Longest file below `src`, in lines.
const MAX_LINES: usize = 800;

/// What each package may use of the workspace (ARCHITECTURE.md, "Allowed edges"). `None`: anything.
const EDGES: &[(&str, Option<&[&str]>)] = &[
    ("mesh-api", Some(&[])),
    ("mesh-identity", Some(&[])),
    ("mesh-runtime", Some(&[])),
    ("pilot-agent-iptables", Some(&[])),
    ("mesh-config", Some(&["mesh-api"])),
    ("mesh-mcp", Some(&["mesh-api", "mesh-config", "mesh-runtime"])),
    ("mesh-kube", Some(&["mesh-api", "mesh-config", "mesh-runtime"])),
    ("mesh-testing", Some(&["mesh-api", "mesh-config"])),
    (
        "galley-processing",
        Some(&["mesh-api", "mesh-config", "mesh-kube", "mesh-mcp", "mesh-runtime"]),
    ),
    ("galley-analysis", Some(&["mesh-api", "mesh-config"])),
    ("galley-validation", Some(&["mesh-config"])),
    (
        "galley-webhook",
        Some(&["galley-validation", "mesh-config", "mesh-kube", "mesh-runtime"]),
    ),
    (
        "galley",
        Some(&[
            "galley-analysis",
            "galley-processing",
            "galley-validation",
            "galley-webhook",
            "mesh-api",
            "mesh-config",
            "mesh-identity",
            "mesh-kube",
            "mesh-mcp",
            "mesh-runtime",
        ]),
    ),
    ("mixer-attribute", Some(&["mesh-api"])),
    ("mixer-expr", Some(&["mesh-config", "mixer-attribute"])),
    (
        "mixer-template",
        Some(&["mesh-api", "mesh-config", "mixer-attribute", "mixer-expr"]),
    ),
    ("mixc", Some(&["mesh-api", "mesh-runtime", "mixer-attribute"])),
    ("mixgen", Some(&["mesh-runtime"])),
    (
        "mixer-adapter",
        Some(&[
            "mesh-api",
            "mesh-config",
            "mesh-runtime",
            "mixer-attribute",
            "mixer-expr",
            "mixer-template",
        ]),
    ),
    (
        "mixer-adapters",
        Some(&[
            "mesh-api",
            "mesh-kube",
            "mesh-runtime",
            "mixer-adapter",
            "mixer-attribute",
            "mixer-template",
        ]),
    ),
    (
        "mixer-dynamic",
        Some(&[
            "mesh-api",
            "mesh-config",
            "mesh-runtime",
            "mixer-adapter",
            "mixer-attribute",
            "mixer-expr",
            "mixer-template",
        ]),
    ),
    (
        "mixer-runtime",
        Some(&[
            "mesh-api",
            "mesh-config",
            "mesh-runtime",
            "mixer-adapter",
            "mixer-attribute",
            "mixer-dynamic",
            "mixer-expr",
            "mixer-template",
        ]),
    ),
    ("mixer-sdk", Some(&["mesh-api", "mesh-runtime"])),
    ("mygrpcprint", Some(&["mixer-sdk"])),
    (
        "sampleprint",
        Some(&["mixer", "mixer-adapter", "mixer-attribute", "mixer-template"]),
    ),
    (
        "mixer",
        Some(&[
            "charts",
            "galley-processing",
            "mesh-api",
            "mesh-config",
            "mesh-kube",
            "mesh-mcp",
            "mesh-runtime",
            "mixer-adapter",
            "mixer-adapters",
            "mixer-attribute",
            "mixer-runtime",
            "mixer-template",
        ]),
    ),
    ("pilot-model", Some(&["mesh-api", "mesh-config"])),
    (
        "pilot-networking",
        Some(&["mesh-api", "mesh-config", "pilot-model"]),
    ),
    (
        "pilot-registry",
        Some(&[
            "mesh-api",
            "mesh-config",
            "mesh-kube",
            "mesh-mcp",
            "mesh-runtime",
            "pilot-model",
        ]),
    ),
    (
        "pilot-xds",
        Some(&[
            "mesh-api",
            "mesh-config",
            "mesh-runtime",
            "pilot-model",
            "pilot-networking",
        ]),
    ),
    (
        "pilot",
        Some(&[
            "galley-processing",
            "mesh-api",
            "mesh-config",
            "mesh-kube",
            "mesh-mcp",
            "mesh-runtime",
            "pilot-model",
            "pilot-networking",
            "pilot-registry",
            "pilot-xds",
        ]),
    ),
    ("pilot-agent", Some(&["mesh-runtime"])),
    ("sidecar-injector", Some(&["mesh-api", "mesh-config"])),
    ("charts", Some(&["mesh-api", "mesh-config"])),
    ("e2e", None),
];

/// Packages without I/O, clock and randomness.
const PURE: &[&str] = &[
    "charts",
    "galley-analysis",
    "galley-validation",
    "mesh-config",
    "mesh-identity",
    "mixer-attribute",
    "mixer-expr",
    "mixer-template",
    "pilot-model",
    "pilot-networking",
    "sidecar-injector",
];
/// What a pure package must not depend on.
const IMPURE_DEPENDENCIES: &[&str] = &[
    "axum", "hyper", "kube", "nix", "notify", "rand", "reqwest", "tokio", "tonic", "tracing",
];
/// What the source of a pure package must not name.
const IMPURE_PATHS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
];

/// One package of the workspace.
struct Package {
    name: String,
    folder: PathBuf,
    dependencies: BTreeSet<String>,
    dev_dependencies: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e is a folder of the workspace")
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    packages
        .iter()
        .map(|package| {
            let dependencies = |dev: bool| {
                let all = package["dependencies"].as_array().expect("a list").iter();
                let wanted = all.filter(|dependency| (dependency["kind"] == "dev") == dev);
                wanted.map(|dependency| text(&dependency["name"])).collect()
            };
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            Package {
                name: text(&package["name"]),
                folder: manifest.parent().expect("a manifest has a folder").to_owned(),
                dependencies: dependencies(false),
                dev_dependencies: dependencies(true),
            }
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Files below `folder` with one of the extensions; build output and nested packages excluded.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.expect("readable").path()) {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path
                .extension()
                .and_then(|e| e.to_str())
                .is_some_and(|e| extensions.contains(&e))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn packages_use_only_what_they_may() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let edges: BTreeMap<&str, Option<&[&str]>> = EDGES.iter().copied().collect();
    let mut problems = Vec::new();
    for package in &packages {
        let Some(allowed) = edges.get(package.name.as_str()) else {
            problems.push(format!("{} is not in the table of edges", package.name));
            continue;
        };
        let Some(allowed) = allowed else {
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| names.contains(dependency.as_str()))
        {
            if !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{} must not use {dependency}", package.name));
            }
        }
        // Tests may look further, but not into the services or the end-to-end tests.
        for dependency in &package.dev_dependencies {
            if dependency == "e2e" {
                problems.push(format!("{} must not use {dependency} in tests", package.name));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn pure_packages_do_no_io() {
    let mut problems = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()))
    {
        let impure = package
            .dependencies
            .iter()
            .filter(|name| IMPURE_DEPENDENCIES.contains(&name.as_str()));
        problems.extend(impure.map(|name| format!("{} depends on {name}", package.name)));
        for file in own_sources(package) {
            for (number, line) in read(&file).lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(path) = IMPURE_PATHS.iter().find(|path| code.contains(**path)) {
                    problems.push(format!(
                        "{}:{}: {path} in a pure package",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn dependencies_take_their_version_from_the_workspace() {
    let mut problems = Vec::new();
    for package in packages() {
        let manifest = package.folder.join("Cargo.toml");
        let mut in_dependencies = false;
        for line in read(&manifest).lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
                problems.push(format!("{}: {line}", manifest.display()));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_architecture_names_every_package() {
    let architecture = read(&root().join("ARCHITECTURE.md"));
    let missing = packages()
        .into_iter()
        .filter(|package| !architecture.contains(&format!("`{}`", package.name)));
    assert_none(
        &missing
            .map(|package| format!("ARCHITECTURE.md does not mention {}", package.name))
            .collect::<Vec<_>>(),
    );
}

/// Longer runs and other seeds help only who knows of them.
#[test]
fn contributors_are_told_of_every_variable_of_tests() {
    const PREFIX: &str = "MESH_TEST_";
    let told = read(&root().join("CONTRIBUTING.md"));
    let mut missing = BTreeSet::new();
    for path in files(root(), &["rs"]) {
        // What follows the prefix, as far as it is a name.
        let text = read(&path);
        let names = text.split(PREFIX).skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
            format!("`{PREFIX}{}", &rest[..end.unwrap_or(rest.len())])
        });
        missing.extend(names.filter(|name| name.len() > PREFIX.len() + 1 && !told.contains(name)));
    }
    let missing = missing.iter();
    assert_none(
        &missing
            .map(|name| format!("CONTRIBUTING.md does not mention {name}`"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn source_files_are_short_and_say_what_they_are() {
    let mut problems = Vec::new();
    for file in files(root(), &["rs"]) {
        let content = read(&file);
        let lines = content.lines().count();
        let is_test = file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs");
        if lines > MAX_LINES && !is_test {
            problems.push(format!("{}: {lines} lines", file.display()));
        }
        if !content.starts_with("//!") && !is_test {
            problems.push(format!(
                "{}: the first line does not start with //!",
                file.display()
            ));
        }
        for (number, line) in content.lines().enumerate() {
            // Spelled apart, so that this file does not find itself.
            for forbidden in [concat!("#[", "ignore"), concat!("#[", "should_panic")] {
                if line.trim_start().starts_with(forbidden) {
                    problems.push(format!("{}:{}: {forbidden}", file.display(), number + 1));
                }
            }
            if line.ends_with(' ') || line.ends_with('\t') {
                problems.push(format!("{}:{}: trailing space", file.display(), number + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_source_file_is_mounted() {
    let mut problems = Vec::new();
    for package in packages() {
        let sources = own_sources(&package);
        let all: String = sources.iter().map(|file| read(file)).collect();
        for file in &sources {
            let stem = file
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            let parent = file
                .parent()
                .and_then(Path::file_name)
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if matches!(stem, "lib" | "main") || parent == "bin" {
                continue;
            }
            let module = if stem == "mod" { parent } else { stem };
            if !all.contains(&format!("mod {module};")) {
                problems.push(format!("{}: no module mounts it", file.display()));
            }
        }
    }
    assert_none(&problems);
}

/// The files below `src` of a package.
fn own_sources(package: &Package) -> Vec<PathBuf> {
    files(&package.folder.join("src"), &["rs"])
}
