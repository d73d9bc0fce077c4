//! Documents that somebody slipped in.

use crate::objects::Choices;

/// What stands where something sensible should.
pub const ODDITIES: &[&str] = &[
    "",
    "''",
    "~",
    "0",
    "-1",
    "65536",
    "99999999999999999999",
    "1e999",
    ".nan",
    "true",
    "[]",
    "{}",
    "[[[[{}]]]]",
    "'*'",
    "'.'",
    "'*.'",
    "'..'",
    "':'",
    "'[::1]:80'",
    "unix://",
    "10.0.0.0/33",
    "'\\0'",
    "\"\\u0000\"",
    "ü",
    "&a [*a]",
    "!!binary x",
    "0s",
    "-1s",
    "99999999999999999s",
    "'%'",
    "a: b",
    "? ",
    "- ",
    "|",
    "---",
    "\t",
];

/// A text with one change: a value, a line (also of `other`), or a letter.
pub fn changed(text: &str, other: &str, choices: &mut Choices<'_>) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return other.to_owned();
    }
    let at = choices.below(lines.len());
    match choices.below(6) {
        // A value is another one.
        0 | 1 => {
            let places: Vec<usize> = text.match_indices(": ").map(|(place, _)| place + 2).collect();
            if places.is_empty() {
                return text.to_owned();
            }
            let from = *choices.one_of(&places);
            let to = text[from..]
                .find([',', '}', ']', '\n'])
                .map_or(text.len(), |length| from + length);
            return format!("{}{}{}", &text[..from], choices.one_of(ODDITIES), &text[to..]);
        }
        2 => {
            lines.remove(at);
        }
        3 => lines.insert(at, lines[at]),
        4 => {
            let others: Vec<&str> = other.lines().collect();
            if !others.is_empty() {
                lines[at] = others[choices.below(others.len())];
            }
        }
        // Any character is any other.
        _ => {
            let mut characters: Vec<char> = text.chars().collect();
            let place = choices.below(characters.len());
            characters[place] =
                char::from_u32(u32::try_from(choices.below(0x100)).unwrap_or_default()).unwrap_or(' ');
            return characters.into_iter().collect();
        }
    }
    lines.join("\n")
}
