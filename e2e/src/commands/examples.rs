//! `cargo mesh test --list-examples`: what became of every example of the specification.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::say;
use crate::coverage::{Requirement, borne, examples};
use crate::mesh::programs::{Programs, workspace};

/// Packages whose tests may bear ids of examples.
const PACKAGES: [&str; 16] = [
    "charts",
    "e2e",
    "mixc",
    "mixer",
    "mixer-adapter",
    "mixer-adapters",
    "mixer-attribute",
    "mixer-dynamic",
    "mixer-expr",
    "mixer-runtime",
    "mixer-template",
    "mixgen",
    "mygrpcprint",
    "pilot",
    "pilot-networking",
    "sampleprint",
];

/// A program of tests.
struct Binary {
    path: PathBuf,
    /// Folder of its package, in which it runs.
    folder: PathBuf,
}

/// Whether tests passed, by their names.
type Results = BTreeMap<String, bool>;

/// Runs the tests and prints the list. `env` are variables for the tests.
pub(super) fn run(env: &[(&str, PathBuf)]) -> Result<ExitCode> {
    // The mesh of a test runs programs of all packages.
    Programs::build()?;
    let mut results = Results::new();
    for binary in binaries()? {
        let tests = binary.tests()?;
        if !tests.is_empty() {
            say(&format!(
                "running {} tests of {}",
                tests.len(),
                binary.path.display()
            ));
            results.extend(binary.run(&tests, env)?);
        }
    }
    show(&results)
}

/// Prints the list for what a run of all tests printed to `log`.
pub(super) fn read(log: &Path) -> Result<ExitCode> {
    let text = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut results = Results::new();
    // Tests of two packages may have one name.
    for (test, good) in String::from_utf8_lossy(&text).lines().filter_map(result) {
        *results.entry(test).or_insert(true) &= good;
    }
    show(&results)
}

fn show(results: &Results) -> Result<ExitCode> {
    let (table, good) = table(&examples()?, results);
    say(&table);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds the tests.
fn binaries() -> Result<Vec<Binary>> {
    let output = cargo()
        .args(["test", "--quiet", "--no-run", "--message-format=json"])
        .args(PACKAGES.iter().flat_map(|name| ["-p", name]))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binary = |message: Value| {
        let is_test = message["profile"]["test"] == true;
        let path = message["executable"].as_str().filter(|_| is_test)?;
        let manifest = Path::new(message["manifest_path"].as_str()?);
        Some(Binary {
            path: path.into(),
            folder: manifest.parent()?.to_owned(),
        })
    };
    Ok(messages.filter_map(binary).collect())
}

// === impl Binary ===

impl Binary {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }

    /// Names of the tests that bear ids.
    fn tests(&self) -> Result<Vec<String>> {
        let output = self
            .command()
            .args(["--list", "--format", "terse"])
            .output()
            .with_context(|| format!("cannot run {}", self.path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names
            .filter(|name| !borne(name).is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// Runs these tests and no others.
    fn run(&self, tests: &[String], env: &[(&str, PathBuf)]) -> Result<Results> {
        // Golden cases have a harness that takes one name at a time; they begin with `ex-` and are quick.
        let golden = tests.iter().all(|test| test.starts_with("ex-"));
        let mut results = Results::new();
        for names in tests.chunks(if golden { 1 } else { tests.len() }) {
            let output = self
                .command()
                .arg("--exact")
                .args(names)
                .envs(env.iter().map(|(name, value)| (name, value)))
                .stderr(Stdio::inherit())
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            if !output.status.success() {
                say(&text);
            }
            // A test that was not reached, because another one ended the program, has not passed.
            results.extend(names.iter().map(|name| (name.clone(), false)));
            results.extend(text.lines().filter_map(result));
        }
        Ok(results)
    }
}

/// Reads a line such as `test routing::ex_08 ... ok`.
fn result(line: &str) -> Option<(String, bool)> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.trim().to_owned(), result.trim() == "ok"))
}

/// The list, and whether nothing failed.
fn table(examples: &[Requirement], results: &Results) -> (String, bool) {
    let mut lines = Vec::new();
    let (mut passed, mut failed, mut uncovered) = (0, 0, 0);
    for Requirement { id, title, excuse } in examples {
        let tests = results.iter().filter(|(test, _)| borne(test).contains(*id));
        let tests: Vec<(&String, &bool)> = tests.collect();
        let bad: Vec<&str> = tests
            .iter()
            .filter(|(_, good)| !**good)
            .map(|(test, _)| test.as_str())
            .collect();
        let (result, remark) = if !bad.is_empty() {
            failed += 1;
            ("failed", bad.join(", "))
        } else if let Some(excuse) = excuse {
            uncovered += 1;
            let configuration = if tests.is_empty() {
                ""
            } else {
                "; its configuration is right"
            };
            ("not covered", format!("{excuse}{configuration}"))
        } else if tests.is_empty() {
            failed += 1;
            ("failed", "no test bears the id".to_owned())
        } else {
            passed += 1;
            ("passed", String::new())
        };
        let remark = if remark.is_empty() {
            remark
        } else {
            format!(" ({remark})")
        };
        lines.push(format!("{id:<8} {result:<12} {title}{remark}"));
    }
    lines.push(format!(
        "\n{} examples: {passed} passed, {failed} failed, {uncovered} not covered",
        examples.len()
    ));
    (lines.join("\n"), failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_both_harnesses_print_them() {
        assert_eq!(
            result("test routing::ex_08_x ... ok"),
            Some(("routing::ex_08_x".to_owned(), true))
        );
        assert_eq!(
            result("test ex-08-x     ... FAILED"),
            Some(("ex-08-x".to_owned(), false))
        );
        assert_eq!(result("test result: ok. 1 passed; 0 failed"), None);
    }

    #[test]
    fn every_example_has_a_line() {
        let example = |id, excuse| Requirement {
            id,
            title: "what",
            excuse,
        };
        let examples = [
            example("EX01", None),
            example("EX02", None),
            example("EX07", Some("no configuration")),
            example("EX-1103", None),
        ];
        let results = Results::from([
            ("a::ex_01_x".to_owned(), true),
            ("ex-02-y".to_owned(), true),
            ("a::ex_02_y".to_owned(), false),
        ]);
        let (table, good) = table(&examples, &results);
        assert!(!good);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "EX01     passed       what");
        assert_eq!(lines[1], "EX02     failed       what (a::ex_02_y)");
        assert_eq!(lines[2], "EX07     not covered  what (no configuration)");
        assert_eq!(lines[3], "EX-1103  failed       what (no test bears the id)");
        assert!(lines[5].contains("1 passed, 2 failed, 1 not covered"), "{table}");
    }
}
