//! A YAML emitter of our own, so that a release of somebody else's never rewrites every golden file.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Fields that tell what an object is; they come first.
const FIRST: &[&str] = &["@type", "name", "clusterName"];

/// Words that would not be read as strings.
const WORDS: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// Writes a value as block YAML: two spaces a level, fields in alphabetical order after those that name the object,
/// quotes only where they are needed.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => object(fields, 0, &mut out),
        Value::Array(items) if !items.is_empty() => array(items, 0, &mut out),
        other => {
            scalar(other, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

/// The fields, each on lines of its own. The first line is indented by whoever calls.
fn object(fields: &Map<String, Value>, indent: usize, out: &mut String) {
    let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
    let rest = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    for (index, (name, value)) in first.chain(rest).enumerate() {
        if index > 0 {
            pad(indent, out);
        }
        out.push_str(&string(name));
        out.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                out.push('\n');
                pad(indent + 2, out);
                object(fields, indent + 2, out);
            }
            // Items stand below their field without further indentation.
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(indent, out);
                array(items, indent, out);
            }
            other => {
                out.push(' ');
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn array(items: &[Value], indent: usize, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(indent, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => object(fields, indent + 2, out),
            Value::Array(items) if !items.is_empty() => array(items, indent + 2, out),
            other => {
                scalar(other, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if is_block(text) => block(text, indent, out),
        Value::String(text) => out.push_str(&string(text)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => {
            // Writing to a string cannot fail.
            let _ = write!(out, "{other}");
        }
    }
}

/// Several lines that a literal block can hold.
fn is_block(text: &str) -> bool {
    let lines = text.trim_end_matches('\n');
    lines.contains('\n')
        && !lines.starts_with([' ', '\n', '\t'])
        && text
            .chars()
            .all(|letter| letter == '\n' || !letter.is_control() && letter != '\u{feff}')
        && !text.contains(['\u{85}', '\u{2028}', '\u{2029}'])
        && lines.lines().all(|line| !line.ends_with(' '))
}

fn block(text: &str, indent: usize, out: &mut String) {
    let lines = text.trim_end_matches('\n');
    out.push_str(match text.len() - lines.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(indent.max(2), out);
            out.push_str(line);
        }
    }
    // The last line break is the caller's.
    for _ in 1..(text.len() - lines.len()) {
        out.push('\n');
    }
}

fn string(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}

/// Whether the text needs no quotes. Cautious: quotes never hurt.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./|:@* ".contains(letter);
    if !(first.is_ascii_alphanumeric() || first == '_' || first == '/') || !text.chars().all(plain) {
        return false;
    }
    if text.ends_with([':', ' '])
        || text.contains(": ")
        || WORDS.contains(&text.to_ascii_lowercase().as_str())
    {
        return false;
    }
    // What starts with a digit may be a number, a time or a sexagesimal: ask the reader.
    !first.is_ascii_digit()
        || serde_saphyr::from_str_with_options::<Value>(
            text,
            serde_saphyr::options! { legacy_octal_numbers: true },
        )
        .is_ok_and(|value| value == text)
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}
