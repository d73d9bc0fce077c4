//! Image references as container runtimes read them, and the patterns that select them.

use std::collections::BTreeMap;

/// A complete image reference: `kennethreitz/httpbin` is `docker.io/kennethreitz/httpbin` with tag `latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    name: String,
    tag: String,
}

/// A pattern over the two halves of a reference. Without a tag it matches every tag.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    name: Vec<Piece>,
    tag: Option<Vec<Piece>>,
}

/// What the named parts of a pattern matched.
pub(super) type Captures<'a> = BTreeMap<&'a str, &'a str>;

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    /// `*` or `{name}`: any run of characters within one path component, possibly none.
    Run(Option<String>),
    /// `**`: any run of characters, slashes included.
    Deep,
}

const HUB: &str = "docker.io";

// === impl Reference ===

impl Reference {
    pub(super) fn parse(image: &str) -> Self {
        // A digest pins the content; the table speaks of names and tags.
        let image = image.split_once('@').map_or(image, |(named, _digest)| named);
        let (name, tag) = split_tag(image);
        Self {
            name: complete(name),
            tag: tag.unwrap_or("latest").to_owned(),
        }
    }
}

/// Splits at the colon of the tag, which is the one after the last slash: an earlier one is a registry's port.
fn split_tag(image: &str) -> (&str, Option<&str>) {
    let base = image.rfind('/').map_or(0, |slash| slash + 1);
    match image.get(base..).and_then(|last| last.find(':')) {
        Some(colon) => (&image[..base + colon], Some(&image[base + colon + 1..])),
        None => (image, None),
    }
}

/// Adds the registry and the folder that a short name leaves out. A first component is a registry if it could
/// be a host name (dot, port, `localhost`) or if it is a wildcard.
fn complete(name: &str) -> String {
    match name.split_once('/') {
        None if name.contains('*') => name.to_owned(),
        None => format!("{HUB}/library/{name}"),
        Some((first, _)) if first == "localhost" || first.contains(['.', ':', '*']) => name.to_owned(),
        Some(_) => format!("{HUB}/{name}"),
    }
}

// === impl Pattern ===

impl Pattern {
    pub(super) fn parse(pattern: &str) -> Result<Self, &'static str> {
        if pattern.is_empty() {
            return Err("empty");
        }
        let (name, tag) = split_tag(pattern);
        let parsed = Self {
            name: pieces(&complete(name))?,
            tag: tag.map(pieces).transpose()?,
        };
        let mut names: Vec<_> = parsed.names().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("captures one name twice");
        }
        Ok(parsed)
    }

    /// The names that a match captures.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.name
            .iter()
            .chain(self.tag.iter().flatten())
            .filter_map(|piece| match piece {
                Piece::Run(name) => name.as_deref(),
                Piece::Text(_) | Piece::Deep => None,
            })
    }

    pub(super) fn matches<'a>(&'a self, reference: &'a Reference) -> Option<Captures<'a>> {
        let mut captures = Captures::new();
        let matched = run(&self.name, &reference.name, &mut captures)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| run(tag, &reference.tag, &mut captures));
        matched.then_some(captures)
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("**") {
            pieces.push(Piece::Deep);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('*') {
            pieces.push(Piece::Run(None));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or("brace without its end")?;
            if name.is_empty()
                || !name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            {
                return Err("a captured name has letters, digits and underscores");
            }
            pieces.push(Piece::Run(Some(name.to_owned())));
            rest = after;
        } else {
            let end = rest.find(['*', '{']).unwrap_or(rest.len());
            pieces.push(Piece::Text(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    Ok(pieces)
}

/// Matches the whole text; a run takes as little as it can, so that `{app}-{version}` splits at the first dash.
fn run<'a>(pieces: &'a [Piece], text: &'a str, captures: &mut Captures<'a>) -> bool {
    let Some((piece, rest)) = pieces.split_first() else {
        return text.is_empty();
    };
    let name = match piece {
        Piece::Text(literal) => {
            return text
                .strip_prefix(literal.as_str())
                .is_some_and(|text| run(rest, text, captures));
        }
        Piece::Run(name) => name.as_deref(),
        Piece::Deep => None,
    };
    let limit = match piece {
        Piece::Deep => text.len(),
        _ => text.find('/').unwrap_or(text.len()),
    };
    let ends = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .take_while(|end| *end <= limit);
    for end in ends {
        let (taken, left) = text.split_at(end);
        if run(rest, left, captures) {
            if let Some(name) = name {
                captures.insert(name, taken);
            }
            return true;
        }
    }
    false
}
