//! Patterns of RE2, which Go's `regexp` follows, for our engine of regular expressions.
//!
//! The grammars are nearly one. Where they differ the pattern is rewritten: classes such as `\d` are ASCII, `\Q...\E` is
//! literal, and inside of brackets nothing but ranges and named classes has a meaning. What only RE2 rejects is rejected
//! ([`mesh_config::re2`]).

use regex::{Regex, RegexBuilder};

use crate::error::{EvalError, shortened};

/// How large a compiled pattern may be, in bytes. One may come with a request.
const SIZE_LIMIT: usize = 1 << 20;

/// How long a pattern may be, in bytes: whatever is longer takes its time to be parsed, for each request.
const LENGTH_LIMIT: usize = 1 << 16;

/// How deeply a pattern may be nested.
const NEST_LIMIT: u32 = 100;

/// Compiles a pattern.
pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    let refused = |reason: String| EvalError::Pattern {
        pattern: shortened(pattern).into(),
        reason: reason.into(),
    };
    if pattern.len() > LENGTH_LIMIT {
        return Err(refused(format!("it is longer than {LENGTH_LIMIT} bytes")));
    }
    let translated = translated(pattern);
    if let Some(reason) = mesh_config::re2::rejected(&translated) {
        return Err(refused(reason));
    }
    RegexBuilder::new(&translated)
        .size_limit(SIZE_LIMIT)
        .nest_limit(NEST_LIMIT)
        .build()
        .map_err(|error| refused(reason(&error)))
}

/// The last line of a message that shows the pattern over several lines.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn translated(pattern: &str) -> String {
    let mut made = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    let mut in_class = false;
    // Nothing but `[` or `[^` stands before: a bracket that closes is a letter here.
    let mut class_begins = false;
    // Where none ends any more none is looked for: a pattern may come with a request, and be long.
    let mut named_classes = pattern.contains(":]");
    while let Some(letter) = letters.next() {
        let begins = std::mem::take(&mut class_begins);
        match letter {
            '\\' => match letters.next() {
                Some('Q') => {
                    let rest = letters.as_str();
                    let end = rest.find("\\E").unwrap_or(rest.len());
                    made.push_str(&regex::escape(&rest[..end]));
                    letters = rest.get(end + 2..).unwrap_or_default().chars();
                }
                Some('b') if !in_class => made.push_str(r"(?-u:\b)"),
                Some(escaped) => match ascii_class(escaped) {
                    Some(class) => made.push_str(class),
                    None => made.extend(['\\', escaped]),
                },
                None => made.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                class_begins = true;
                made.push('[');
                if let Some(rest) = letters.as_str().strip_prefix('^') {
                    made.push('^');
                    letters = rest.chars();
                }
            }
            '[' if named_classes && letters.as_str().starts_with(':') => {
                match letters.as_str()[1..].find(":]") {
                    Some(end) => {
                        let (class, rest) = letters.as_str().split_at(end + 3);
                        made.push('[');
                        made.push_str(class);
                        letters = rest.chars();
                    }
                    None => {
                        named_classes = false;
                        made.push_str(r"\[");
                    }
                }
            }
            '[' => made.push_str(r"\["),
            ']' if begins => made.push_str(r"\]"),
            ']' => {
                in_class = false;
                made.push(']');
            }
            '&' | '~' if in_class => made.extend(['\\', letter]),
            letter => made.push(letter),
        }
    }
    made
}

fn ascii_class(escaped: char) -> Option<&'static str> {
    Some(match escaped {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        _ => return None,
    })
}
