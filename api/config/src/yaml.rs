//! YAML text to documents.
//!
//! A file is text from a stranger: reading it never panics, and its cost is bounded ([`MAX_FILE_BYTES`] and the
//! budgets below), whatever its anchors, nesting or size.

mod lines;
mod split;

use std::cell::Cell;
use std::rc::Rc;

use serde_json::Value;
use serde_saphyr::{Budget, DefaultMessageFormatter, MessageFormatter, Options};

use crate::path::Segment;
use crate::{ConfigError, Location, Str};

/// Longest file that is read, in bytes. Kubernetes stores no object above 1.5 MiB; this is room for thousands.
pub const MAX_FILE_BYTES: usize = 8 * 1024 * 1024;

/// Values (mappings, sequences and scalars) in all documents of a file, repetitions by alias included.
const MAX_NODES: usize = 1_500_000;

/// Values that aliases may repeat in one document.
const MAX_REPLAYED: usize = 100_000;

/// Mappings and sequences inside one another.
const MAX_DEPTH: usize = 64;

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it starts.
    pub location: Location,
    /// Its content.
    pub value: Value,
    source: Source,
}

/// The text that a document was read from, kept to name lines in errors.
#[derive(Clone, Debug)]
struct Source {
    text: Str,
    /// Line of the file that the text starts on, from 1.
    line: usize,
    /// Where the document stands in the text: empty, or its place in a list.
    path: Vec<Segment>,
}

/// Splits a file into documents and reads each; empty documents are left out.
///
/// A document that does not parse is an error of its own: its neighbours are read all the same. Objects inside a
/// `List` become documents with the number of the list. JSON is YAML.
pub fn documents(file: &str, text: &str) -> Vec<Result<Document, ConfigError>> {
    documents_within(file, text, MAX_NODES)
}

fn documents_within(file: &str, text: &str, max_nodes: usize) -> Vec<Result<Document, ConfigError>> {
    let file = Str::from(file);
    if text.len() > MAX_FILE_BYTES {
        let location = Location {
            file,
            document: 1,
            line: 1,
        };
        let reason = format!(
            "the file has {} bytes, more than the {MAX_FILE_BYTES} that are read",
            text.len()
        );
        return vec![Err(fault(location, reason))];
    }
    let mut nodes_left = max_nodes;
    let mut documents = Vec::new();
    for (index, chunk) in split::chunks(text).into_iter().enumerate() {
        let location = Location {
            file: Str::clone(&file),
            document: index + 1,
            line: chunk.content_line,
        };
        match parse(chunk.text, &mut nodes_left) {
            Ok(Value::Null) => {}
            Ok(value) => {
                let source = Source {
                    text: chunk.text.into(),
                    line: chunk.line,
                    path: Vec::new(),
                };
                expand(
                    Document {
                        location,
                        value,
                        source,
                    },
                    &mut documents,
                );
            }
            Err((line, reason)) => {
                let line = line.map_or(location.line, |line| chunk.line + line - 1);
                documents.push(Err(fault(Location { line, ..location }, reason)));
            }
        }
    }
    documents
}

/// Reads one document. The error carries the line in `text`, from 1, and what is wrong.
fn parse(text: &str, nodes_left: &mut usize) -> Result<Value, (Option<usize>, String)> {
    let used = Rc::new(Cell::new(0));
    let report = Rc::clone(&used);
    let options = options(*nodes_left).with_budget_report(move |budget| report.set(budget.nodes));
    let parsed = serde_saphyr::from_str_with_options(text, options);
    *nodes_left = nodes_left.saturating_sub(used.get());
    parsed.map_err(|error| (line_of(&error), reason_of(&error)))
}

fn options(max_nodes: usize) -> Options {
    let budget: Option<Budget> = serde_saphyr::budget! {
        max_nodes: max_nodes,
        max_events: 2 * MAX_NODES,
        max_depth: MAX_DEPTH,
        max_total_scalar_bytes: 2 * MAX_FILE_BYTES,
        max_recorded_anchor_bytes: 2 * MAX_FILE_BYTES,
    };
    serde_saphyr::options! {
        budget: budget,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        legacy_octal_numbers: true,
        emit_comments: false,
        with_snippet: false,
    }
}

fn line_of(error: &serde_saphyr::Error) -> Option<usize> {
    error
        .location()
        .and_then(|location| usize::try_from(location.line()).ok())
        .filter(|line| *line > 0)
}

/// What is wrong, in the words of someone who writes YAML rather than of someone who calls a parser.
fn reason_of(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error.without_snippet() {
        Error::AliasError { error, .. } => reason_of(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate field `{key}`"),
        Error::DuplicateMappingKey { key: None, .. } => "duplicate field".to_owned(),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            "an anchor contains an alias of itself".to_owned()
        }
        Error::UnknownAnchor { .. } => "an alias names an anchor that does not exist".to_owned(),
        Error::NullIntoString { .. } => "a field name is null".to_owned(),
        Error::NonFiniteFloat { value, .. } => format!("{value} is not a finite number"),
        Error::AliasReplayLimitExceeded { .. } | Error::Budget { .. } => {
            format!(
                "the document is too large once its aliases are expanded, or too deep: {}",
                plain(error)
            )
        }
        other => plain(other),
    }
}

/// The parser's own message without its place, on one line.
fn plain(error: &serde_saphyr::Error) -> String {
    let message = DefaultMessageFormatter.format_message(error.without_snippet());
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fault(location: Location, reason: String) -> ConfigError {
    ConfigError {
        location: Some(location),
        object: String::new(),
        field: String::new(),
        reason,
    }
}

/// Pushes the document, or the objects in it when it is a list.
fn expand(document: Document, documents: &mut Vec<Result<Document, ConfigError>>) {
    let Some(item_kind) = list_of(&document.value) else {
        documents.push(Ok(document));
        return;
    };
    let Document {
        location,
        mut value,
        source,
    } = document;
    let api_version = value.get("apiVersion").cloned();
    let items = match value.get_mut("items").map(Value::take) {
        None | Some(Value::Null) => return,
        Some(Value::Array(items)) => items,
        Some(_) => {
            documents.push(Err(fault(location, "items: expected a list".to_owned())));
            return;
        }
    };
    let lines = lines::Lines::read(&source.text);
    for (index, mut value) in items.into_iter().enumerate() {
        let mut path = source.path.clone();
        path.extend([Segment::Field("items".to_owned()), Segment::Index(index)]);
        let line = lines
            .as_ref()
            .and_then(|lines| lines.find(&path))
            .map_or(location.line, |line| source.line + line - 1);
        if let (Some(object), Some(kind)) = (value.as_object_mut(), &item_kind) {
            // The API server leaves both out inside a typed list.
            object
                .entry("kind")
                .or_insert_with(|| Value::String(kind.clone()));
            if let Some(api_version) = &api_version {
                object.entry("apiVersion").or_insert_with(|| api_version.clone());
            }
        }
        let source = Source {
            path,
            ..source.clone()
        };
        expand(
            Document {
                location: Location {
                    line,
                    ..location.clone()
                },
                value,
                source,
            },
            documents,
        );
    }
}

/// `Some` when the document is a list; with the kind of its items when the kind of the list tells it.
fn list_of(value: &Value) -> Option<Option<String>> {
    let kind = value.get("kind")?.as_str()?;
    match kind.strip_suffix("List")? {
        "" => Some(None),
        item if value.get("items").is_some() => Some(Some(item.to_owned())),
        _ => None,
    }
}

// === impl Document ===

impl Document {
    /// A document that was not read from text: its errors carry the line of `location`.
    pub fn new(location: Location, value: Value) -> Self {
        let line = location.line;
        Self {
            location,
            value,
            source: Source {
                text: Str::from(""),
                line,
                path: Vec::new(),
            },
        }
    }

    /// Where a field stands, such as `metadata.name` or `http[0].route[1].weight` (fields of the `spec` need not say
    /// so). When the field is not there, the deepest part of the path that is.
    ///
    /// Reads the text again: meant for reporting errors.
    pub fn locate(&self, field: &str) -> Location {
        let path = crate::path::parse(field);
        let mut inside_spec = vec![Segment::Field("spec".to_owned())];
        inside_spec.extend(path.iter().cloned());
        let first = path.first().map(ToString::to_string).unwrap_or_default();
        if self.value.get(&first).is_some() {
            self.locate_path(&path)
        } else {
            self.locate_path(&inside_spec)
        }
    }

    /// Where the value at `path` stands, or the deepest part of the path that is there.
    pub(crate) fn locate_path(&self, path: &[Segment]) -> Location {
        let mut absolute = self.source.path.clone();
        absolute.extend(path.iter().cloned());
        let line = lines::Lines::read(&self.source.text)
            .and_then(|lines| lines.find(&absolute))
            .map_or(self.location.line, |line| self.source.line + line - 1);
        // The text starts before the document when comments do.
        Location {
            line: line.max(self.location.line),
            ..self.location.clone()
        }
    }
}

#[cfg(test)]
mod tests;
