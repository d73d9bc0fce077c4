//! The YAML of the image table and its templates.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Captures, ImagesError, Pattern};

/// One checked entry of the table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) pattern: Pattern,
    pub(super) entrypoint: Vec<Template>,
    pub(super) cmd: Vec<Template>,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) programs: BTreeMap<String, StandIn>,
}

/// A word with `{name}` parts: text and captured names in turn.
#[derive(Debug, Clone)]
pub(super) struct Template(Vec<Part>);

/// The words that replace a program of the image; `None` marks where the program's own words go.
#[derive(Debug, Clone)]
pub(super) struct StandIn(Vec<Option<Template>>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Capture(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    image: String,
    #[serde(default)]
    entrypoint: Vec<String>,
    #[serde(default)]
    cmd: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    programs: BTreeMap<String, Vec<String>>,
}

/// The element of a stand-in that is replaced by the program's own words.
const ARGS: &str = "{args}";

pub(super) fn parse(yaml: &str) -> Result<Vec<Entry>, ImagesError> {
    let rows: Vec<Row> =
        serde_saphyr::from_str(yaml).map_err(|error| ImagesError::Yaml(error.to_string()))?;
    rows.into_iter()
        .enumerate()
        .map(|(index, row)| entry(index + 1, row))
        .collect()
}

fn entry(number: usize, row: Row) -> Result<Entry, ImagesError> {
    let Row {
        image,
        entrypoint,
        cmd,
        env,
        programs,
    } = row;
    let pattern = Pattern::parse(&image).map_err(|reason| ImagesError::Pattern {
        entry: number,
        pattern: image.clone(),
        reason,
    })?;
    if entrypoint.is_empty() && cmd.is_empty() {
        return Err(ImagesError::Empty {
            entry: number,
            pattern: image,
        });
    }
    // A stand-in starts with its own program: the words of the container alone could be none.
    if let Some((program, _)) = programs
        .iter()
        .find(|(_, words)| words.first().is_none_or(|word| word == ARGS))
    {
        return Err(ImagesError::Program {
            entry: number,
            pattern: image,
            program: program.clone(),
        });
    }
    let template = |field: String, text: &str| {
        let template = Template::parse(text);
        let unknown = template
            .names()
            .find(|name| pattern.names().all(|known| known != *name));
        match unknown {
            Some(name) => Err(ImagesError::Capture {
                entry: number,
                pattern: image.clone(),
                field,
                name: name.to_owned(),
            }),
            None => Ok(template),
        }
    };
    let words = |field: &str, words: &[String]| {
        let word = |(index, text): (usize, &String)| template(format!("{field}[{index}]"), text);
        words.iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()
    };

    let stand_in = |(program, words): (String, Vec<String>)| {
        let word = |(index, text): (usize, &String)| {
            (text != ARGS)
                .then(|| template(format!("programs.{program}[{index}]"), text))
                .transpose()
        };
        let words = words.iter().enumerate().map(word).collect::<Result<_, _>>()?;
        Ok((program, StandIn(words)))
    };
    Ok(Entry {
        entrypoint: words("entrypoint", &entrypoint)?,
        cmd: words("cmd", &cmd)?,
        env: env
            .into_iter()
            .map(|(name, value)| template(format!("env.{name}"), &value).map(|value| (name, value)))
            .collect::<Result<_, _>>()?,
        programs: programs
            .into_iter()
            .map(stand_in)
            .collect::<Result<_, ImagesError>>()?,
        pattern,
    })
}

// === impl Template ===

impl Template {
    /// Braces around anything but a name are ordinary text, so JSON in an argument needs no escaping.
    fn parse(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            plain.push_str(before);
            let name = after[1..].split_once('}').filter(|(name, _)| {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            });
            match name {
                Some((name, after)) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Capture(name.to_owned()));
                    rest = after;
                }
                None => {
                    plain.push('{');
                    rest = &after[1..];
                }
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self(parts)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Capture(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    pub(super) fn fill(&self, captures: &Captures<'_>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Capture(name) => captures
                .get(name.as_str())
                .copied()
                .unwrap_or_default()
                .to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}

// === impl StandIn ===

impl StandIn {
    pub(super) fn argv(&self, captures: &Captures<'_>, own: &[String]) -> Vec<String> {
        let mut argv = Vec::new();
        for word in &self.0 {
            match word {
                Some(template) => argv.push(template.fill(captures)),
                None => argv.extend_from_slice(own),
            }
        }
        argv
    }
}
