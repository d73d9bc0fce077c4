//! Encoded resources and the sets of them that proxies share.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use mesh_api::Framed;
use mesh_config::Str;
use pilot_model::Warning;
use pilot_networking::{Origin, XdsType};

/// One resource in the form in which it is sent.
#[derive(Debug)]
pub struct Encoded {
    /// Its name.
    pub name: Str,
    /// The encoded message.
    pub body: Bytes,
    /// How many endpoints a load assignment has.
    pub endpoints: usize,
    /// Whether Envoy holds traffic back from it until its endpoints arrive: an EDS cluster.
    pub awaits_endpoints: bool,
    /// What went wrong while making it.
    pub warnings: Vec<Warning>,
    /// What it was made because of, without what its parts were.
    pub origins: Vec<Origin>,
    /// The resources that it was put together from: as long as it is used, so are they.
    pub parts: Vec<Arc<Encoded>>,
    /// See [`Self::version`].
    version: OnceLock<Str>,
}

/// Resources of one type, immutable, shared by all proxies whose plans are equal.
///
/// What is derived from it, the frames of whole sets and of differences, is computed once and shared as well.
#[derive(Debug)]
pub struct ResourceSet {
    xds_type: XdsType,
    /// Sorted by name; names are unique.
    items: Vec<Arc<Encoded>>,
    /// What was left out or replaced while planning.
    warnings: Vec<Warning>,
    /// Names of resources that should be here, but could not be built: who has an older one keeps it.
    failed: Vec<Str>,
    framed: OnceLock<Framed>,
    framed_delta: OnceLock<Framed>,
    /// The difference to the set that most streams come from: the one before.
    difference: Mutex<Option<(Arc<ResourceSet>, Arc<Difference>)>>,
}

/// How a set differs from one that a client holds.
#[derive(Debug, Default)]
pub struct Difference {
    /// Added and changed resources.
    pub changed: Vec<Arc<Encoded>>,
    /// Of `changed`, those that the client did not hold before.
    pub added: BTreeSet<Str>,
    /// Resources that the client holds and the set does not have.
    pub removed: Vec<Arc<Encoded>>,
    framed: OnceLock<Framed>,
    framed_delta: OnceLock<Framed>,
}

// === impl Encoded ===

impl Encoded {
    /// A resource.
    pub fn new(name: Str, body: Bytes, awaits_endpoints: bool, warnings: Vec<Warning>) -> Self {
        Self {
            name,
            body,
            endpoints: 0,
            awaits_endpoints,
            warnings,
            origins: Vec::new(),
            parts: Vec::new(),
            version: OnceLock::new(),
        }
    }

    /// The resource with those that it was put together from.
    #[must_use]
    pub fn with_parts(self, parts: Vec<Arc<Encoded>>) -> Self {
        Self { parts, ..self }
    }

    /// The resource with what it was made because of.
    #[must_use]
    pub fn with_origins(self, mut origins: Vec<Origin>) -> Self {
        origins.sort();
        origins.dedup();
        Self { origins, ..self }
    }

    /// The load assignment with the number of its endpoints.
    #[must_use]
    pub fn with_endpoints(self, endpoints: usize) -> Self {
        Self { endpoints, ..self }
    }

    /// What the resource and its parts were made because of.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        let parts = self.parts.iter().flat_map(|part| &part.origins);
        self.origins.iter().chain(parts)
    }

    /// The version for delta xDS.
    ///
    /// It depends on the content alone, so it survives a restart of Pilot and is the same on every replica. 64 bits of
    /// it suffice, as it is only ever compared with another version of the same name.
    pub fn version(&self) -> &Str {
        self.version
            .get_or_init(|| format!("{:016x}", digest(&self.body)).into())
    }

    /// All findings of the resource and its parts.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        let parts = self.parts.iter().flat_map(|part| &part.warnings);
        self.warnings.iter().chain(parts)
    }
}

// === impl ResourceSet ===

impl ResourceSet {
    /// A set of resources. `items` are sorted and unique by name.
    pub fn new(xds_type: XdsType, items: Vec<Arc<Encoded>>, warnings: Vec<Warning>) -> Self {
        debug_assert!(
            items.is_sorted_by(|a, b| a.name < b.name),
            "{xds_type} items are not sorted and unique"
        );
        Self {
            xds_type,
            items,
            warnings,
            failed: Vec::new(),
            framed: OnceLock::new(),
            framed_delta: OnceLock::new(),
            difference: Mutex::default(),
        }
    }

    /// The set with the names of resources that could not be built.
    #[must_use]
    pub fn with_failed(self, failed: Vec<Str>) -> Self {
        Self { failed, ..self }
    }

    /// The same set with other resources in it, sorted and unique by name.
    pub(crate) fn with_items(&self, items: Vec<Arc<Encoded>>) -> Self {
        Self::new(self.xds_type, items, self.warnings.clone()).with_failed(self.failed.clone())
    }

    /// Names of resources that should be here, but could not be built.
    pub fn failed(&self) -> &[Str] {
        &self.failed
    }

    /// The type of all resources.
    pub fn xds_type(&self) -> XdsType {
        self.xds_type
    }

    /// The resources by name.
    pub fn items(&self) -> &[Arc<Encoded>] {
        &self.items
    }

    /// The resource of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Encoded>> {
        self.position(name).ok().map(|position| &self.items[position])
    }

    /// All findings of plan and builds.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.warnings
            .iter()
            .chain(self.items.iter().flat_map(|item| item.warnings()))
    }

    /// The whole set as the `resources` field of a state-of-the-world response, framed on first use.
    pub fn framed(&self) -> &Framed {
        self.framed.get_or_init(|| frame(self.xds_type, &self.items))
    }

    /// The whole set as the `resources` field of a delta response, framed on first use.
    pub fn framed_delta(&self) -> &Framed {
        self.framed_delta
            .get_or_init(|| frame_delta(self.xds_type, &self.items))
    }

    /// Whether both hold the same bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.items.len() == other.items.len()
                && self.items.iter().zip(&other.items).all(|(a, b)| same(a, b)))
    }

    /// The set with other contents of some of its resources; the set itself when none has other bytes.
    ///
    /// How it differs is known from the start, whoever asks.
    pub(crate) fn replacing(old: &Arc<Self>, mut changed: Vec<Arc<Encoded>>) -> Arc<Self> {
        changed.retain(|item| old.get(&item.name).is_some_and(|known| !same(known, item)));
        if changed.is_empty() {
            return Arc::clone(old);
        }
        changed.sort_by(|a, b| a.name.cmp(&b.name));
        let mut items = old.items.clone();
        for item in &changed {
            if let Ok(position) = old.position(&item.name) {
                items[position] = Arc::clone(item);
            }
        }
        let set = old.with_items(items);
        let difference = Difference {
            changed,
            ..Difference::default()
        };
        set.remember(old, Arc::new(difference));
        Arc::new(set)
    }

    /// How this set differs from an older one. Remembers the last answer: streams mostly ask the same question.
    pub fn difference_from(&self, old: &Arc<Self>) -> Arc<Difference> {
        if std::ptr::eq(self, &**old) {
            return Arc::default();
        }
        let lock = || self.difference.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, difference)) = &*lock()
            && Arc::ptr_eq(known, old)
        {
            return Arc::clone(difference);
        }
        let difference = Arc::new(Difference::new(&old.items, &self.items));
        self.remember(old, Arc::clone(&difference));
        difference
    }

    fn remember(&self, old: &Arc<Self>, difference: Arc<Difference>) {
        // The old set's own memory would otherwise chain every set that ever was.
        *old.difference.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.difference.lock().unwrap_or_else(PoisonError::into_inner) = Some((Arc::clone(old), difference));
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.items.binary_search_by(|item| (*item.name).cmp(name))
    }
}

// === impl Difference ===

impl Difference {
    fn new(old: &[Arc<Encoded>], new: &[Arc<Encoded>]) -> Self {
        let mut difference = Self::default();
        let mut old = old.iter().peekable();
        for item in new {
            while let Some(gone) = old.next_if(|gone| gone.name < item.name) {
                difference.removed.push(Arc::clone(gone));
            }
            match old.next_if(|known| known.name == item.name) {
                Some(known) if same(known, item) => {}
                Some(_) => difference.changed.push(Arc::clone(item)),
                None => {
                    difference.added.insert(item.name.clone());
                    difference.changed.push(Arc::clone(item));
                }
            }
        }
        difference.removed.extend(old.cloned());
        difference
    }

    /// The added and changed resources as the `resources` field of a state-of-the-world response.
    pub fn framed(&self, xds_type: XdsType) -> &Framed {
        self.framed.get_or_init(|| frame(xds_type, &self.changed))
    }

    /// The added and changed resources as the `resources` field of a delta response.
    pub fn framed_delta(&self, xds_type: XdsType) -> &Framed {
        self.framed_delta
            .get_or_init(|| frame_delta(xds_type, &self.changed))
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Frames resources for state-of-the-world responses.
pub(crate) fn frame<'a>(xds_type: XdsType, items: impl IntoIterator<Item = &'a Arc<Encoded>>) -> Framed {
    Framed::of_anys(xds_type.type_url(), items.into_iter().map(|item| &item.body))
}

/// Frames resources for delta responses.
pub(crate) fn frame_delta<'a>(
    xds_type: XdsType,
    items: impl IntoIterator<Item = &'a Arc<Encoded>>,
) -> Framed {
    let resources = items
        .into_iter()
        .map(|item| (&*item.name, &**item.version(), &item.body));
    Framed::of_resources(xds_type.type_url(), resources)
}

/// A digest that never changes, made of whole words: FNV-1a reads bytes, and routes are megabytes.
fn digest(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |digest: u64, word: u64| {
        let mixed = (digest ^ word).wrapping_mul(PRIME);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let seed = mix(0, bytes.len() as u64);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    mix(words.fold(seed, mix), PRIME)
}

pub(crate) fn same(a: &Arc<Encoded>, b: &Arc<Encoded>) -> bool {
    Arc::ptr_eq(a, b) || (a.name == b.name && a.body == b.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[(&str, &'static str)]) -> Arc<ResourceSet> {
        let items = items
            .iter()
            .map(|&(name, body)| {
                Arc::new(Encoded::new(
                    name.into(),
                    Bytes::from_static(body.as_bytes()),
                    false,
                    Vec::new(),
                ))
            })
            .collect();
        Arc::new(ResourceSet::new(XdsType::Cluster, items, Vec::new()))
    }

    fn names(items: &[Arc<Encoded>]) -> Vec<&str> {
        items.iter().map(|item| &*item.name).collect()
    }

    #[test]
    fn a_difference_names_what_changed_came_and_went() {
        let old = set(&[("a", "1"), ("b", "1"), ("d", "1"), ("f", "1")]);
        let new = set(&[("b", "2"), ("c", "1"), ("d", "1"), ("e", "1")]);
        let difference = new.difference_from(&old);
        assert_eq!(names(&difference.changed), ["b", "c", "e"]);
        assert_eq!(
            difference.added.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
            ["c", "e"]
        );
        assert_eq!(names(&difference.removed), ["a", "f"]);
        assert!(
            Arc::ptr_eq(&difference, &new.difference_from(&old)),
            "the same question is answered once"
        );
        assert!(set(&[]).difference_from(&set(&[])).is_empty());
    }

    #[test]
    fn sets_with_the_same_bytes_are_the_same() {
        assert!(set(&[("a", "1")]).is_same(&set(&[("a", "1")])));
        assert!(!set(&[("a", "1")]).is_same(&set(&[("a", "2")])));
        assert!(!set(&[("a", "1")]).is_same(&set(&[("b", "1")])));
        assert!(!set(&[("a", "1")]).is_same(&set(&[])));
    }

    #[test]
    fn the_version_of_a_resource_depends_on_its_content_alone() {
        assert_eq!(
            set(&[("a", "1")]).items()[0].version(),
            set(&[("b", "1")]).items()[0].version()
        );
        assert_ne!(
            set(&[("a", "1")]).items()[0].version(),
            set(&[("a", "2")]).items()[0].version()
        );
    }
}
