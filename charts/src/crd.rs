//! The 53 CustomResourceDefinitions of Istio 1.1 (spec 05 §4.2), as `apiextensions.k8s.io/v1`.
//!
//! Their schemas accept what Istio 1.1 accepted: every JSON form of protobuf, and unknown fields at every level. Those are
//! kept rather than pruned, so that validation, which runs afterwards, refuses a misspelled field by its name. A server
//! that prunes would drop the field without a word.

mod catalog;
mod schema;

use mesh_config::{Kind, Scope};
use serde_json::{Map, Value, json};

use catalog::{CATALOG, Column, Entry};

/// A file of chart `istio-init`. An upgrade that brings kinds adds a file, and leaves those that are installed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// `crd-10.yaml`: the kinds of Istio 1.0.
    Crd10,
    /// `crd-11.yaml`: the kinds that came with Istio 1.1.
    Crd11,
}

/// One definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// What it defines.
    pub kind: Kind,
    /// Where it stands.
    pub file: File,
    /// The object, as it is applied.
    pub object: Value,
}

/// All definitions, in the order of their files. `CHT-4`: there are 53.
pub fn definitions() -> Vec<Definition> {
    CATALOG
        .iter()
        .map(|entry| Definition {
            kind: entry.kind,
            file: entry.file,
            object: object(entry),
        })
        .collect()
}

fn object(entry: &Entry) -> Value {
    let kind = entry.kind.schema();
    let singular = kind.kind.to_lowercase();
    let mut names = json!({
        "kind": kind.kind,
        "listKind": format!("{}List", kind.kind),
        "plural": kind.plural,
        "singular": singular,
        "categories": ["istio-io", entry.family.category()],
    });
    if let Some(short) = entry.short_name {
        names["shortNames"] = json!([short]);
    }
    let mut labels = json!({ "chart": "istio", "heritage": "Tiller", "release": "istio" });
    for (name, value) in entry.labels() {
        labels[name] = value.into();
    }
    let schema = schema::object(entry);
    let versions: Vec<Value> = std::iter::once(kind.version)
        .chain(entry.other_versions.iter().copied())
        .map(|version| {
            let mut versioned = json!({
                "name": version,
                "served": true,
                "storage": version == kind.version,
                "schema": { "openAPIV3Schema": schema },
                // Whoever reports about an object may then be allowed to write its status and nothing else.
                "subresources": { "status": {} },
            });
            if !entry.columns.is_empty() {
                versioned["additionalPrinterColumns"] = columns(entry.columns);
            }
            versioned
        })
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{}", kind.plural, kind.group),
            "labels": labels,
            // Whoever uninstalls the chart must not lose every object of the mesh.
            "annotations": { "helm.sh/resource-policy": "keep" },
        },
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": match kind.scope {
                Scope::Namespace => "Namespaced",
                Scope::Cluster => "Cluster",
            },
            "versions": versions,
        },
    })
}

fn columns(columns: &[Column]) -> Value {
    let age = Column {
        name: "Age",
        path: ".metadata.creationTimestamp",
        about: "When the object was created.",
    };
    let column = |column: &Column| {
        let of_type = if column.name == age.name { "date" } else { "string" };
        let mut object = Map::new();
        object.insert("name".to_owned(), column.name.into());
        object.insert("type".to_owned(), of_type.into());
        object.insert("jsonPath".to_owned(), column.path.into());
        object.insert("description".to_owned(), column.about.into());
        Value::Object(object)
    };
    columns.iter().chain([&age]).map(column).collect()
}

// === impl File ===

impl File {
    /// All files, in the order in which they are applied.
    pub const ALL: &'static [Self] = &[Self::Crd10, Self::Crd11];

    /// Its name in the folder `istio-init/files`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crd10 => "crd-10.yaml",
            Self::Crd11 => "crd-11.yaml",
        }
    }
}
