//! What may be behind a rejection.

use std::collections::BTreeSet;
use std::sync::Arc;

use pilot_networking::Origin;

use super::content::find;
use crate::resource::{Encoded, ResourceSet, same};

/// A name that is shorter than this, or a number, says nothing when it stands in a sentence.
const TELLING: usize = 5;

/// What the resources were made because of that a client was sent and had not accepted before. When it names some of
/// them, those alone.
pub(super) fn origins(
    rejected: &[Arc<ResourceSet>],
    accepted: &[Arc<ResourceSet>],
    reason: &str,
) -> BTreeSet<Origin> {
    let mut suspects: Vec<(&Arc<Encoded>, &Arc<Encoded>)> = Vec::new();
    for item in rejected.iter().flat_map(|set| set.items()) {
        match find(accepted, &item.name) {
            Some(known) if same(known, item) => {}
            known => suspects.extend(new_parts(item, known).into_iter().map(|part| (item, part))),
        }
    }
    let is_named = |(item, part): &&(&Arc<Encoded>, &Arc<Encoded>)| {
        names(reason, &part.name) || names(reason, &item.name)
    };
    let named: Vec<_> = suspects.iter().filter(is_named).collect();
    let suspects = if named.is_empty() {
        suspects.iter().collect()
    } else {
        named
    };
    let origins = suspects
        .into_iter()
        .flat_map(|(item, part)| item.origins.iter().chain(&part.origins));
    origins.cloned().collect()
}

/// The parts of a resource that are not in the one before; itself when it has none.
fn new_parts<'a>(item: &'a Arc<Encoded>, known: Option<&'a Arc<Encoded>>) -> Vec<&'a Arc<Encoded>> {
    if item.parts.is_empty() {
        return vec![item];
    }
    let known = known.map(|known| &known.parts[..]).unwrap_or_default();
    let is_known = |part: &Arc<Encoded>| {
        let position = known.binary_search_by(|known| known.name.cmp(&part.name));
        position.is_ok_and(|position| same(&known[position], part))
    };
    let new: Vec<_> = item.parts.iter().filter(|part| !is_known(part)).collect();
    if new.is_empty() {
        // It is how they were put together.
        item.parts.iter().collect()
    } else {
        new
    }
}

/// Whether a text mentions a name, and not a longer one that begins or ends with it.
fn names(text: &str, name: &str) -> bool {
    let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '|' | ':');
    name.len() >= TELLING
        && name.contains(|c: char| !c.is_ascii_digit())
        && text.match_indices(name).any(|(start, _)| {
            let (before, after) = (&text[..start], &text[start + name.len()..]);
            let mut after = after.chars();
            let goes_on = match after.next() {
                // The end of a sentence, or of a label; a colon before a space introduces the reason.
                Some('.' | ':') => after.next().is_some_and(is_part_of_name),
                Some(next) => is_part_of_name(next),
                None => false,
            };
            !before.ends_with(|c: char| is_part_of_name(c) || c == '.') && !goes_on
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_what_envoy_says() {
        let text = "Error adding/updating cluster(s) outbound|80||bad.ns: no healthy checks, outbound|80|v1|bad.ns: same";
        assert!(names(text, "outbound|80||bad.ns"));
        assert!(names(text, "outbound|80|v1|bad.ns"));
        for other in [
            "outbound|80||bad",
            "80||bad.ns",
            "80",
            "bad.ns",
            "outbound|80||bad.ns.svc",
        ] {
            assert!(!names(text, other), "{other}");
        }
        assert!(names("duplicate entry of domain a.ns:80.", "a.ns:80"));
    }
}
