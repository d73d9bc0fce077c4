//! Finds tests and golden cases by reading the tree.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Folders in which there are no tests of ours.
const SKIPPED: &[&str] = &["target", "want"];

/// A test, or a golden case, and the ids that it bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Where it stands, below the workspace; for a golden case the folder that holds it.
    pub file: PathBuf,
    /// Name of the function or of the case.
    pub name: String,
    /// Those of the wanted ids that it bears.
    pub ids: BTreeSet<String>,
}

/// All tests and golden cases of the workspace that bear one of the ids.
///
/// # Errors
///
/// When a file cannot be read.
pub fn bearers(workspace: &Path, ids: &[&str]) -> Result<Vec<Bearer>> {
    let mut found = Vec::new();
    visit(workspace, workspace, ids, &mut found)?;
    found.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
    Ok(found)
}

fn visit(workspace: &Path, folder: &Path, ids: &[&str], found: &mut Vec<Bearer>) -> Result<()> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let is_testdata = folder.file_name() == Some(OsStr::new("testdata"));
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if path.is_dir() {
            if name.starts_with('.') || SKIPPED.contains(&name) {
                continue;
            }
            if is_testdata {
                let texts = case_texts(&path)?;
                let lines = texts.iter().flat_map(|text| text.lines());
                let text: Vec<&str> = lines.filter(|line| line.trim_start().starts_with('#')).collect();
                add(found, folder.strip_prefix(workspace)?, name, &text, ids);
            }
            visit(workspace, &path, ids, found)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            for test in tests(&read(&path)?) {
                add(found, path.strip_prefix(workspace)?, test.name, &test.docs, ids);
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What the author of a golden case wrote.
fn case_texts(case: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(case).with_context(|| format!("cannot read {}", case.display()))?;
    let paths = files.map(|file| Ok(file?.path()));
    let mut texts = Vec::new();
    for path in paths.collect::<Result<Vec<_>>>()? {
        if path.is_file() && path.extension() == Some(OsStr::new("yaml")) {
            texts.push(read(&path)?);
        }
    }
    Ok(texts)
}

fn add(found: &mut Vec<Bearer>, file: &Path, name: &str, text: &[&str], ids: &[&str]) {
    let mut borne = named(name, ids);
    borne.extend(text.iter().flat_map(|line| mentioned(line, ids)));
    if !borne.is_empty() {
        found.push(Bearer {
            file: file.to_owned(),
            name: name.to_owned(),
            ids: borne,
        });
    }
}

/// A test function.
#[derive(Debug, PartialEq, Eq)]
struct Test<'a> {
    name: &'a str,
    /// The lines of its documentation and the comments above it.
    docs: Vec<&'a str>,
}

/// The tests of a source file: functions with an attribute that ends in `test`, and trials of a test program of our own.
fn tests(source: &str) -> Vec<Test<'_>> {
    let mut tests = Vec::new();
    let mut docs = Vec::new();
    let mut is_test = false;
    let mut is_trial = false;
    for line in source.lines().map(str::trim_start) {
        is_trial |= line.contains("Trial::test(");
        if line.starts_with("//") {
            docs.push(line);
        } else if is_trial {
            if let Some(name) = line.split('"').nth(1) {
                tests.push(Test {
                    name,
                    docs: std::mem::take(&mut docs),
                });
                is_trial = false;
            }
            // A name that is put together elsewhere cannot be read here.
            is_trial &= !line.ends_with("));");
        } else if let Some(attribute) = line.strip_prefix("#[") {
            let path = attribute.split(['(', ']', ' ']).next().unwrap_or_default();
            is_test |= path.rsplit("::").next() == Some("test");
        } else {
            if is_test && let Some(name) = function(line) {
                tests.push(Test {
                    name,
                    docs: std::mem::take(&mut docs),
                });
            }
            docs.clear();
            is_test = false;
        }
    }
    tests
}

/// The name of the function that a line declares.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_declaration = before.split(' ').all(|word| matches!(word, "" | "pub" | "async"));
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    is_declaration.then(|| &rest[..end])
}

/// The ids that a name bears: `r_vs_11` is `R-VS-11`, `p12_3` is `P12.3`. Of two that begin alike the longer one counts.
fn named(name: &str, ids: &[&str]) -> BTreeSet<String> {
    let words: Vec<&str> = name.split(['_', '-']).collect();
    let mut found = BTreeSet::new();
    for start in 0..words.len() {
        let borne = ids
            .iter()
            .filter_map(|id| {
                let id_words: Vec<String> = id.to_lowercase().split(['-', '.']).map(str::to_owned).collect();
                words[start..]
                    .starts_with(&id_words.iter().map(String::as_str).collect::<Vec<_>>())
                    .then_some((id_words.len(), *id))
            })
            .max();
        found.extend(borne.map(|(_, id)| id.to_owned()));
    }
    found
}

/// The ids that stand in a line of text as words of their own.
fn mentioned<'a>(line: &'a str, ids: &'a [&'a str]) -> impl Iterator<Item = String> + 'a {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '.');
    let words = words.map(|word| word.trim_matches(['-', '.']));
    words.filter(|word| ids.contains(word)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &[&str] = &["P7", "P7.3", "R-VS-1", "R-VS-11", "R-GW-1"];

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn names_bear_whole_ids_and_the_longer_of_two() {
        assert_eq!(named("r_vs_11_weights_sum_up", IDS), set(&["R-VS-11"]));
        assert_eq!(named("r_vs_1_and_r_gw_1_meet", IDS), set(&["R-VS-1", "R-GW-1"]));
        assert_eq!(named("p7_3_networks_are_read", IDS), set(&["P7.3"]));
        assert_eq!(named("p7_defaults", IDS), set(&["P7"]));
        assert_eq!(named("p70_is_another", IDS), set(&[]));
        assert_eq!(named("r-vs-11-weights", IDS), set(&["R-VS-11"]));
    }

    #[test]
    fn texts_bear_the_ids_that_are_words() {
        let found = |line| mentioned(line, IDS).collect::<BTreeSet<_>>();
        assert_eq!(
            found("/// Weights (`R-VS-11`), see P7.3."),
            set(&["R-VS-11", "P7.3"])
        );
        assert_eq!(found("/// R-VS-111 and XP7 are others"), set(&[]));
    }

    #[test]
    fn trials_are_tests() {
        let source = "// P7.\ntrials.push(Trial::test(\n    \"r-vs-1-a\",\n    a,\n));\ntrials.push(Trial::test(name, a));\n";
        let found = tests(source);
        assert_eq!(
            found.iter().map(|test| test.name).collect::<Vec<_>>(),
            ["r-vs-1-a"]
        );
        assert_eq!(found[0].docs, ["// P7."]);
    }

    #[test]
    fn tests_are_functions_with_an_attribute() {
        let source = "/// Helper.\nfn helper() {}\n\n    /// R-VS-1.\n    #[tokio::test(flavor = \"x\")]\n    async fn \
                      one() {\n    }\n#[test]\nfn two() {}\n#[cfg(test)]\nfn three() {}\n";
        let found = tests(source);
        assert_eq!(
            found.iter().map(|test| test.name).collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(found[0].docs, ["/// R-VS-1."]);
    }
}
