//! The user's files: which objects are ours, and what is left of each file for Galley.
//!
//! Galley gets the user's text, not our reading of it: documents that are ours are blanked, line by line, so that
//! Galley's messages keep naming the file and the line that the user sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use mesh_config::yaml;
use serde_json::Value;

use super::objects::{ObjectKey, Objects, kind_is_ours};

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Its text, or why there is none.
    pub(crate) text: Result<String, String>,
    /// Its objects count only where nobody else has defined them.
    pub(crate) default: bool,
}

/// All objects, and what Galley is to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) objects: Objects,
    /// Text by path, relative to the folder that Galley reads.
    pub(crate) for_galley: BTreeMap<PathBuf, String>,
    /// What was left out and why: `file:line: object: reason`.
    pub(crate) problems: Vec<String>,
    /// Where every object comes from.
    pub(crate) keys: BTreeSet<ObjectKey>,
}

/// Objects that were applied to the running mesh: they win over files. `None` = deleted.
pub(crate) type Overrides = BTreeMap<ObjectKey, Option<String>>;

/// All YAML files of the given files and folders, in order, without duplicates.
pub(crate) fn read_files(roots: &[PathBuf], default: bool) -> Vec<SourceFile> {
    let mut files: BTreeMap<PathBuf, SourceFile> = BTreeMap::new();
    let mut order = Vec::new();
    for root in roots {
        let mut paths = Vec::new();
        if let Err(error) = collect(root, &mut paths) {
            let file = SourceFile {
                path: root.clone(),
                text: Err(error.to_string()),
                default,
            };
            if files.insert(root.clone(), file).is_none() {
                order.push(root.clone());
            }
        }
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            if files
                .insert(
                    path.clone(),
                    SourceFile {
                        path: path.clone(),
                        text,
                        default,
                    },
                )
                .is_none()
            {
                order.push(path);
            }
        }
    }
    order.into_iter().filter_map(|path| files.remove(&path)).collect()
}

/// Files that `path` stands for: itself, or all YAML files below it.
fn collect(path: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    if !fs::metadata(path)?.is_dir() {
        into.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        let hidden = entry
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = entry
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if !hidden && (entry.is_dir() || yaml) {
            collect(&entry, into)?;
        }
    }
    Ok(())
}

/// Reads all files and everything that was applied.
pub(crate) fn read(files: &[SourceFile], overrides: &Overrides, base: &Path) -> Reading {
    let mut reading = Reading::default();
    for (key, text) in overrides {
        if let Some(text) = text {
            let name = format!("{}.{}.{}", key.kind, key.namespace, key.name);
            let place = Path::new("applied").join(format!("{name}.yaml"));
            reading.take_file(&format!("applied {key}"), text, place, &|_| false);
        }
    }
    for file in files {
        let label = file.path.strip_prefix(base).unwrap_or(&file.path);
        match &file.text {
            Ok(text) => {
                let place = Path::new("files").join(relative(label));
                let known = if file.default {
                    reading.keys.clone()
                } else {
                    BTreeSet::new()
                };
                let overridden = |key: &ObjectKey| overrides.contains_key(key) || known.contains(key);
                reading.take_file(&label.display().to_string(), text, place, &overridden);
            }
            Err(error) => reading.problems.push(format!("{}: {error}", label.display())),
        }
    }
    reading.objects.complete_namespaces();
    reading
}

/// The names in a path, without anything that would lead out of a folder.
fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

// === impl Reading ===

impl Reading {
    fn take_file(
        &mut self,
        label: &str,
        text: &str,
        place: PathBuf,
        overridden: &dyn Fn(&ObjectKey) -> bool,
    ) {
        // Number and line of each document with something of ours.
        let mut ours = BTreeMap::new();
        let mut galleys = Vec::new();
        let mut unreadable = 0;
        for document in yaml::documents(label, text) {
            let document = match document {
                Ok(document) => document,
                Err(error) => {
                    // Galley reports it too; who looks at the mesh's own output should see it as well.
                    self.problems.push(error.to_string());
                    unreadable += 1;
                    continue;
                }
            };
            let (location, value) = (document.location, document.value);
            let key = ObjectKey::of(&value);
            if key.as_ref().is_some_and(overridden) {
                ours.insert(location.document, location.line);
                continue;
            }
            if kind_is_ours(&value) {
                ours.insert(location.document, location.line);
                if let Err(error) = self.objects.insert(&value) {
                    self.problems.push(format!("{location}: {error}"));
                }
            } else {
                galleys.push((location.document, value));
            }
            self.keys.extend(key);
        }
        if galleys.is_empty() && unreadable == 0 {
            return;
        }
        let mut rest = blank(text, &ours.values().copied().collect());
        // A list that holds both is taken apart; only its lines are lost.
        for (document, value) in &galleys {
            if ours.contains_key(document) {
                append(&mut rest, value);
            }
        }
        self.for_galley.insert(place, rest);
    }
}

fn append(text: &mut String, value: &Value) {
    if let Ok(document) = serde_saphyr::to_string(value) {
        text.push_str("\n---\n");
        text.push_str(&document);
    }
}

/// Empties the documents that have one of these lines (from 1), but not the separators between documents.
fn blank(text: &str, ours: &BTreeSet<usize>) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut out = String::with_capacity(text.len());
    let mut start = 0;
    while start < lines.len() {
        let length = lines[start + 1..].iter().position(|line| is_separator(line));
        let end = length.map_or(lines.len(), |length| start + 1 + length);
        // Numbers count from 1, so line `start + 1` is the first of this document.
        let blanked = ours.range(start + 1..=end).next().is_some();
        for line in &lines[start..end] {
            out.push_str(if blanked && !is_separator(line) {
                "\n"
            } else {
                line
            });
        }
        start = end;
    }
    out
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "\
# comment
apiVersion: v1
kind: Service
metadata:
  name: a
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata:
  name: g
---
apiVersion: v1
kind: Namespace
metadata: {name: weather}
";

    fn file(text: &str) -> Vec<SourceFile> {
        vec![SourceFile {
            path: PathBuf::from("/base/dir/x.yaml"),
            text: Ok(text.to_owned()),
            default: false,
        }]
    }

    #[test]
    fn galley_sees_its_documents_on_the_lines_where_the_user_has_them() {
        let reading = read(&file(MIXED), &Overrides::new(), Path::new("/base"));
        let text = &reading.for_galley[Path::new("files/dir/x.yaml")];
        assert_eq!(text.lines().count(), MIXED.lines().count());
        assert_eq!(text.lines().nth(7), Some("kind: Gateway"));
        assert!(!text.contains("Service") && !text.contains("Namespace"), "{text}");
        assert!(reading.objects.namespaces.contains_key("weather"));
        assert_eq!(reading.objects.services.len(), 1);
        assert_eq!(reading.problems, Vec::<String>::new());
    }

    #[test]
    fn a_file_without_anything_for_galley_is_not_handed_on() {
        let reading = read(
            &file("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"),
            &Overrides::new(),
            Path::new("/"),
        );
        assert!(reading.for_galley.is_empty());
    }

    #[test]
    fn a_document_that_does_not_parse_is_reported_and_left_to_galley() {
        let text = format!("{MIXED}---\nkind: [\n");
        let reading = read(&file(&text), &Overrides::new(), Path::new("/base"));
        assert_eq!(reading.problems.len(), 1, "{:?}", reading.problems);
        assert!(reading.for_galley[Path::new("files/dir/x.yaml")].contains("kind: [\n"));
        assert_eq!(reading.objects.services.len(), 1);
    }

    #[test]
    fn an_object_of_ours_with_a_fault_is_reported_with_its_line() {
        let text = "\n\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 7}\n";
        let reading = read(&file(text), &Overrides::new(), Path::new("/base"));
        assert!(
            reading.problems[0].starts_with("dir/x.yaml:3: Service default/a: "),
            "{:?}",
            reading.problems
        );
    }

    #[test]
    fn an_applied_object_wins_over_the_file_and_a_deleted_one_is_gone() {
        let gateway = ObjectKey {
            group: "networking.istio.io".to_owned(),
            kind: "Gateway".to_owned(),
            namespace: "default".to_owned(),
            name: "g".to_owned(),
        };
        let service = ObjectKey {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: "default".to_owned(),
            name: "a".to_owned(),
        };
        let applied =
            "apiVersion: networking.istio.io/v1alpha3\nkind: Gateway\nmetadata: {name: g}\nspec: {}\n";
        let overrides = Overrides::from([(gateway, Some(applied.to_owned())), (service, None)]);
        let reading = read(&file(MIXED), &overrides, Path::new("/base"));
        assert!(reading.objects.services.is_empty());
        assert_eq!(
            reading.for_galley.keys().collect::<Vec<_>>(),
            [Path::new("applied/Gateway.default.g.yaml")]
        );
    }

    #[test]
    fn a_default_counts_only_where_nobody_else_defines_the_object() {
        let mut files = file(MIXED);
        let mut default = file(
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: None}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n",
        );
        default[0].path = PathBuf::from("/default.yaml");
        default[0].default = true;
        files.append(&mut default);
        let reading = read(&files, &Overrides::new(), Path::new("/base"));
        assert_eq!(reading.problems, Vec::<String>::new());
        let service = |name: &str| &reading.objects.services[&("default".to_owned(), name.to_owned())];
        assert_eq!(service("a").spec, None);
        assert_eq!(service("b").metadata.name.as_deref(), Some("b"));
    }

    #[test]
    fn a_mixed_list_is_taken_apart() {
        let text = "\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}}
- {apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {name: g}}
";
        let reading = read(&file(text), &Overrides::new(), Path::new("/base"));
        assert_eq!(reading.objects.services.len(), 1);
        let text = &reading.for_galley[Path::new("files/dir/x.yaml")];
        assert!(text.contains("Gateway") && !text.contains("Service"), "{text}");
    }

    #[test]
    fn paths_never_lead_out_of_the_folder() {
        assert_eq!(relative(Path::new("/a/../b/./c.yaml")), Path::new("a/b/c.yaml"));
    }
}
