//! A mesh that is small enough to be written down: resources of all types as lines of text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use pilot_networking::XdsType;

use crate::names::Names;
use crate::resource::{Encoded, ResourceSet};

/// What is published. Names lead to the rest of the text of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mesh {
    /// `eds` and a version for clusters that wait for endpoints, else a version.
    pub(super) clusters: BTreeMap<String, String>,
    /// By cluster. Every name that is asked for has some, as in the real thing.
    pub(super) endpoints: BTreeMap<String, String>,
    /// A version and the names of route configurations.
    pub(super) listeners: BTreeMap<String, String>,
    /// A version and the names of clusters.
    pub(super) routes: BTreeMap<String, String>,
    /// Resources whose build panics: type and name.
    pub(super) failing: BTreeSet<(XdsType, String)>,
}

/// Names with this prefix belong to the proxy's own set, as its inbound clusters and listeners do.
pub(super) const OWN: &str = "inbound";

/// The text of no endpoints.
const NONE: &str = "none";

impl Mesh {
    /// Clusters `a` and `b` with endpoints, a listener that asks for the routes `http`, which lead to `a`.
    pub(super) fn sample() -> Self {
        Self::default()
            .cluster("a", "eds 1")
            .cluster("b", "eds 1")
            .cluster("inbound", "1")
            .endpoints("a", "10.0.0.1")
            .endpoints("b", "10.0.0.2")
            .listener("80", "1 http")
            .listener("inbound", "1")
            .route("http", "1 a")
    }

    pub(super) fn cluster(mut self, name: &str, text: &str) -> Self {
        self.clusters.insert(name.to_owned(), text.to_owned());
        self
    }

    pub(super) fn endpoints(mut self, name: &str, text: &str) -> Self {
        self.endpoints.insert(name.to_owned(), text.to_owned());
        self
    }

    pub(super) fn listener(mut self, name: &str, text: &str) -> Self {
        self.listeners.insert(name.to_owned(), text.to_owned());
        self
    }

    pub(super) fn route(mut self, name: &str, text: &str) -> Self {
        self.routes.insert(name.to_owned(), text.to_owned());
        self
    }

    pub(super) fn failing(mut self, xds_type: XdsType, name: &str) -> Self {
        self.failing.insert((xds_type, name.to_owned()));
        self
    }

    pub(super) fn without(mut self, xds_type: XdsType, name: &str) -> Self {
        match xds_type {
            XdsType::Cluster => {
                self.endpoints.remove(name);
                self.clusters.remove(name)
            }
            XdsType::Endpoint => self.endpoints.remove(name),
            XdsType::Listener => self.listeners.remove(name),
            XdsType::Route => self.routes.remove(name),
        };
        self
    }

    /// The text of one resource; `None` when it is not there.
    pub(super) fn text(&self, xds_type: XdsType, name: &str) -> Option<&str> {
        let known = match xds_type {
            XdsType::Cluster => self.clusters.get(name),
            XdsType::Endpoint if self.clusters.contains_key(name) => self.endpoints.get(name),
            XdsType::Endpoint => None,
            XdsType::Listener => self.listeners.get(name),
            XdsType::Route => self.routes.get(name),
        };
        let is_named = matches!(xds_type, XdsType::Endpoint | XdsType::Route);
        known.map(String::as_str).or(is_named.then_some(NONE))
    }

    /// What [`crate::Generator`] does for the real thing.
    pub(super) fn plan(&self, xds_type: XdsType, names: &Names) -> Vec<Arc<ResourceSet>> {
        match xds_type {
            XdsType::Cluster => self.shared_and_own(xds_type, self.clusters.keys()),
            XdsType::Listener => self.shared_and_own(xds_type, self.listeners.keys()),
            XdsType::Endpoint | XdsType::Route => vec![self.set(xds_type, names.iter().map(AsRef::as_ref))],
        }
    }

    fn shared_and_own<'a>(
        &self,
        xds_type: XdsType,
        names: impl Iterator<Item = &'a String>,
    ) -> Vec<Arc<ResourceSet>> {
        let (own, shared): (Vec<&str>, Vec<&str>) =
            names.map(String::as_str).partition(|name| name.starts_with(OWN));
        vec![
            self.set(xds_type, shared.into_iter()),
            self.set(xds_type, own.into_iter()),
        ]
    }

    fn set<'a>(&self, xds_type: XdsType, names: impl Iterator<Item = &'a str>) -> Arc<ResourceSet> {
        let mut failed = Vec::new();
        let mut items = Vec::new();
        for name in names {
            let Some(text) = self.text(xds_type, name) else {
                continue;
            };
            if self.failing.contains(&(xds_type, name.to_owned())) {
                failed.push(name.into());
                continue;
            }
            let body = Bytes::from(format!("{name} {text}"));
            let awaits_endpoints = xds_type == XdsType::Cluster && text.starts_with("eds");
            items.push(Arc::new(Encoded::new(
                name.into(),
                body,
                awaits_endpoints,
                Vec::new(),
            )));
        }
        Arc::new(ResourceSet::new(xds_type, items, Vec::new()).with_failed(failed))
    }
}
