//! Golden bootstrap files, each of which both supported versions of Envoy must accept.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bootstrap;
use crate::config::Config;
use crate::config::tests::resolve;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(ROOT).join("testdata/bootstrap");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 12, "only {} cases found", cases.len());
    cases
}

/// Reads a case: lines of `NAME=value`, and one line of flags.
fn config(case: &Path) -> Config {
    let text = std::fs::read_to_string(case.join("flags")).unwrap();
    let is_variable = |line: &&str| {
        line.split_once('=')
            .is_some_and(|(name, _)| !name.starts_with('-') && !name.contains(' '))
    };
    let env: Vec<_> = text
        .lines()
        .filter(is_variable)
        .filter_map(|line| line.split_once('='))
        .collect();
    let line = text.lines().find(|line| !is_variable(line)).unwrap_or_default();
    let mut config = resolve(line, &env, &[]).unwrap();
    // What the agent does with a name, done here with an address.
    config.statsd = config
        .statsd_address
        .as_ref()
        .map(|address| address.to_string().parse().unwrap());
    config
}

/// Compares every `bootstrap.json` with what its `flags` give. With `UPDATE_GOLDEN=1` the files are
/// written instead.
#[test]
fn golden_bootstraps() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = String::new();
    for case in cases() {
        let got = format!("{:#}\n", bootstrap(&config(&case)));
        let golden = case.join("bootstrap.json");
        if update {
            std::fs::write(&golden, got).unwrap();
            continue;
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != want {
            let first = got.lines().zip(want.lines()).position(|(got, want)| got != want);
            let line = first.unwrap_or_else(|| got.lines().count().min(want.lines().count()));
            let (got, want) = (got.lines().nth(line), want.lines().nth(line));
            writeln!(
                wrong,
                "{}:{}: want {want:?}, got {got:?}",
                golden.display(),
                line + 1
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn both_supported_versions_of_envoy_accept_every_golden_bootstrap() {
    let envoys = [
        mesh_testing::provision::envoy().unwrap(),
        mesh_testing::provision::envoy_floor().unwrap(),
    ];
    for case in cases() {
        for envoy in &envoys {
            let output = Command::new(envoy)
                .args([
                    "--mode",
                    "validate",
                    "--disable-hot-restart",
                    "-l",
                    "warning",
                    "-c",
                ])
                .arg(case.join("bootstrap.json"))
                // The certificates are named relative to the package.
                .current_dir(ROOT)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{} {}: {said}",
                envoy.display(),
                case.display()
            );
            assert!(
                !said.contains("deprecated"),
                "{} {}: {said}",
                envoy.display(),
                case.display()
            );
        }
    }
}
