//! Places inside a document, such as `http[0].match[1].headers[end-user]`.

use std::fmt;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Field of a message.
    Field(String),
    /// Entry of a map.
    Key(String),
    /// Item of a list, from 0.
    Index(usize),
}

/// A path that grows with the recursion of its reader and costs nothing until an error names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    /// The value that reading began with.
    Root,
    /// Field of a message.
    Field(&'a Path<'a>, &'a str),
    /// Entry of a map.
    Key(&'a Path<'a>, &'a str),
    /// Item of a list.
    Index(&'a Path<'a>, usize),
}

// === impl Path ===

impl<'a> Path<'a> {
    pub(crate) fn field(&'a self, name: &'a str) -> Self {
        Self::Field(self, name)
    }

    pub(crate) fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    pub(crate) fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }

    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut here = self;
        loop {
            let (parent, segment) = match here {
                Self::Root => break,
                Self::Field(parent, name) => (parent, Segment::Field((*name).to_owned())),
                Self::Key(parent, key) => (parent, Segment::Key((*key).to_owned())),
                Self::Index(parent, index) => (parent, Segment::Index(*index)),
            };
            segments.push(segment);
            here = parent;
        }
        segments.reverse();
        segments
    }
}

/// The text of a path.
pub(crate) fn display(segments: &[Segment]) -> String {
    let mut text = String::new();
    for segment in segments {
        if matches!(segment, Segment::Field(_)) && !text.is_empty() {
            text.push('.');
        }
        match segment {
            Segment::Field(name) => text.push_str(name),
            Segment::Key(_) | Segment::Index(_) => text.push_str(&format!("[{segment}]")),
        }
    }
    text
}

/// Reads the text of a path. Never fails: what is no path leads nowhere.
pub(crate) fn parse(text: &str) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (inside, after) = bracket.split_once(']').unwrap_or((bracket, ""));
            segments.push(
                inside
                    .parse()
                    .map_or_else(|_| Segment::Key(inside.to_owned()), Segment::Index),
            );
            rest = after;
        } else {
            let field = rest.strip_prefix('.').unwrap_or(rest);
            let end = field.find(['.', '[']).unwrap_or(field.len());
            segments.push(Segment::Field(field[..end].to_owned()));
            rest = &field[end..];
        }
    }
    segments
}

// === impl Segment ===

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) | Self::Key(name) => f.write_str(name),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_read_what_they_show() {
        for text in [
            "spec",
            "http[0].route[1].weight",
            "metadata.labels[app.kubernetes.io/name]",
            "[2].a",
        ] {
            assert_eq!(display(&parse(text)), text);
        }
        let root = Path::Root;
        let http = root.field("http");
        let first = http.index(0);
        let headers = first.field("headers");
        assert_eq!(
            display(&headers.key("end-user").segments()),
            "http[0].headers[end-user]"
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_read_as_a_path(text in ".{0,40}") {
            parse(&text);
        }
    }
}
