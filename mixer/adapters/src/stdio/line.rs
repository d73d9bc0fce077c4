//! How lines look: the words and the order of keys are those of 1.1.

use std::fmt::{self, Write};

use mixer_adapter::text;
use mixer_attribute::Value;
use mixer_template::Fields;
use prost_types::Timestamp;

use super::config::Level;

/// What stands in every line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) level: Level,
    pub(super) time: &'a Timestamp,
    /// Full name of the instance.
    pub(super) instance: &'a str,
}

/// Writes a line of JSON.
pub(super) fn json(
    out: &mut String,
    head: Head<'_>,
    value: Option<&Value<'_>>,
    fields: &Fields<'_>,
) -> fmt::Result {
    write!(out, "{{\"level\":\"{}\",\"time\":\"", head.level.name())?;
    text::write_timestamp(out, head.time)?;
    out.push_str("\",\"instance\":");
    string(out, head.instance);
    for (name, value) in value
        .map(|value| ("value", value))
        .into_iter()
        .chain(pairs(fields))
    {
        out.push(',');
        string(out, name);
        out.push(':');
        json_value(out, value)?;
    }
    out.push_str("}\n");
    Ok(())
}

/// Writes a line of text: time, level and instance, and an object with the rest, with tabs between them.
pub(super) fn console(
    out: &mut String,
    head: Head<'_>,
    value: Option<&Value<'_>>,
    fields: &Fields<'_>,
) -> fmt::Result {
    text::write_timestamp(out, head.time)?;
    write!(out, "\t{}\t", head.level.name())?;
    // A line break would begin another line.
    out.extend(
        head.instance
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter }),
    );
    let mut separator = "\t{";
    for (name, value) in value
        .map(|value| ("value", value))
        .into_iter()
        .chain(pairs(fields))
    {
        out.push_str(separator);
        string(out, name);
        out.push_str(": ");
        json_value(out, value)?;
        separator = ", ";
    }
    out.push_str(if separator == ", " { "}\n" } else { "\n" });
    Ok(())
}

fn pairs<'f>(fields: &'f Fields<'_>) -> impl Iterator<Item = (&'f str, &'f Value<'f>)> {
    fields
        .iter()
        .map(|(name, value)| -> (&'f str, &'f Value<'f>) { (*name, value) })
}

fn json_value(out: &mut String, value: &Value<'_>) -> fmt::Result {
    match value {
        Value::String(text) => string(out, text),
        Value::Int64(_) | Value::Bool(_) => text::write(out, value)?,
        Value::Double(number) if number.is_finite() => text::write(out, value)?,
        Value::StringMap(_) => string(out, &text::stringify(Some(value))),
        // Nothing in their texts needs to be escaped.
        Value::Double(_) | Value::Timestamp(_) | Value::Duration(_) | Value::IpAddress(_) => {
            out.push('"');
            text::write(out, value)?;
            out.push('"');
        }
    }
    Ok(())
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) =
        rest.find(|letter: char| matches!(letter, '"' | '\\' | '\0'..='\x1f' | '\u{2028}' | '\u{2029}'))
    {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut letters = special.chars();
        match letters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(letter) => {
                // A string takes whatever is written.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            None => {}
        }
        rest = letters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
