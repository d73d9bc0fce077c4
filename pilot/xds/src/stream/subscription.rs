//! One resource type on one stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use mesh_config::Str;
use pilot_networking::Origin;

use super::blame;
use crate::names::Names;
use crate::resource::{Encoded, ResourceSet};

/// What delta asks for by this name is everything.
pub(super) const ANYTHING: &str = "*";

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
    pub subscribe: Names,
    /// Whether the names are those of the request before and are not given again (state of the world).
    pub repeats: bool,
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
    /// The client accepted the last response, or says nothing that calls for an answer.
    Ack,
    /// The client rejected a response: gRPC code and message. It keeps what it had, and so do we: the same bytes are
    /// not sent again.
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
    names: Names,
    /// What the client holds if it accepts all that it was sent. Sets are at the same positions as in the plan.
    sent: Vec<Arc<ResourceSet>>,
    /// What the client accepted last.
    accepted: Vec<Arc<ResourceSet>>,
    /// What the client rejected last.
    rejected: Vec<Arc<ResourceSet>>,
    /// Resources that left the plan, but that the client still needs until its routes no longer name them; without
    /// content when all that is known of them is that the client has them.
    held: BTreeMap<Str, Option<Arc<Encoded>>>,
    /// Names to send although the client holds them.
    forced: BTreeSet<Str>,
    /// Names in responses that the client rejected: it may hold what it was sent, or something older.
    suspect: BTreeSet<Str>,
    /// Versions that the client holds from an earlier stream, until the first response (delta).
    initial_versions: BTreeMap<Str, Str>,
    /// Whether the next response holds everything.
    whole: bool,
    /// Whether a request waits for an answer even if nothing changed.
    owes_response: bool,
    /// Responses that the client has not answered yet, oldest first.
    unanswered: VecDeque<Unanswered>,
    /// What to tell operators.
    report: Report,
}

/// A response on its way.
#[derive(Debug)]
struct Unanswered {
    nonce: String,
    version: String,
    /// What it is about; empty when later responses say the same again anyway.
    names: Vec<Str>,
    /// What the client holds if it accepts it.
    sets: Vec<Arc<ResourceSet>>,
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
    /// Why the client rejected the last response that it answered; empty when it did not.
    pub last_error: String,
}

// === impl Subscription ===

impl Subscription {
    /// The subscription that the first request of a type opens.
    pub fn new(protocol: Protocol, wildcard: bool, request: &Request) -> Self {
        let mut subscription = Self {
            protocol,
            wildcard,
            names: Names::default(),
            sent: Vec::new(),
            accepted: Vec::new(),
            rejected: Vec::new(),
            held: BTreeMap::new(),
            forced: BTreeSet::new(),
            suspect: BTreeSet::new(),
            initial_versions: request
                .initial_versions
                .iter()
                .map(|(name, version)| (name.as_str().into(), version.as_str().into()))
                .collect(),
            whole: true,
            owes_response: false,
            unanswered: VecDeque::new(),
            report: Report::default(),
        };
        subscription.update_names(request);
        subscription.owes_response = subscription.wants_anything();
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
            self.unanswered.clear();
            self.update_names(request);
            self.restart();
            return Step::Respond;
        }
        let step = self.on_answer(request);
        self.take_names(request, step)
    }

    fn on_delta_request(&mut self, request: &Request) -> Step {
        let step = if request.nonce.is_empty() {
            Step::Ack
        } else {
            self.on_answer(request)
        };
        self.take_names(request, step)
    }

    /// Names are valid even if the nonce is not: requests keep their order, so these are the newest. A client that
    /// drops a name and asks for it again must be seen to do both.
    fn take_names(&mut self, request: &Request, step: Step) -> Step {
        self.owes_response |= self.update_names(request);
        match step {
            Step::Ack | Step::Stale if self.owes_response => Step::Respond,
            step => step,
        }
    }

    fn on_answer(&mut self, request: &Request) -> Step {
        let answered = |response: &Unanswered| response.nonce == request.nonce;
        let Some(position) = self.unanswered.iter().position(answered) else {
            // State of the world repeats the last nonce whenever names change.
            let is_last = request.nonce == self.report.nonce_sent;
            return if is_last { Step::Ack } else { Step::Stale };
        };
        // A client that is behind may skip answers, not give them in another order.
        let Some(response) = self.unanswered.drain(..=position).next_back() else {
            return Step::Stale;
        };
        match &request.error {
            None => {
                self.report.nonce_acked = response.nonce;
                self.report.version_acked = response.version;
                self.report.last_error.clear();
                self.accepted = response.sets;
                self.rejected.clear();
                if self.unanswered.is_empty() {
                    Step::Ack
                } else {
                    Step::Stale
                }
            }
            Some((code, message)) => {
                self.rejected = response.sets;
                self.on_rejected(response.names);
                self.report.last_error = if message.is_empty() {
                    format!("rejected with code {code}")
                } else {
                    message.clone()
                };
                Step::Nack(*code, message.clone())
            }
        }
    }

    /// Takes over the names of a request; returns whether the client asks for something new.
    fn update_names(&mut self, request: &Request) -> bool {
        let asked = &request.subscribe;
        let asks = match self.protocol {
            Protocol::StateOfTheWorld => {
                if self.wildcard || request.repeats || *asked == self.names {
                    return false;
                }
                let new: Vec<Str> = asked.without(&self.names).cloned().collect();
                let asks = !new.is_empty();
                self.names = asked.clone();
                self.force_all(new);
                asks
            }
            Protocol::Delta => {
                if asked.is_empty() && request.unsubscribe.is_empty() {
                    return false;
                }
                if request.unsubscribe.iter().any(|name| name == ANYTHING) {
                    self.wildcard = false;
                }
                if asked.contains(ANYTHING) && !self.wildcard {
                    self.wildcard = true;
                    self.restart();
                }
                let unsubscribed: Names = request.unsubscribe.iter().map(String::as_str).collect();
                self.names = self.names.changed(asked, &unsubscribed, ANYTHING);
                // Asking again for what it holds is how a client asks for it to be sent again.
                self.force_all(asked.iter().filter(|name| &***name != ANYTHING).cloned());
                !asked.is_empty()
            }
        };
        if !self.wildcard {
            self.forced.retain(|name| self.names.contains(name));
        }
        self.drop_unwanted_suspects();
        asks
    }

    /// Makes the next response hold names. The client may have had them before, and dropped them.
    fn force_all(&mut self, names: impl IntoIterator<Item = Str>) {
        // A response that is whole holds them anyway.
        if !self.whole {
            self.forced.extend(names);
        }
    }

    fn on_rejected(&mut self, names: Vec<Str>) {
        // What a later response says again is decided by the answer to that.
        let is_on_its_way = |name: &Str| self.unanswered.iter().any(|later| later.names.contains(name));
        let (superseded, in_doubt): (Vec<Str>, Vec<Str>) = names.into_iter().partition(is_on_its_way);
        self.suspect.extend(in_doubt);
        self.drop_unwanted_suspects();
        if !superseded.is_empty() {
            self.retry_suspects();
        }
    }

    /// Forgets names that the client no longer asks for.
    fn drop_unwanted_suspects(&mut self) {
        if self.wildcard {
            return;
        }
        let suspects = self.suspect.len();
        self.suspect.retain(|name| self.names.contains(name));
        if self.suspect.len() < suspects {
            self.retry_suspects();
        }
    }

    /// Sends again what was rejected together with something that is no longer in question: that may have been the bad
    /// part.
    fn retry_suspects(&mut self) {
        self.forced.extend(self.suspect.iter().cloned());
        self.owes_response |= !self.suspect.is_empty();
    }

    /// Whether the client wants all resources.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// The names asked for.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Puts an equal list in the place of the names, one that others share.
    pub(super) fn share_names(&mut self, intern: impl FnOnce(&Names) -> Names) {
        self.names = intern(&self.names);
    }

    /// The exchange so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the client was sent.
    pub fn sent(&self) -> &[Arc<ResourceSet>] {
        &self.sent
    }

    /// What the client accepted last; nothing before the first time.
    pub fn accepted(&self) -> &[Arc<ResourceSet>] {
        &self.accepted
    }

    /// What may be to blame when the client rejects a response with this reason.
    pub fn blame(&self, reason: &str) -> BTreeSet<Origin> {
        blame::origins(&self.rejected, &self.accepted, reason)
    }

    /// Whether a response is under way that the client has not answered.
    pub fn is_awaiting(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// How many responses are under way, all of them or those up to a nonce.
    pub(super) fn unanswered(&self, nonce: Option<&str>) -> usize {
        let Some(nonce) = nonce else {
            return self.unanswered.len();
        };
        let last = self
            .unanswered
            .iter()
            .position(|response| response.nonce == nonce);
        last.map_or(0, |last| last + 1)
    }

    /// Whether a request waits for an answer.
    pub fn owes_response(&self) -> bool {
        self.owes_response
    }

    /// Whether the client may hold something older than what it was sent, because it rejected that.
    pub fn is_behind(&self) -> bool {
        if self.protocol == Protocol::StateOfTheWorld && self.wildcard {
            // Every response holds everything: the last one that was answered says it all.
            !self.report.last_error.is_empty()
        } else {
            !self.suspect.is_empty()
        }
    }

    /// The names of resources that left the plan and that the client still holds.
    pub fn held(&self) -> impl Iterator<Item = &Str> {
        self.held.keys()
    }

    /// Whether the client asks for a resource of this name.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// Whether the next response holds everything that the client asks for.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Versions that the client brought along from an earlier stream.
    pub(super) fn initial_versions(&self) -> &BTreeMap<Str, Str> {
        &self.initial_versions
    }

    pub(super) fn forced(&self) -> &BTreeSet<Str> {
        &self.forced
    }

    pub(super) fn suspect(&self) -> &BTreeSet<Str> {
        &self.suspect
    }

    /// Makes the next response hold a resource even if the client has it already.
    pub(super) fn force(&mut self, name: Str) {
        if self.names.contains(&name) {
            self.forced.insert(name);
        }
    }

    /// Takes nothing of what the client brought along for granted.
    pub(super) fn forget_initial_versions(&mut self) {
        self.initial_versions.clear();
    }

    /// Makes the next response hold everything, whether or not anything changed.
    pub(super) fn restart(&mut self) {
        self.whole = true;
        // The client has them still, in whichever version.
        self.initial_versions
            .values_mut()
            .for_each(|version| *version = Str::default());
        self.owes_response = self.wants_anything();
    }

    /// Owes a response that no request asked for.
    pub(super) fn owe_response(&mut self) {
        self.owes_response = true;
    }

    /// The resources that left the plan and that the client still holds.
    pub(super) fn held_resources(&self) -> &BTreeMap<Str, Option<Arc<Encoded>>> {
        &self.held
    }

    pub(super) fn set_held(&mut self, held: BTreeMap<Str, Option<Arc<Encoded>>>) {
        self.held = held;
    }

    /// Notes a response as sent. `names` are what it is about, as far as a rejection would leave them in doubt.
    pub(super) fn on_sent(
        &mut self,
        sets: Vec<Arc<ResourceSet>>,
        names: Vec<Str>,
        nonce: &str,
        version: &str,
    ) {
        for name in &names {
            self.suspect.remove(name);
        }
        if self.whole {
            self.suspect.clear();
        }
        self.on_unchanged(sets.clone());
        nonce.clone_into(&mut self.report.nonce_sent);
        version.clone_into(&mut self.report.version_sent);
        self.unanswered.push_back(Unanswered {
            nonce: nonce.to_owned(),
            version: version.to_owned(),
            names,
            sets,
        });
    }

    /// Notes that the client is up to date without a response.
    pub(super) fn on_unchanged(&mut self, sets: Vec<Arc<ResourceSet>>) {
        self.sent = sets;
        self.forced.clear();
        self.initial_versions.clear();
        self.whole = false;
        self.owes_response = false;
    }

    fn wants_anything(&self) -> bool {
        self.wildcard || !self.names.is_empty()
    }
}
