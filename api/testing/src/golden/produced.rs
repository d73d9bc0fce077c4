//! What a case produced.

use std::collections::{BTreeMap, BTreeSet};

use mesh_api::{Any, json, type_url};
use serde_json::{Number, Value};

use super::emit::to_yaml;

/// The output of a case: files by their path in its folder.
#[derive(Clone, Debug, Default)]
pub struct Produced {
    files: BTreeMap<String, Content>,
    outputs: BTreeSet<String>,
    partial: bool,
}

/// Content of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Compared byte by byte.
    Text(String),
    /// Compared as a value.
    Yaml(Value),
}

/// The name of a resource, by which lists are sorted and partial cases pick what they are about.
pub(crate) fn name_of(resource: &Value) -> Option<&str> {
    ["name", "clusterName"]
        .iter()
        .find_map(|field| resource.get(field)?.as_str())
}

// === impl Produced ===

impl Produced {
    /// A file that holds a value as YAML.
    #[must_use]
    pub fn value(mut self, file: &str, value: Value) -> Self {
        self.outputs.insert(file.to_owned());
        self.files.insert(file.to_owned(), Content::Yaml(plain(value)));
        self
    }

    /// A file that holds text. Empty text is no file.
    #[must_use]
    pub fn text(mut self, file: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        self.outputs.insert(file.to_owned());
        if !text.is_empty() {
            self.files.insert(file.to_owned(), Content::Text(text));
        }
        self
    }

    /// A file outside of `want` that other outcomes of the test would have produced, and that must be absent now.
    #[must_use]
    pub fn nothing(mut self, file: &str) -> Self {
        self.outputs.insert(file.to_owned());
        self
    }

    /// `want/{clusters,endpoints,listeners,routes}.yaml`: the resources of each type by name, packed messages expanded.
    /// Types without resources are no file.
    ///
    /// # Errors
    ///
    /// When a resource has no JSON form.
    pub fn xds(mut self, resources: &[Any]) -> Result<Self, String> {
        let mut by_file: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for resource in resources {
            let kind = match resource.type_url.as_str() {
                type_url::CLUSTER => "clusters",
                type_url::ENDPOINT => "endpoints",
                type_url::LISTENER => "listeners",
                type_url::ROUTE => "routes",
                type_url::SECRET => "secrets",
                other => return Err(format!("resources of type {other} have no golden file")),
            };
            let mut value = json::any_to_value(resource).map_err(|error| error.to_string())?;
            if let Some(fields) = value.as_object_mut() {
                fields.remove("@type");
            }
            by_file
                .entry(format!("want/{kind}.yaml"))
                .or_default()
                .push(value);
        }
        for (file, mut resources) in by_file {
            resources.sort_by(|a, b| name_of(a).cmp(&name_of(b)));
            self = self.value(&file, Value::Array(resources));
        }
        Ok(self)
    }

    /// Whether only the resources that the wanted files name are compared, and only the files that are there: for cases
    /// that are about a few resources of many.
    #[must_use]
    pub fn partial(mut self, partial: bool) -> Self {
        self.partial = partial;
        self
    }

    pub(super) fn is_partial(&self) -> bool {
        self.partial
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.files.iter().map(|(file, content)| (file.as_str(), content))
    }

    pub(super) fn has(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// Every file that this kind of test can produce, as far as it has said.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(String::as_str)
    }
}

// === impl Content ===

impl Content {
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Yaml(value) => to_yaml(&plain(value.clone())),
        }
    }

    /// The resources that `wanted` names too.
    pub(super) fn restricted_to(&self, wanted: &Value) -> Self {
        let (Self::Yaml(Value::Array(got)), Value::Array(wanted)) = (self, wanted) else {
            return self.clone();
        };
        let names: BTreeSet<_> = wanted.iter().filter_map(name_of).collect();
        let picked = got
            .iter()
            .filter(|resource| name_of(resource).is_some_and(|name| names.contains(name)));
        Self::Yaml(picked.cloned().collect())
    }
}

/// One form for one number: `100.0` and `100` are the same percentage.
fn plain(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) => {
            // Beyond 2^53 a float says no longer which whole number was meant.
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
                && float.abs() < 9_007_199_254_740_992.0
            {
                #[allow(clippy::cast_possible_truncation, reason = "whole and in range")]
                let whole = Number::from(float as i64);
                *number = whole;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = plain(item.take())),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = plain(field.take())),
        _ => {}
    }
    value
}
