//! The tables of validation (part V): for each kind a file of rules, each with objects that keep it and objects that break
//! it. Read by the tests of the rules, and by those that send every object through the webhook.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context as _, Result};
use mesh_config::{Kind, Scope, yaml};
use serde_json::{Value, json};

/// What is said of the objects of a kind.
#[derive(Clone, Debug)]
pub struct Table {
    /// The kind.
    pub kind: Kind,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule, or a few that belong together.
#[derive(Clone, Debug)]
pub struct Rule {
    /// In words.
    pub rule: String,
    /// Objects that keep it, and objects that break it.
    pub cases: Vec<Case>,
}

/// An object, and what is said of it.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// Name of the object, empty where it does not matter.
    pub name: String,
    /// Its content.
    pub spec: Value,
    /// What is wrong with it, each problem after its field as kubectl shows it; nothing where the object is valid.
    pub problems: Vec<String>,
}

/// All tables, in the order of their files.
///
/// # Panics
///
/// When a file is not a table.
pub fn tables() -> &'static [Table] {
    static TABLES: OnceLock<Vec<Table>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/testdata/validation");
        read(&folder).unwrap_or_else(|error| panic!("{}: {error:?}", folder.display()))
    })
}

fn read(folder: &Path) -> Result<Vec<Table>> {
    let files = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let tables = files.iter().map(|file| {
        let name = file
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        table(name, &fs::read_to_string(file)?).with_context(|| name.to_owned())
    });
    tables.collect()
}

fn table(name: &str, text: &str) -> Result<Table> {
    let mut kinds = Kind::ALL.iter().copied();
    let kind = kinds
        .find(|kind| kind.schema().kind == name)
        .context("not a kind")?;
    let mut documents = yaml::documents(name, text).into_iter();
    let document = documents.next().context("empty")??;
    let rules = list(&document.value)?.iter().map(|value| {
        let cases = list(&value["cases"])?.iter().map(Case::read);
        Ok(Rule {
            rule: value["rule"].as_str().context("a rule without words")?.to_owned(),
            cases: cases.collect::<Result<_>>()?,
        })
    });
    let rules = rules.collect::<Result<_>>()?;
    Ok(Table { kind, rules })
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("not a list")
}

// === impl Table ===

impl Table {
    /// Every object, with its rule.
    pub fn cases(&self) -> impl Iterator<Item = (&Rule, &Case)> {
        let rules = self.rules.iter();
        rules.flat_map(|rule| rule.cases.iter().map(move |case| (rule, case)))
    }
}

// === impl Case ===

impl Case {
    fn read(value: &Value) -> Result<Self> {
        let problems = match &value["problems"] {
            Value::Null => Vec::new(),
            problems => serde_json::from_value(problems.clone())?,
        };
        Ok(Self {
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            spec: value["spec"].clone(),
            problems,
        })
    }

    /// The whole object; those that have a namespace are in this one.
    #[must_use]
    pub fn object(&self, kind: Kind, namespace: &str) -> Value {
        let schema = kind.schema();
        let name = if self.name.is_empty() { "a" } else { &self.name };
        let mut metadata = json!({ "name": name });
        if schema.scope == Scope::Namespace {
            metadata["namespace"] = namespace.into();
        }
        let api_version = format!("{}/{}", schema.group, schema.version);
        json!({
            "apiVersion": api_version.trim_start_matches('/'),
            "kind": schema.kind,
            "metadata": metadata,
            "spec": self.spec,
        })
    }
}
