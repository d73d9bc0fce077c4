//! Where the documents of a stream begin and end.
//!
//! By lines, not by the parser: a marker (`---`, `...`) at the start of a line ends every construct of YAML, so a
//! document that does not parse cannot swallow the ones after it.

/// The text of one document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) text: &'a str,
    /// Line that the text starts on, from 1.
    pub(super) line: usize,
    /// First line with content, from 1.
    pub(super) content_line: usize,
}

/// The documents that have content; comments and directives are none.
pub(super) fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut chunks = Vec::new();
    // Start of the current document: byte, line, first line with content.
    let (mut start, mut start_line, mut content_line) = (0, 1, None);
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let number = index + 1;
        match marker(line) {
            Some(marker) => {
                if let Some(content_line) = content_line {
                    chunks.push(Chunk {
                        text: &text[start..offset],
                        line: start_line,
                        content_line,
                    });
                }
                // What follows `---` on its line belongs to the new document.
                start = offset + marker.len();
                start_line = number;
                content_line = has_content(&line[marker.len()..]).then_some(number);
            }
            None if content_line.is_none() && has_content(line) => content_line = Some(number),
            None => {}
        }
        offset += line.len();
    }
    if let Some(content_line) = content_line {
        chunks.push(Chunk {
            text: &text[start..],
            line: start_line,
            content_line,
        });
    }
    chunks
}

fn marker(line: &str) -> Option<&'static str> {
    ["---", "..."].into_iter().find(|marker| {
        line.strip_prefix(marker)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
    })
}

fn has_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with(['#', '%'])
}
