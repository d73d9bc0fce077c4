//! Names of metrics: templates over the dimensions, the part of Go's that names need.

use mixer_adapter::text;
use mixer_template::Fields;

/// A name with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The first of them that is not empty.
    Or(Vec<Operand>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operand {
    Dimension(String),
    Text(String),
}

/// Writes text so that it can be a part of a name: what has a meaning in statsd's protocol is replaced.
pub(super) fn write_name(out: &mut String, text: &str) {
    out.extend(text.chars().map(|letter| match letter {
        ':' | '|' | '@' | '#' => '_',
        letter if letter.is_control() || letter.is_whitespace() => '_',
        letter => letter,
    }));
}

// === impl NameTemplate ===

impl NameTemplate {
    /// Reads `text`, `{{.dimension}}` and `{{or .one .other "text"}}`.
    ///
    /// # Errors
    ///
    /// What else there is in it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or("{{ is not closed")?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Or(operands(action.trim())?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The dimensions that it names.
    pub(super) fn dimensions(&self) -> impl Iterator<Item = &str> {
        let operands = self.0.iter().flat_map(|part| -> &[Operand] {
            match part {
                Part::Text(_) => &[],
                Part::Or(operands) => operands,
            }
        });
        operands.filter_map(|operand| match operand {
            Operand::Dimension(name) => Some(name.as_str()),
            Operand::Text(_) => None,
        })
    }

    /// Writes the name that dimensions give.
    ///
    /// # Errors
    ///
    /// A dimension that is missing.
    pub(super) fn write(&self, out: &mut String, dimensions: &Fields<'_>) -> Result<(), String> {
        let mut scratch = String::new();
        for part in &self.0 {
            let operands = match part {
                Part::Text(text) => {
                    write_name(out, text);
                    continue;
                }
                Part::Or(operands) => operands,
            };
            for operand in operands {
                scratch.clear();
                match operand {
                    Operand::Text(text) => scratch.push_str(text),
                    Operand::Dimension(name) => {
                        let (_, value) = dimensions
                            .iter()
                            .find(|(key, _)| key == name)
                            .ok_or_else(|| format!("there is no dimension {name} for its name"))?;
                        scratch.push_str(&text::stringify(Some(value)));
                    }
                }
                if !scratch.is_empty() {
                    break;
                }
            }
            write_name(out, &scratch);
        }
        Ok(())
    }
}

fn operands(action: &str) -> Result<Vec<Operand>, String> {
    let (rest, more) = match action.strip_prefix("or ") {
        Some(rest) => (rest, true),
        None => (action, false),
    };
    let mut operands = Vec::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        if let Some(text) = rest.strip_prefix('"') {
            let (text, after) = text.split_once('"').ok_or("a quote is not closed")?;
            operands.push(Operand::Text(text.to_owned()));
            rest = after.trim_start();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let name = word.strip_prefix('.').filter(|name| {
                !name.is_empty()
                    && name
                        .chars()
                        .all(|letter| letter.is_alphanumeric() || letter == '_')
            });
            let name = name.ok_or_else(|| format!("{word:?} is neither .dimension nor \"text\""))?;
            operands.push(Operand::Dimension(name.to_owned()));
            rest = after.trim_start();
        }
    }
    match operands.len() {
        0 => Err("{{}} is empty".to_owned()),
        1 => Ok(operands),
        _ if more => Ok(operands),
        _ => Err(format!("{{{{{action}}}}} has more than one operand, and no or")),
    }
}

#[cfg(test)]
mod tests {
    use mixer_attribute::Value;

    use super::*;

    fn name(template: &str, dimensions: &Fields<'_>) -> Result<String, String> {
        let mut out = String::new();
        NameTemplate::parse(template)?.write(&mut out, dimensions)?;
        Ok(out)
    }

    /// `spec 02` §7.3.
    #[test]
    fn templates_have_dimensions_text_and_or() {
        let dimensions = vec![
            ("code", Value::Int64(200)),
            ("none", "".into()),
            ("svc", "a b:c|d".into()),
        ];
        for (template, expected) in [
            ("plain.name", Ok("plain.name")),
            ("{{.svc}}", Ok("a_b_c_d")),
            ("x.{{ .code }}.y{{.none}}", Ok("x.200.y")),
            ("{{or .none .code}}", Ok("200")),
            (r#"{{or .none "unknown thing"}}"#, Ok("unknown_thing")),
            ("{{.missing}}", Err("there is no dimension missing for its name")),
            ("{{.a", Err("{{ is not closed")),
            ("{{}}", Err("{{}} is empty")),
            ("{{.a .b}}", Err("{{.a .b}} has more than one operand, and no or")),
            ("{{if .a}}", Err("\"if\" is neither .dimension nor \"text\"")),
            (r#"{{or .a "b}}"#, Err("a quote is not closed")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(name(template, &dimensions), expected, "{template}");
        }
    }
}
