//! Templates of bootstrap files: text with `{{ .Name }}` in it (`AGT-20`, `AGT-30`).

use std::collections::BTreeMap;

/// A template that cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name that has no value here.
    #[error("line {line}: there is no value for {name:?}")]
    UnknownName {
        /// The line, from 1.
        line: usize,
        /// The name without its dot.
        name: String,
    },
    /// Something other than a name. Conditions, loops and functions do not exist.
    #[error("line {line}: {action:?} is not the name of a value")]
    UnknownAction {
        /// The line, from 1.
        line: usize,
        /// The text between the braces.
        action: String,
    },
    /// Braces that are not closed.
    #[error("line {line}: braces are not closed")]
    Unclosed {
        /// The line, from 1.
        line: usize,
    },
}

/// Puts the values in place of their names.
///
/// # Errors
/// The first place that cannot be filled in.
pub fn fill(template: &str, values: &BTreeMap<&str, String>) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once("{{") {
        filled.push_str(before);
        let line = template[..template.len() - behind.len()].matches('\n').count() + 1;
        let Some((action, behind)) = behind.split_once("}}") else {
            return Err(TemplateError::Unclosed { line });
        };
        // A dash takes the white space beside the braces with it, as in Go.
        let (left, action) = match action.strip_prefix('-') {
            Some(action) => (true, action),
            None => (false, action),
        };
        let (right, action) = match action.strip_suffix('-') {
            Some(action) => (true, action),
            None => (false, action),
        };
        if left {
            filled.truncate(filled.trim_end().len());
        }
        let action = action.trim();
        let comment = action.starts_with("/*") && action.ends_with("*/");
        match action.strip_prefix('.') {
            _ if comment => {}
            Some(name) if is_name(name) => match values.get(name) {
                Some(value) => filled.push_str(value),
                None => {
                    return Err(TemplateError::UnknownName {
                        line,
                        name: name.to_owned(),
                    });
                }
            },
            _ => {
                return Err(TemplateError::UnknownAction {
                    line,
                    action: action.to_owned(),
                });
            }
        }
        rest = if right { behind.trim_start() } else { behind };
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_alphanumeric() || "_.".contains(letter))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{TemplateError, fill};

    fn values() -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("PodIP", "10.0.0.1".to_owned()),
            ("config.Port", "15000".to_owned()),
        ])
    }

    #[test]
    fn names_are_replaced_by_their_values() {
        let template = "a: {{ .PodIP }}:{{.config.Port}}\n{{/* nothing */}}b: {{- .PodIP -}} \n c";
        assert_eq!(
            fill(template, &values()).unwrap(),
            "a: 10.0.0.1:15000\nb:10.0.0.1c"
        );
        assert_eq!(fill("{plain}", &values()).unwrap(), "{plain}");
    }

    #[test]
    fn what_cannot_be_filled_in_is_named_with_its_line() {
        let unknown = TemplateError::UnknownName {
            line: 2,
            name: "Nobody".into(),
        };
        assert_eq!(fill("\n{{ .Nobody }}", &values()), Err(unknown));
        let action = TemplateError::UnknownAction {
            line: 1,
            action: "if .PodIP".into(),
        };
        assert_eq!(fill("{{ if .PodIP }}", &values()), Err(action));
        assert_eq!(
            fill("\n\n{{ .PodIP", &values()),
            Err(TemplateError::Unclosed { line: 3 })
        );
    }
}
