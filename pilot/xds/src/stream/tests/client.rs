//! A client as Envoy is one: what it asks for follows from what it holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pilot_networking::XdsType;

use super::server::Sent;
use crate::Names;
use crate::stream::{Protocol, Request};

/// Resources with this in their text are rejected.
pub(super) const POISON: &str = "poison";

#[derive(Debug)]
pub(super) struct Client {
    protocol: Protocol,
    /// Whether a response with a bad resource is rejected as a whole, rather than taken without it.
    strict: bool,
    /// Text by name.
    pub(super) held: [BTreeMap<String, String>; 4],
    /// Clusters that changed and have not got endpoints since.
    pub(super) warming: BTreeSet<String>,
    /// Clusters that have not had endpoints since it has them: requests to them fail.
    cold: BTreeSet<String>,
    /// Routes that it had and that were led to clusters of that kind.
    pub(super) overtaken: BTreeSet<String>,
    /// Versions by name (delta).
    versions: [BTreeMap<String, String>; 4],
    /// What it asked for, of endpoints and routes.
    asked: [BTreeSet<String>; 4],
    /// Nonce of the last response (state of the world).
    nonces: [String; 4],
    pub(super) inbox: VecDeque<Sent>,
    pub(super) outbox: VecDeque<(XdsType, Request)>,
}

impl Client {
    pub(super) fn new(protocol: Protocol, strict: bool) -> Self {
        let mut client = Self {
            protocol,
            strict,
            held: Default::default(),
            warming: BTreeSet::new(),
            cold: BTreeSet::new(),
            overtaken: BTreeSet::new(),
            versions: Default::default(),
            asked: Default::default(),
            nonces: Default::default(),
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
        };
        client.connect();
        client
    }

    /// Opens a stream, perhaps not the first. What it holds it keeps.
    pub(super) fn connect(&mut self) {
        self.inbox.clear();
        self.outbox.clear();
        self.nonces = Default::default();
        for xds_type in XdsType::ALL {
            let wildcard = matches!(xds_type, XdsType::Cluster | XdsType::Listener);
            let names: Vec<String> = self.asked[xds_type as usize].iter().cloned().collect();
            if !wildcard && names.is_empty() {
                continue;
            }
            let versions = &self.versions[xds_type as usize];
            let request = Request {
                subscribe: names.into_iter().collect(),
                initial_versions: match self.protocol {
                    Protocol::StateOfTheWorld => Vec::new(),
                    Protocol::Delta => versions.clone().into_iter().collect(),
                },
                ..Request::default()
            };
            self.outbox.push_back((xds_type, request));
        }
    }

    /// Takes the next response.
    pub(super) fn take(&mut self) {
        let Some(sent) = self.inbox.pop_front() else {
            return;
        };
        let bad = sent.resources.values().any(|text| text.contains(POISON));
        if !(bad && self.strict) {
            self.apply(&sent);
        }
        self.nonces[sent.xds_type as usize].clone_from(&sent.nonce);
        match sent.xds_type {
            XdsType::Cluster => {
                let clusters = self.held[XdsType::Cluster as usize].iter();
                let eds = clusters.filter(|(_, text)| text.starts_with("eds"));
                let names = eds.map(|(name, _)| name.clone()).collect();
                self.ask(XdsType::Endpoint, names);
            }
            XdsType::Listener => {
                let listeners = self.held[XdsType::Listener as usize].values();
                let names = listeners.flat_map(|text| text.split(' ').skip(1).map(str::to_owned));
                let names = names.collect();
                self.ask(XdsType::Route, names);
            }
            XdsType::Endpoint | XdsType::Route => {}
        }
        let names = self.asked[sent.xds_type as usize].iter().cloned();
        let answer = Request {
            nonce: sent.nonce,
            error: bad.then(|| (3, POISON.to_owned())),
            subscribe: match self.protocol {
                Protocol::StateOfTheWorld => names.collect(),
                Protocol::Delta => Names::default(),
            },
            ..Request::default()
        };
        self.outbox.push_back((sent.xds_type, answer));
    }

    /// Asks once more for something that it holds (delta).
    pub(super) fn ask_again(&mut self, xds_type: XdsType) {
        let name = self.asked[xds_type as usize].first().cloned();
        if let (Protocol::Delta, Some(name)) = (self.protocol, name) {
            let request = Request {
                subscribe: Names::from_iter([name]),
                ..Request::default()
            };
            self.outbox.push_back((xds_type, request));
        }
    }

    /// The clusters to which its routes lead and that it does not hold.
    pub(super) fn dangling(&self) -> BTreeSet<String> {
        let routes = self.held[XdsType::Route as usize].values();
        let named = routes.flat_map(|text| text.split(' ').skip(1));
        let clusters = &self.held[XdsType::Cluster as usize];
        named
            .filter(|name| *name != POISON && !clusters.contains_key(*name))
            .map(str::to_owned)
            .collect()
    }

    fn apply(&mut self, sent: &Sent) {
        let xds_type = sent.xds_type;
        let wildcard = matches!(xds_type, XdsType::Cluster | XdsType::Listener);
        let held = &mut self.held[xds_type as usize];
        if self.protocol == Protocol::StateOfTheWorld && wildcard {
            held.retain(|name, _| sent.resources.contains_key(name));
        }
        for name in &sent.removed {
            held.remove(name);
            self.versions[xds_type as usize].remove(name);
        }
        for (name, text) in &sent.resources {
            let is_asked = wildcard || self.asked[xds_type as usize].contains(name);
            if text.contains(POISON) || !is_asked {
                continue;
            }
            let former = held.insert(name.clone(), text.clone());
            if let Some(version) = sent.versions.get(name) {
                self.versions[xds_type as usize].insert(name.clone(), version.clone());
            }
            match xds_type {
                XdsType::Cluster if text.starts_with("eds") && former.is_none() => {
                    self.warming.insert(name.clone());
                    self.cold.insert(name.clone());
                }
                XdsType::Cluster if text.starts_with("eds") && former.as_ref() != Some(text) => {
                    self.warming.insert(name.clone());
                }
                XdsType::Endpoint => {
                    self.warming.remove(name);
                    self.cold.remove(name);
                }
                XdsType::Route if former.is_some_and(|former| former != *text) => {
                    let mut clusters = text.split(' ').skip(1);
                    if clusters.any(|cluster| self.cold.contains(cluster)) {
                        self.overtaken.insert(name.clone());
                    }
                }
                _ => {}
            }
        }
        let clusters = &self.held[XdsType::Cluster as usize];
        self.warming
            .retain(|name| clusters.get(name).is_some_and(|text| text.starts_with("eds")));
        self.cold.retain(|name| self.warming.contains(name));
    }

    /// Asks for exactly these names from now on, and drops what it has of others.
    fn ask(&mut self, xds_type: XdsType, names: BTreeSet<String>) {
        let asked = std::mem::replace(&mut self.asked[xds_type as usize], names.clone());
        if asked == names {
            return;
        }
        self.held[xds_type as usize].retain(|name, _| names.contains(name));
        self.versions[xds_type as usize].retain(|name, _| names.contains(name));
        let request = match self.protocol {
            Protocol::StateOfTheWorld => Request {
                nonce: self.nonces[xds_type as usize].clone(),
                subscribe: names.into_iter().collect(),
                ..Request::default()
            },
            Protocol::Delta => Request {
                subscribe: names.difference(&asked).cloned().collect(),
                unsubscribe: asked.difference(&names).cloned().collect(),
                ..Request::default()
            },
        };
        self.outbox.push_back((xds_type, request));
    }
}
