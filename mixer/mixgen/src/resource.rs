//! The text of resources.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use crate::args::ResourceArgs;
use crate::error::Invalid;

/// Words that YAML reads as something other than text.
const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// The beginning of a resource of Mixer, as 1.1's generator writes it, up to the fields of its `spec`.
///
/// # Errors
///
/// Name or namespace is not what Kubernetes takes.
pub(crate) fn head(kind: &str, args: &ResourceArgs, command_line: &str) -> Result<String, Invalid> {
    check_label("--name", &args.name)?;
    check_label("--namespace", &args.namespace)?;
    // It is a comment of one line.
    let command_line: String = command_line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Ok(format!(
        "# this config is created through command\n# mixgen {command_line}\napiVersion: \"config.istio.io/v1alpha2\"\n\
         kind: {kind}\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n",
        scalar(&args.name),
        scalar(&args.namespace)
    ))
}

/// Writes a resource where it is wanted.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn write(args: &ResourceArgs, text: &str) -> Result<(), Invalid> {
    match &args.output {
        Some(path) if path.is_dir() => write_file(&path.join(format!("{}.yaml", args.name)), text),
        Some(path) => write_file(path, text),
        None => stdout()
            .write_all(text.as_bytes())
            .map_err(|error| Invalid::new("standard output", error.to_string())),
    }
}

/// Writes a file.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<(), Invalid> {
    fs::write(path, text).map_err(Invalid::io(path))
}

/// A value of YAML that is read as this text.
pub(crate) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./()".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !text.ends_with(' ')
        && !WORDS.contains(&&*text.to_ascii_lowercase());
    if is_plain {
        return text.to_owned();
    }
    // A string of JSON is one of YAML.
    serde_json::Value::from(text).to_string()
}

/// Whether Kubernetes takes this as a name: lower-case letters, digits and dashes, at most 63.
///
/// # Errors
///
/// It does not.
pub(crate) fn check_label(what: &str, name: &str) -> Result<(), Invalid> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        return Ok(());
    }
    Err(Invalid::new(
        what,
        format!("{name:?} is no name: 1 to 63 lower-case letters, digits and dashes, no dash at the ends"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        for (text, written) in [
            ("prints requests", "prints requests"),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("1", "\"1\""),
            ("a: b", "\"a: b\""),
            ("two\nlines", "\"two\\nlines\""),
            ("a #comment", "\"a #comment\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn names_are_those_of_kubernetes() {
        for name in ["a", "my-adapter", "0"] {
            check_label("--name", name).unwrap();
        }
        for name in ["", "A", "-a", "a-", "a.b", "a\nb", &"a".repeat(64)] {
            let error = check_label("--name", name).unwrap_err().to_string();
            assert!(error.starts_with("--name: "), "{error}");
        }
    }
}
