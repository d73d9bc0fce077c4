//! Names that clients subscribed to.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mesh_config::Str;
use pilot_networking::endpoint;

use crate::name_list::{Fingerprint, NameList};

/// Resource names: sorted, unique, and shared by all clients with the same names.
///
/// Comparing those of a [`NameTable`] costs one comparison of addresses.
#[derive(Clone, Debug)]
pub struct Names(Arc<List>);

/// The names of all clients, each list once.
#[derive(Debug, Default)]
pub(crate) struct NameTable {
    known: Mutex<HashSet<Names>>,
    /// What is made of the names of a request: many proxies send the same.
    requested: Mutex<HashMap<[Fingerprint; 2], Weak<List>>>,
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

    /// The names that are not among `others`, in order.
    pub(crate) fn without<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a Str> {
        let mut others = others.iter().peekable();
        self.iter().filter(move |name| {
            while others.next_if(|other| other < name).is_some() {}
            others.next_if(|other| other == name).is_none()
        })
    }

    /// The names with more and without some, and without one that is a name to nobody but the client.
    ///
    /// What is both added and removed is added: the client drops it and asks for it again.
    pub(crate) fn changed(&self, added: &Self, removed: &Self, never: &str) -> Self {
        if self.is_empty() && !added.contains(never) {
            return added.clone();
        }
        let kept = self
            .without(removed)
            .chain(added)
            .filter(|name| &***name != never);
        Self::new(kept.cloned().collect())
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.names.binary_search_by(|known| (**known).cmp(name)).ok()
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
        positions.filter_map(|&position| self.0.names.get(position))
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

impl<T: Into<Str>> FromIterator<T> for Names {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self::new(names.into_iter().map(Into::into).collect())
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
        let mut known = lock(&self.known);
        if let Some(known) = known.get(names) {
            return known.clone();
        }
        if known.len() == known.capacity() {
            // It grows for lists that are in use, not for those that clients have left behind.
            known.retain(is_used);
        }
        known.insert(names.clone());
        names.clone()
    }

    /// The names of a request, as the list that everybody with these names shares.
    pub(crate) fn of_request(&self, list: &NameList) -> Names {
        let key = [list.fingerprint(), list.second_fingerprint()];
        if let Some(known) = lock(&self.requested).get(&key).and_then(Weak::upgrade) {
            return Names(known);
        }
        let names = self.intern(&list.iter().collect());
        let mut requested = lock(&self.requested);
        if requested.len() == requested.capacity() {
            requested.retain(|_, names| names.strong_count() > 0);
        }
        requested.insert(key, Arc::downgrade(&names.0));
        names
    }

    /// Forgets lists that nobody else holds.
    pub(crate) fn sweep(&self) {
        lock(&self.known).retain(is_used);
        lock(&self.requested).retain(|_, names| names.strong_count() > 0);
    }
}

/// Whether anybody but the table holds a list.
fn is_used(names: &Names) -> bool {
    Arc::strong_count(&names.0) > 1
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Only ever compared within one process.
fn digest(names: &[Str]) -> u64 {
    static KEYS: OnceLock<std::collections::hash_map::RandomState> = OnceLock::new();
    KEYS.get_or_init(Default::default).hash_one(names)
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::service::discovery::v3::DiscoveryRequest;
    use prost::Message as _;

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
    fn names_are_added_and_removed() {
        let list = |list: &Names| list.iter().map(|name| (**name).to_owned()).collect::<Vec<_>>();
        let changed = |known: &[&str], added: &[&str], removed: &[&str]| {
            list(&names(known).changed(&names(added), &names(removed), "*"))
        };
        assert_eq!(changed(&[], &["b", "a"], &["c"]), ["a", "b"]);
        assert_eq!(changed(&[], &["*", "a"], &[]), ["a"]);
        assert_eq!(changed(&["a", "b"], &["c", "*"], &["b"]), ["a", "c"]);
        assert_eq!(
            changed(&["a", "b"], &["b"], &["b"]),
            ["a", "b"],
            "dropped and asked for again"
        );
        let (more, less) = (names(&["a", "c", "d", "f"]), names(&["b", "c", "e"]));
        assert_eq!(
            more.without(&less).map(|name| &**name).collect::<Vec<_>>(),
            ["a", "d", "f"]
        );
    }

    #[test]
    fn equal_requests_are_one_list() {
        let table = NameTable::default();
        let request = |names: &[&str]| {
            let request = DiscoveryRequest {
                resource_names: names.iter().map(|&name| name.to_owned()).collect(),
                ..DiscoveryRequest::default()
            };
            NameList::split(&request.encode_to_vec().into())
                .expect("is well-formed")
                .0
        };
        let first = table.of_request(&request(&["b", "a"]));
        for again in [&["b", "a"], &["a", "b"]] {
            assert!(
                Arc::ptr_eq(&first.0, &table.of_request(&request(again)).0),
                "{again:?}"
            );
        }
        assert_ne!(first, table.of_request(&request(&["a", "c"])));
        drop(first);
        table.sweep();
        assert_eq!((lock(&table.known).len(), lock(&table.requested).len()), (0, 0));
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
