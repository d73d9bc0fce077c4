//! One resource type on one stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_config::Str;

use crate::resource::{Encoded, ResourceSet};

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// State of the world: a response of clusters or listeners holds all of them.
    StateOfTheWorld,
    /// Incremental: a response holds what is different.
    Delta,
}

/// A request, in either form of the protocol.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Nonce of the response that it answers; empty when it answers none.
    pub nonce: String,
    /// Why the client rejected that response: gRPC code and message.
    pub error: Option<(i32, String)>,
    /// Names asked for: all of them in state of the world, those to add in delta.
    pub subscribe: Vec<String>,
    /// Names no longer asked for (delta).
    pub unsubscribe: Vec<String>,
    /// What the client holds from an earlier stream: versions by name (delta).
    pub initial_versions: Vec<(String, String)>,
}

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client wants something that it does not hold.
    Respond,
    /// The client accepted the last response.
    Ack,
    /// The client rejected the last response: gRPC code and message. It keeps what it had, and so do we: the same
    /// bytes are not sent again.
    Nack(i32, String),
    /// The request answers an older response than the last and is void.
    Stale,
}

/// What a client holds of one type, and what it wants.
#[derive(Debug)]
pub struct Subscription {
    protocol: Protocol,
    /// Whether the client wants all resources rather than named ones.
    wildcard: bool,
    /// Names that the client asked for.
    names: BTreeSet<Str>,
    /// What the client was sent. Sets are at the same positions as in the plan.
    sent: Vec<Arc<ResourceSet>>,
    /// Resources that left the plan, but that the client still needs until its routes no longer name them.
    held: Vec<Arc<Encoded>>,
    /// Names to send although the client holds them.
    forced: BTreeSet<Str>,
    /// Versions that the client holds from an earlier stream, until the first response (delta).
    initial_versions: BTreeMap<Str, Str>,
    /// Whether a request waits for an answer even if nothing changed.
    owes_response: bool,
    /// Nonce of a response that the client has not answered yet.
    awaiting: Option<String>,
    /// What to tell operators.
    report: Report,
}

/// The exchange so far, for `/debug/syncz`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Nonce of the last response.
    pub nonce_sent: String,
    /// Nonce of the last response that the client accepted.
    pub nonce_acked: String,
    /// Version of the last response.
    pub version_sent: String,
    /// Version that the client accepted last.
    pub version_acked: String,
    /// Why the client rejected the last response; empty when it did not.
    pub last_error: String,
}

// === impl Subscription ===

impl Subscription {
    /// The subscription that the first request of a type opens.
    pub fn new(protocol: Protocol, wildcard: bool, request: &Request) -> Self {
        let mut subscription = Self {
            protocol,
            wildcard,
            names: BTreeSet::new(),
            sent: Vec::new(),
            held: Vec::new(),
            forced: BTreeSet::new(),
            initial_versions: request
                .initial_versions
                .iter()
                .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
                .collect(),
            owes_response: true,
            awaiting: None,
            report: Report::default(),
        };
        subscription.update_names(request);
        subscription
    }

    /// Takes over a further request.
    pub fn on_request(&mut self, request: &Request) -> Step {
        match self.protocol {
            Protocol::StateOfTheWorld => self.on_sotw_request(request),
            Protocol::Delta => self.on_delta_request(request),
        }
    }

    fn on_sotw_request(&mut self, request: &Request) -> Step {
        if request.nonce.is_empty() {
            // The client starts over: whatever it held, it may hold no more.
            self.sent.clear();
            self.awaiting = None;
            self.update_names(request);
            self.owes_response = true;
            return Step::Respond;
        }
        if request.nonce != self.report.nonce_sent {
            return Step::Stale;
        }
        let answer = self.on_answer(request);
        let changed = self.update_names(request);
        match answer {
            Step::Ack if changed => Step::Respond,
            answer => answer,
        }
    }

    fn on_delta_request(&mut self, request: &Request) -> Step {
        // In delta a subscription may come with an answer or alone, and is valid even if the nonce is not.
        let changed = self.update_names(request);
        let step = if request.nonce.is_empty() {
            Step::Respond
        } else if request.nonce == self.report.nonce_sent {
            self.on_answer(request)
        } else {
            Step::Stale
        };
        match step {
            Step::Ack | Step::Stale if changed => Step::Respond,
            step => step,
        }
    }

    fn on_answer(&mut self, request: &Request) -> Step {
        self.awaiting = None;
        match &request.error {
            None => {
                self.report.nonce_acked.clone_from(&self.report.nonce_sent);
                self.report.version_acked.clone_from(&self.report.version_sent);
                self.report.last_error.clear();
                Step::Ack
            }
            Some((code, message)) => {
                self.report.last_error.clone_from(message);
                Step::Nack(*code, message.clone())
            }
        }
    }

    /// Takes over the names of a request; returns whether the client asks for something new.
    fn update_names(&mut self, request: &Request) -> bool {
        match self.protocol {
            Protocol::StateOfTheWorld => {
                let names: BTreeSet<Str> = request
                    .subscribe
                    .iter()
                    .map(|name| name.as_str().into())
                    .collect();
                if self.wildcard || names == self.names {
                    return false;
                }
                // The last response promised nothing about names that come back later.
                self.forced.retain(|name| names.contains(name));
                let new = names.difference(&self.names).next().is_some();
                self.names = names;
                new
            }
            Protocol::Delta => {
                for name in &request.unsubscribe {
                    self.names.remove(name.as_str());
                    self.forced.remove(name.as_str());
                }
                let mut new = false;
                for name in &request.subscribe {
                    if name == "*" {
                        self.wildcard = true;
                    } else {
                        let name: Str = name.as_str().into();
                        // Asking again for what it holds is how a client asks for it to be sent again.
                        if !self.names.insert(name.clone()) {
                            self.forced.insert(name);
                        }
                    }
                    new = true;
                }
                new
            }
        }
    }

    /// Whether the client wants all resources.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names asked for.
    pub fn names(&self) -> &BTreeSet<Str> {
        &self.names
    }

    /// The exchange so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the client was sent.
    pub fn sent(&self) -> &[Arc<ResourceSet>] {
        &self.sent
    }

    /// Whether a response is under way that the client has not answered.
    pub fn is_awaiting(&self) -> bool {
        self.awaiting.is_some()
    }

    /// Whether a request waits for an answer.
    pub fn owes_response(&self) -> bool {
        self.owes_response
    }

    /// Makes the next response hold these resources even if the client has them already.
    pub fn force(&mut self, names: impl IntoIterator<Item = Str>) {
        let names = names.into_iter().filter(|name| self.names.contains(name));
        self.forced.extend(names.collect::<Vec<_>>());
    }

    /// The resources that left the plan and are still sent.
    pub fn held(&self) -> &[Arc<Encoded>] {
        &self.held
    }

    /// Versions that the client brought along from an earlier stream.
    pub(super) fn initial_versions(&self) -> &BTreeMap<Str, Str> {
        &self.initial_versions
    }

    /// Owes a response that no request asked for.
    pub(super) fn owe_response_if(&mut self, owes: bool) {
        self.owes_response |= owes;
    }

    /// Forgets what the client holds.
    pub(super) fn restart(&mut self) {
        self.sent.clear();
        self.initial_versions.clear();
        self.owes_response = true;
    }

    pub(super) fn forced(&self) -> &BTreeSet<Str> {
        &self.forced
    }

    pub(super) fn set_held(&mut self, held: Vec<Arc<Encoded>>) {
        self.held = held;
    }

    /// Notes a response as sent.
    pub(super) fn on_sent(&mut self, sets: Vec<Arc<ResourceSet>>, nonce: &str, version: &str) {
        self.sent = sets;
        self.forced.clear();
        self.initial_versions.clear();
        self.owes_response = false;
        nonce.clone_into(&mut self.report.nonce_sent);
        version.clone_into(&mut self.report.version_sent);
        self.awaiting = Some(nonce.to_owned());
    }

    /// Notes that the client is up to date without a response.
    pub(super) fn on_unchanged(&mut self, sets: Vec<Arc<ResourceSet>>) {
        self.sent = sets;
        self.forced.clear();
    }
}
