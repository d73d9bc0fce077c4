//! Names that clients subscribed to.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mesh_config::Str;
use pilot_networking::endpoint;

/// Resource names: sorted, unique, and shared by all clients with the same names.
///
/// Comparing those of a [`NameTable`] costs one comparison of addresses.
#[derive(Clone, Debug)]
pub struct Names(Arc<List>);

/// The names of all clients, each list once.
#[derive(Debug, Default)]
pub(crate) struct NameTable {
    known: Mutex<HashSet<Names>>,
}

#[derive(Debug)]
struct List {
    names: Box<[Str]>,
    digest: u64,
    /// Positions of the load assignments of a host, made when first asked for.
    by_host: OnceLock<HashMap<Str, Vec<usize>>>,
}

// === impl Names ===

impl Names {
    /// Takes names in any order.
    pub fn new(mut names: Vec<Str>) -> Self {
        names.sort_unstable();
        names.dedup();
        let digest = digest(&names);
        Self(Arc::new(List {
            names: names.into(),
            digest,
            by_host: OnceLock::new(),
        }))
    }

    /// The names in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Str> {
        self.0.names.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.names.is_empty()
    }

    /// Whether a name is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Where a name stands.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.0.names.binary_search_by(|known| (**known).cmp(name)).ok()
    }

    /// The name at a position.
    pub(crate) fn get(&self, position: usize) -> Option<&Str> {
        self.0.names.get(position)
    }

    /// The names of load assignments that depend on the endpoints of a host.
    pub(crate) fn of_host(&self, host: &str) -> impl Iterator<Item = &Str> {
        let by_host = self.0.by_host.get_or_init(|| {
            let mut by_host: HashMap<Str, Vec<usize>> = HashMap::new();
            for (position, name) in self.iter().enumerate() {
                let Some(host) = endpoint::host(name) else {
                    continue;
                };
                match by_host.get_mut(host) {
                    Some(positions) => positions.push(position),
                    None => {
                        by_host.insert(host.into(), vec![position]);
                    }
                }
            }
            by_host
        });
        let positions = by_host.get(host).into_iter().flatten();
        positions.filter_map(|&position| self.get(position))
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<'a> IntoIterator for &'a Names {
    type Item = &'a Str;
    type IntoIter = std::slice::Iter<'a, Str>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<&BTreeSet<Str>> for Names {
    fn from(names: &BTreeSet<Str>) -> Self {
        Self::new(names.iter().cloned().collect())
    }
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.digest == other.0.digest && self.0.names == other.0.names)
    }
}

impl Eq for Names {}

impl Hash for Names {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}

// === impl NameTable ===

impl NameTable {
    /// The list that everybody with these names shares.
    pub(crate) fn intern(&self, names: &Names) -> Names {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(names) {
            return known.clone();
        }
        known.insert(names.clone());
        names.clone()
    }

    /// Forgets lists that nobody else holds.
    pub(crate) fn sweep(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|names| Arc::strong_count(&names.0) > 1);
    }
}

/// Only ever compared within one process.
fn digest(names: &[Str]) -> u64 {
    static KEYS: OnceLock<std::collections::hash_map::RandomState> = OnceLock::new();
    KEYS.get_or_init(Default::default).hash_one(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Names {
        Names::new(names.iter().map(|&name| name.into()).collect())
    }

    #[test]
    fn names_are_sorted_and_unique_and_shared() {
        let table = NameTable::default();
        let one = table.intern(&names(&["b", "a", "b"]));
        let other = table.intern(&names(&["a", "b"]));
        assert_eq!(one.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
        assert!(Arc::ptr_eq(&one.0, &other.0));
        assert!(one.contains("a") && !one.contains("c"));
        assert_ne!(one, names(&["a"]));
        drop((one, other));
        table.sweep();
        assert_eq!(table.known.lock().expect("not poisoned").len(), 0);
    }

    #[test]
    fn load_assignments_are_found_by_their_host() {
        let names = names(&[
            "outbound|80||a.ns",
            "outbound|80|v1|a.ns",
            "outbound|80||b.ns",
            "inbound|80|http|a.ns",
        ]);
        let of = |host| names.of_host(host).map(|name| &**name).collect::<Vec<_>>();
        assert_eq!(of("a.ns"), ["outbound|80|v1|a.ns", "outbound|80||a.ns"]);
        assert_eq!(of("b.ns"), ["outbound|80||b.ns"]);
        assert_eq!(of("c.ns"), Vec::<&str>::new());
    }
}
