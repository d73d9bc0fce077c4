//! Golden folders: a behaviour is a folder, with what goes in and what must come out.
//!
//! A case holds its input (such as `in.yaml` and `proxy.yaml`) and the wanted output (such as `want/clusters.yaml`).
//! The name of the folder says the behaviour and is the name of the test. `UPDATE_GOLDEN=1` rewrites the wanted output
//! and deletes what is no longer produced; without it, a file that is missing, extra or different fails the test.
//!
//! ```no_run
//! // tests/golden.rs, with `harness = false` in Cargo.toml
//! use mesh_testing::golden::{self, Case, Produced};
//!
//! fn main() -> std::process::ExitCode {
//!     golden::main(golden::trials(env!("CARGO_MANIFEST_DIR"), "testdata", generate))
//! }
//!
//! fn generate(case: &Case) -> Result<Produced, String> {
//!     let input = case.read("in.yaml")?;
//!     Ok(Produced::default().text("want/upper.txt", input.to_uppercase()))
//! }
//! ```

mod emit;
mod produced;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mesh_config::yaml::{self, Document};
use serde_json::Value;
use similar::TextDiff;

pub use emit::to_yaml;
use produced::Content;
pub use produced::Produced;
pub(crate) use produced::name_of;

/// Lines of a difference that are shown.
const SHOWN_LINES: usize = 40;

/// Folder of a case whose files are all output.
const WANT: &str = "want";

/// One folder.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name of the folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
}

/// One test per folder below `package/root`, in the order of their names.
///
/// # Panics
///
/// When there is no folder: a test that tests nothing is a mistake.
pub fn trials(
    package: &str,
    root: &str,
    test: impl Fn(&Case) -> Result<Produced, String> + Send + Sync + 'static,
) -> Vec<Trial> {
    let test = Arc::new(test);
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1");
    let cases = cases(&Path::new(package).join(root));
    let trial = |case: Case| {
        let test = Arc::clone(&test);
        Trial::test(case.name.clone(), move || {
            let produced = test(&case)?;
            Ok(if update {
                case.update(&produced)
            } else {
                case.compare(&produced)
            }?)
        })
    };
    cases.into_iter().map(trial).collect()
}

/// The folders directly below `root`, in the order of their names.
///
/// # Panics
///
/// When there is none.
pub fn cases(root: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .map(|folder| Case {
            name: folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            folder,
        })
        .collect();
    assert!(
        !cases.is_empty(),
        "there is no golden folder in {}",
        root.display()
    );
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// Runs tests as `cargo test` and `cargo nextest` expect: the `main` of a test binary without harness.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

// === impl Case ===

impl Case {
    /// The text of a file that must be there.
    ///
    /// # Errors
    ///
    /// When it is not readable.
    pub fn read(&self, file: &str) -> Result<String, String> {
        let path = self.folder.join(file);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The text of a file that may be missing.
    ///
    /// # Errors
    ///
    /// When it is there but not readable.
    pub fn read_if_present(&self, file: &str) -> Result<Option<String>, String> {
        if self.folder.join(file).exists() {
            self.read(file).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The documents of a YAML file that must be there.
    ///
    /// # Errors
    ///
    /// When it is not readable or a document does not parse.
    pub fn documents(&self, file: &str) -> Result<Vec<Document>, String> {
        let text = self.read(file)?;
        yaml::documents(file, &text)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    /// The first document of a YAML file; `null` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Case::documents`].
    pub fn value(&self, file: &str) -> Result<Value, String> {
        Ok(self
            .documents(file)?
            .into_iter()
            .next()
            .map(|document| document.value)
            .unwrap_or_default())
    }

    /// Compares what was produced with the files of the case.
    ///
    /// # Errors
    ///
    /// Every difference, with the way to accept it.
    pub fn compare(&self, produced: &Produced) -> Result<(), String> {
        let mut faults = Vec::new();
        for (file, content) in produced.files() {
            match self.read_if_present(file)? {
                Some(wanted) => faults.extend(self.difference(file, &wanted, content, produced.is_partial())),
                None if produced.is_partial() => {}
                None => faults.push(format!("{file} is missing")),
            }
        }
        faults.extend(
            self.orphans(produced)
                .iter()
                .map(|file| format!("{file} is there, but nothing produces it")),
        );
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!("{}\nto accept: UPDATE_GOLDEN=1", faults.join("\n")))
    }

    /// Writes what was produced into the files of the case, and deletes output files that nothing produces.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn update(&self, produced: &Produced) -> Result<(), String> {
        for (file, content) in produced.files() {
            let path = self.folder.join(file);
            let failed = |error: std::io::Error| format!("{}: {error}", path.display());
            let content = match self.read_if_present(file)? {
                // Files that are right already keep their bytes: comments, and the emitter of their day.
                Some(wanted)
                    if self
                        .difference(file, &wanted, content, produced.is_partial())
                        .is_none() =>
                {
                    continue;
                }
                Some(wanted) if produced.is_partial() => content.restricted_to(&parsed(file, &wanted)?),
                None if produced.is_partial() => continue,
                _ => content.clone(),
            };
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(failed)?;
            }
            fs::write(&path, content.to_text()).map_err(failed)?;
        }
        for orphan in self.orphans(produced) {
            let path = self.folder.join(orphan);
            fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// The difference between a file and what was produced for it.
    fn difference(&self, file: &str, wanted: &str, content: &Content, partial: bool) -> Option<String> {
        let (wanted, got) = match content {
            Content::Text(got) => (wanted.to_owned(), got.clone()),
            Content::Yaml(_) => {
                let wanted = match parsed(file, wanted) {
                    Ok(wanted) => wanted,
                    Err(error) => return Some(error),
                };
                let got = if partial {
                    content.restricted_to(&wanted)
                } else {
                    content.clone()
                };
                // The same emitter prints both sides, so only content can differ.
                (Content::Yaml(wanted).to_text(), got.to_text())
            }
        };
        if wanted == got {
            return None;
        }
        let diff = TextDiff::from_lines(&wanted, &got);
        let text = diff
            .unified_diff()
            .context_radius(3)
            .header(&format!("{file} (wanted)"), "produced")
            .to_string();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines[..lines.len().min(SHOWN_LINES)].join("\n");
        let rest = lines.len().saturating_sub(SHOWN_LINES);
        Some(if rest > 0 {
            format!("{shown}\n… and {rest} more lines")
        } else {
            shown
        })
    }

    /// Output files that nothing produces.
    fn orphans(&self, produced: &Produced) -> Vec<String> {
        let in_want = fs::read_dir(self.folder.join(WANT))
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| format!("{WANT}/{}", entry.file_name().to_string_lossy()));
        let beside = produced
            .outputs()
            .filter(|file| self.folder.join(file).exists())
            .map(str::to_owned);
        let mut orphans: Vec<String> = in_want.chain(beside).filter(|file| !produced.has(file)).collect();
        orphans.sort();
        orphans.dedup();
        orphans
    }
}

fn parsed(file: &str, text: &str) -> Result<Value, String> {
    let mut documents = yaml::documents(file, text).into_iter();
    let first = documents.next().transpose().map_err(|error| error.to_string())?;
    match documents.next() {
        Some(_) => Err(format!("{file} holds more than one document")),
        None => Ok(first.map(|document| document.value).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
