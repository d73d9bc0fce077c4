//! Commands that serve nobody: everything that is wrong with files, and the definitions of Mixer's kinds.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use charts::crd;
use mesh_config::decode::{self, Class};
use mesh_config::{ConfigError, validation, yaml};
use mixer_adapter::SomeAdapter;
use mixer_runtime::config::{Snapshot, State, StoreEvent, kinds};
use mixer_runtime::{Adapters, handler};
use mixer_template::Template;

use crate::args::{CrdArgs, CrdSet, ValidatorArgs};

/// Folders in folders are read to this depth.
const MAX_DEPTH: usize = 32;

/// Reads files as `mixs server` does, and tells everything that is wrong.
///
/// # Errors
///
/// What is wrong, one line each.
pub(crate) fn validate(args: &ValidatorArgs, more: Vec<Box<dyn SomeAdapter>>) -> anyhow::Result<String> {
    let mut adapters = mixer_adapters::all();
    adapters.extend(more);
    let adapters = Adapters::new(adapters)?;
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, 0, &mut files)?;
    }
    let mut state = State::default();
    let mut problems = Vec::new();
    let mut objects = 0;
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        objects += read(&file.display().to_string(), &text, &mut state, &mut problems);
    }
    let snapshot = Snapshot::new(0, state.objects(), &adapters);
    problems.extend(snapshot.problems.iter().cloned());
    problems.extend(handler::validate(&snapshot, &adapters));
    if problems.is_empty() {
        return Ok(format!("{objects} objects of {} files are valid", files.len()));
    }
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    bail!("{} problems\n{}", lines.len(), lines.join("\n"))
}

/// Takes over the objects of a file; returns how many of them are for Mixer.
fn read(file: &str, text: &str, state: &mut State, problems: &mut Vec<ConfigError>) -> usize {
    let wanted = kinds(true);
    let mut objects = 0;
    for document in yaml::documents(file, text) {
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        match decode::classify(&document) {
            Class::Known(kind) if wanted.contains(&kind) => {}
            Class::Known(_) | Class::Foreign { .. } => continue,
            Class::Invalid(error) => {
                problems.push(error);
                continue;
            }
        }
        objects += 1;
        match decode::object(&document) {
            Err(error) => problems.push(error),
            Ok(config) => {
                problems.extend(
                    validation::validate(&config)
                        .into_iter()
                        .map(|problem| ConfigError {
                            location: Some(document.locate(&problem.field)),
                            object: config.meta.key.to_string(),
                            field: problem.field,
                            reason: problem.reason,
                        }),
                );
                state.apply(StoreEvent::Upsert(config));
            }
        }
    }
    objects
}

fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if depth > MAX_DEPTH {
        bail!("{}: folders are nested too deeply", path.display());
    }
    if !fs::metadata(path)
        .with_context(|| path.display().to_string())?
        .is_dir()
    {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        entries.push(entry?.path());
    }
    entries.sort();
    for entry in entries {
        let is_text = entry
            .extension()
            .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if entry.is_dir() || is_text {
            collect(&entry, depth + 1, files)?;
        }
    }
    Ok(())
}

/// The definitions of Mixer's kinds, as `kubectl` takes them.
///
/// # Errors
///
/// Never for definitions that are JSON, which these are.
pub(crate) fn definitions(args: &CrdArgs) -> anyhow::Result<String> {
    let wanted = kinds(true);
    let uniform = kinds(false);
    let mut texts = Vec::new();
    for definition in crd::definitions() {
        let kind = definition.kind;
        let is_template = Template::find(kind.schema().kind).is_some();
        let chosen = wanted.contains(&kind)
            && match args.which {
                CrdSet::All => true,
                CrdSet::Adapter => !uniform.contains(&kind) && !is_template,
                CrdSet::Instance => is_template,
            };
        if chosen {
            texts.push(serde_json::to_string_pretty(&definition.object)?);
        }
    }
    // JSON is YAML.
    Ok(texts.join("\n---\n"))
}
