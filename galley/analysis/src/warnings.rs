//! What is said about an object, kept short: kubectl shows 256 characters of a warning, and the API server drops what is
//! beyond 4,096 bytes for all.

/// Warnings about one object; what is beyond is counted in the last.
pub const MAX_WARNINGS: usize = 8;
/// Longest warning, in bytes; the name of the object is put before it.
pub const MAX_WARNING_BYTES: usize = 200;

/// The warnings about one object, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    lines: Vec<String>,
    more: usize,
}

// === impl Warnings ===

impl Warnings {
    /// Something is surely wrong with a field.
    pub(crate) fn say(&mut self, field: impl AsRef<str>, reason: impl AsRef<str>) {
        let line = shortened(format!("{}: {}", field.as_ref(), reason.as_ref()));
        if self.lines.contains(&line) {
            return;
        }
        if self.lines.len() < MAX_WARNINGS {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.pop();
            self.lines
                .push(format!("and {} more of such mistakes", self.more + 1));
        }
        self.lines
    }
}

fn shortened(mut line: String) -> String {
    if line.len() > MAX_WARNING_BYTES {
        let mut end = MAX_WARNING_BYTES - '…'.len_utf8();
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('…');
    }
    line
}
