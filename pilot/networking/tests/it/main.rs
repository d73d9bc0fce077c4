//! Cases: folders below `testdata` with configuration, proxies, and what must come out.
//!
//! | file | content |
//! |---|---|
//! | `in.yaml` | Kubernetes and Istio objects |
//! | `proxy.yaml` | the proxies that are asked about, see [`harness::Setup`] |
//! | `mesh.yaml` | mesh configuration over the defaults; optional |
//! | `calls.yaml` | calls and what becomes of them, see [`calls`]; optional |
//! | `want/<type>.yaml` | resources of the first proxy; only those that it names are compared; optional |
//! | `warnings.txt` | all findings of all proxies; without it there must be none |
//!
//! `UPDATE_GOLDEN=1` rewrites `want` and `warnings.txt`. What every proxy gets must be accepted by every supported Envoy.

mod acceptance;
mod calls;
mod golden;
mod harness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::harness::Case;

type Check = fn(&Case) -> Result<(), Failed>;

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for folder in cases() {
        let case = Arc::new(Case::new(folder));
        let mut add = |check: &str, run: Check| {
            let case = Arc::clone(&case);
            trials.push(Trial::test(format!("{}::{check}", case.name()), move || {
                run(&case)
            }));
        };
        if case.has("calls.yaml") {
            add("calls", calls::check);
        }
        if case.has("want") {
            add("resources", golden::resources);
        }
        add("warnings", golden::warnings);
        add("accepted", acceptance::current);
        add("accepted_by_the_floor", acceptance::floor);
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The case folders, by name.
fn cases() -> Vec<PathBuf> {
    let root = harness::testdata();
    let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.join("in.yaml").is_file())
        .collect();
    folders.sort();
    folders
}
