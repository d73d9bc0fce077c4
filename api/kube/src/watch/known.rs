//! What has been told, so that a new list tells only differences.

use std::collections::HashMap;

use super::ObjectName;

/// Names and versions of the objects of a kind.
#[derive(Debug, Default)]
pub(super) struct Known {
    objects: HashMap<ObjectName, Entry>,
    /// Number of the list that is being read, or was last.
    list: u64,
    rejected: usize,
}

#[derive(Debug)]
struct Entry {
    version: String,
    readable: bool,
    /// The last list in or after which it was seen.
    list: u64,
}

// === impl Known ===

impl Known {
    /// A list begins; one that was being read is forgotten.
    pub(super) fn begin(&mut self) {
        self.list += 1;
    }

    /// Notes an object; whether this version is new.
    pub(super) fn insert(&mut self, name: &ObjectName, version: String, readable: bool) -> bool {
        let list = self.list;
        let Some(entry) = self.objects.get_mut(name) else {
            self.rejected += usize::from(!readable);
            let entry = Entry {
                version,
                readable,
                list,
            };
            self.objects.insert(name.clone(), entry);
            return true;
        };
        entry.list = list;
        if entry.version == version {
            return false;
        }
        entry.version = version;
        self.rejected -= usize::from(!entry.readable);
        self.rejected += usize::from(!readable);
        entry.readable = readable;
        true
    }

    /// Forgets an object; whether it was known.
    pub(super) fn remove(&mut self, name: &ObjectName) -> bool {
        let removed = self.objects.remove(name);
        self.rejected -= usize::from(removed.as_ref().is_some_and(|entry| !entry.readable));
        removed.is_some()
    }

    /// A list was read to its end: what was not in it is gone. In the order of their names.
    pub(super) fn end(&mut self) -> impl Iterator<Item = ObjectName> + use<> {
        let list = self.list;
        let mut gone: Vec<ObjectName> = self
            .objects
            .iter()
            .filter(|(_, entry)| entry.list != list)
            .map(|(name, _)| name.clone())
            .collect();
        gone.sort_unstable();
        for name in &gone {
            self.remove(name);
        }
        gone.into_iter()
    }

    /// How many objects are readable, and how many are not.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.objects.len() - self.rejected, self.rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_new_list_tells_what_changed_and_what_is_gone() {
        let mut known = Known::default();
        known.begin();
        assert!(known.insert(&name("a"), "1".to_owned(), true));
        assert!(known.insert(&name("b"), "2".to_owned(), false));
        assert!(known.insert(&name("c"), "3".to_owned(), true));
        assert_eq!(known.end().count(), 0);
        assert_eq!(known.count(), (2, 1));
        known.begin();
        assert!(!known.insert(&name("a"), "1".to_owned(), true));
        // The list broke off.
        known.begin();
        assert!(!known.insert(&name("a"), "1".to_owned(), true));
        assert!(known.insert(&name("b"), "4".to_owned(), true));
        assert_eq!(known.end().collect::<Vec<_>>(), [name("c")]);
        assert_eq!(known.count(), (2, 0));
    }

    #[test]
    fn what_is_unknown_cannot_go() {
        let mut known = Known::default();
        assert!(!known.remove(&name("a")));
        known.insert(&name("a"), "1".to_owned(), false);
        assert!(known.remove(&name("a")));
        assert_eq!(known.count(), (0, 0));
    }
}
