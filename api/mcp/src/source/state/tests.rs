//! The rules one by one, and all of them together against a model.

use mesh_config::{Config, ConfigKey, Kind, Meta, Timestamp};
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// The content of a collection: version by resource name.
type Objects = BTreeMap<String, String>;

fn entry(name: &str, version: &str) -> Arc<Entry> {
    Arc::new(Entry::new(&Config {
        meta: Meta {
            key: ConfigKey::new(Kind::Gateway, "ns", name),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created: Timestamp::default(),
            version: version.to_owned(),
        },
        body: mesh_api::Any::default(),
    }))
}

fn objects(objects: &[(&str, &str)]) -> Objects {
    objects
        .iter()
        .map(|(name, version)| (format!("ns/{name}"), (*version).to_owned()))
        .collect()
}

/// A snapshot that follows `previous`, with one collection in a new state.
fn publish(previous: Option<&Snapshot>, collection: &str, version: u64, objects: &Objects) -> Arc<Snapshot> {
    let mut builder = previous.cloned().unwrap_or_default().builder();
    let entries = objects
        .iter()
        .map(|(name, version)| entry(name.trim_start_matches("ns/"), version));
    builder.set(collection, version.to_string(), entries);
    Arc::new(builder.build())
}

fn state(incremental: bool) -> SourceState {
    SourceState::new(
        Arc::new(NAMES.iter().map(|&name| name.into()).collect()),
        incremental,
    )
}

fn subscribe(collection: &str) -> RequestResources {
    RequestResources {
        collection: collection.to_owned(),
        ..RequestResources::default()
    }
}

fn ack(collection: &str, nonce: &str) -> RequestResources {
    RequestResources {
        response_nonce: nonce.to_owned(),
        ..subscribe(collection)
    }
}

fn nack(collection: &str, nonce: &str) -> RequestResources {
    let error = rpc::Status {
        code: 3,
        message: "no".to_owned(),
        details: Vec::new(),
    };
    RequestResources {
        error_detail: Some(error),
        ..ack(collection, nonce)
    }
}

/// Collection, version and nonce of the next response.
fn next(state: &mut SourceState) -> Option<(String, String, String)> {
    let response = state.next_response()?;
    let Response {
        collection, nonce, ..
    } = response;
    Some((
        collection.name().to_string(),
        collection.version().to_owned(),
        nonce,
    ))
}

fn sent(collection: &str, version: &str, nonce: &str) -> Option<(String, String, String)> {
    Some((collection.to_owned(), version.to_owned(), nonce.to_owned()))
}

#[test]
fn t18_a_request_before_the_first_snapshot_is_answered_when_it_appears() {
    let mut state = state(false);
    assert_eq!(state.on_request(&subscribe("a")), Ok(Received::Subscription));
    assert_eq!(next(&mut state), None);
    state.on_snapshot(publish(None, "a", 1, &objects(&[("x", "1")])));
    assert_eq!(next(&mut state), sent("a", "1", "1"));
    assert_eq!(next(&mut state), None);
}

#[test]
fn p5_4_a_collection_without_objects_is_answered_with_version_0() {
    let mut state = state(false);
    state.on_snapshot(Arc::default());
    state.on_request(&subscribe("b")).unwrap();
    assert_eq!(next(&mut state), sent("b", "0", "1"));
}

#[test]
fn g3_1_one_response_is_pending_and_the_newest_state_follows_the_answer() {
    let mut state = state(false);
    state.on_request(&subscribe("a")).unwrap();
    let mut snapshot = publish(None, "a", 1, &Objects::new());
    state.on_snapshot(snapshot.clone());
    assert_eq!(next(&mut state), sent("a", "1", "1"));
    for version in 2..5 {
        snapshot = publish(Some(&snapshot), "a", version, &Objects::new());
        state.on_snapshot(snapshot.clone());
        assert_eq!(next(&mut state), None, "version {version} while 1 is pending");
    }
    assert_eq!(state.on_request(&ack("a", "1")), Ok(Received::Ack));
    assert_eq!(next(&mut state), sent("a", "4", "2"));
}

#[test]
fn g3_1_a_refused_version_is_not_sent_again_but_a_newer_one_is() {
    let mut state = state(false);
    let snapshot = publish(None, "a", 1, &Objects::new());
    state.on_snapshot(snapshot.clone());
    state.on_request(&subscribe("a")).unwrap();
    assert_eq!(next(&mut state), sent("a", "1", "1"));
    assert!(
        matches!(state.on_request(&nack("a", "1")), Ok(Received::Nack(status)) if status.message == "no")
    );
    assert_eq!(next(&mut state), None);
    // Also when something else changed.
    state.on_snapshot(publish(Some(&snapshot), "b", 1, &Objects::new()));
    assert_eq!(next(&mut state), None);
    state.on_snapshot(publish(Some(&snapshot), "a", 2, &Objects::new()));
    assert_eq!(next(&mut state), sent("a", "2", "2"));
}

#[test]
fn g3_1_a_stale_nonce_is_ignored() {
    let mut state = state(false);
    let snapshot = publish(None, "a", 1, &Objects::new());
    state.on_snapshot(snapshot.clone());
    state.on_request(&subscribe("a")).unwrap();
    assert_eq!(next(&mut state), sent("a", "1", "1"));
    state.on_snapshot(publish(Some(&snapshot), "a", 2, &Objects::new()));
    for request in [ack("a", "0"), nack("a", "7"), ack("a", "x")] {
        assert_eq!(state.on_request(&request), Ok(Received::Stale));
        assert_eq!(next(&mut state), None);
    }
    assert_eq!(state.on_request(&ack("a", "1")), Ok(Received::Ack));
    assert_eq!(next(&mut state), sent("a", "2", "2"));
    // An answer that was given already is stale, too.
    assert_eq!(state.on_request(&ack("a", "1")), Ok(Received::Stale));
}

#[test]
fn g3_1_an_empty_nonce_answers_what_is_pending_and_asks_again_otherwise() {
    let mut state = state(false);
    state.on_snapshot(publish(None, "a", 1, &Objects::new()));
    state.on_request(&subscribe("a")).unwrap();
    assert_eq!(next(&mut state), sent("a", "1", "1"));
    assert_eq!(state.on_request(&subscribe("a")), Ok(Received::Ack));
    assert_eq!(next(&mut state), None);
    assert_eq!(state.on_request(&subscribe("a")), Ok(Received::Subscription));
    assert_eq!(next(&mut state), sent("a", "1", "2"));
}

#[test]
fn a_refusal_without_nonce_does_not_make_the_source_send_in_a_loop() {
    let mut state = state(false);
    state.on_snapshot(publish(None, "a", 1, &Objects::new()));
    state.on_request(&subscribe("a")).unwrap();
    assert_eq!(next(&mut state), sent("a", "1", "1"));
    for _ in 0..3 {
        assert!(matches!(state.on_request(&nack("a", "")), Ok(Received::Nack(_))));
        assert_eq!(next(&mut state), None);
    }
}

#[test]
fn g3_1_what_cannot_be_a_collection_is_an_error() {
    let mut state = state(false);
    let long = "x".repeat(MAX_NAME + 1);
    for name in ["", &long] {
        assert_eq!(
            state.on_request(&subscribe(name)),
            Err(UnsupportedCollection(shortened(name, MAX_NAME).to_owned()))
        );
    }
    assert_eq!(state.watches().count(), 0);
}

#[test]
fn pain_18_a_collection_that_the_source_does_not_have_is_empty() {
    let mut state = state(true);
    state.on_snapshot(Arc::default());
    let request = RequestResources {
        incremental: true,
        initial_resource_versions: [("ns/a".to_owned(), "1".to_owned())].into(),
        ..subscribe("d")
    };
    assert_eq!(state.on_request(&request), Ok(Received::Subscription));
    assert!(!state.has("d"));
    let response = state.next_response().unwrap();
    assert_eq!(response.collection.version(), "0");
    assert!(response.collection.entries().is_empty());
    assert!(matches!(response.content, Content::Full), "what it had is gone");

    // There is an end to it, and what is asked for again is no other collection.
    for number in 1..MAX_UNKNOWN {
        state.on_request(&subscribe(&format!("d{number}"))).unwrap();
    }
    state.on_request(&subscribe("d1")).unwrap();
    assert!(state.on_request(&subscribe("one too many")).is_err());
    state.on_request(&subscribe("a")).unwrap();
}

#[test]
fn what_a_sink_says_is_not_kept_at_any_length() {
    let mut state = state(false);
    state.on_snapshot(Arc::default());
    state.on_request(&subscribe("a")).unwrap();
    let nonce = state.next_response().unwrap().nonce;
    let refusal = RequestResources {
        response_nonce: nonce,
        error_detail: Some(rpc::Status {
            code: 3,
            message: "ä".repeat(MAX_REASON),
            details: Vec::new(),
        }),
        ..subscribe("a")
    };
    state.on_request(&refusal).unwrap();
    let (_, watch) = state.watches().next().unwrap();
    assert_eq!(watch.refusal().unwrap().message.len(), MAX_REASON);
}

#[test]
fn collections_are_served_in_the_order_in_which_they_became_due() {
    let mut state = state(false);
    state.on_snapshot(Arc::default());
    for name in ["c", "a", "b"] {
        state.on_request(&subscribe(name)).unwrap();
    }
    let order: Vec<_> = std::iter::from_fn(|| next(&mut state))
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(order, ["c", "a", "b"]);
}

#[test]
fn changes_are_sent_only_when_both_sides_want_them() {
    for (source, sink, expected) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (true, true, true),
    ] {
        let mut state = state(source);
        state
            .on_request(&RequestResources {
                incremental: sink,
                ..subscribe("a")
            })
            .unwrap();
        let first = publish(None, "a", 1, &objects(&[("x", "1"), ("y", "1"), ("z", "1")]));
        state.on_snapshot(first.clone());
        // The first response of a sink that has nothing is the full state in any case.
        assert!(matches!(state.next_response().unwrap().content, Content::Full));
        state
            .on_request(&RequestResources {
                incremental: sink,
                ..ack("a", "1")
            })
            .unwrap();
        state.on_snapshot(publish(
            Some(&first),
            "a",
            2,
            &objects(&[("x", "1"), ("y", "2"), ("w", "1")]),
        ));
        match state.next_response().unwrap().content {
            Content::Full => assert!(!expected, "source {source}, sink {sink}"),
            Content::Changes { upserted, removed } => {
                assert!(expected, "source {source}, sink {sink}");
                let names: Vec<_> = upserted.iter().map(|entry| entry.name()).collect();
                assert_eq!((names, removed), (vec!["ns/w", "ns/y"], vec!["ns/z".to_owned()]));
            }
        }
    }
}

#[test]
fn a_sink_that_says_what_it_has_gets_the_difference_even_if_there_is_none() {
    let mut state = state(true);
    state.on_snapshot(publish(None, "a", 5, &objects(&[("x", "1"), ("y", "2")])));
    let request = RequestResources {
        incremental: true,
        initial_resource_versions: objects(&[("x", "1"), ("y", "2")]),
        ..subscribe("a")
    };
    state.on_request(&request).unwrap();
    let Content::Changes { upserted, removed } = state.next_response().unwrap().content else {
        panic!("the sink has said what it holds");
    };
    assert_eq!((upserted, removed), (vec![], vec![]));
}

// === all rules against a model ===

#[derive(Clone, Debug)]
enum Op {
    /// A collection gets a new state.
    Publish(usize, Objects),
    /// The sink (re)subscribes.
    Subscribe(usize),
    /// The sink answers what it got last; `true` is an ACK.
    Answer(usize, bool),
    /// An answer with a nonce that was never given, or is long over.
    Stale(usize, bool),
    /// The connection can take a response.
    Pull,
}

/// What a correct source does, in the simplest words.
#[derive(Default)]
struct Model {
    published: Option<BTreeMap<usize, (u64, Objects)>>,
    watches: BTreeMap<usize, ModelWatch>,
    due: Vec<usize>,
    nonce: u64,
    version: u64,
}

#[derive(Default)]
struct ModelWatch {
    sent: Option<u64>,
    pending: Option<String>,
    /// What the sink would hold when it took the pending response.
    offered: Objects,
    /// What the sink holds.
    holds: Objects,
}

impl Model {
    fn current(&self, index: usize) -> Option<(u64, Objects)> {
        Some(self.published.as_ref()?.get(&index).cloned().unwrap_or_default())
    }

    fn wants(&self, index: usize) -> bool {
        let watch = &self.watches[&index];
        self.current(index)
            .is_some_and(|(version, _)| watch.pending.is_none() && watch.sent != Some(version))
    }

    fn refresh(&mut self, indexes: impl IntoIterator<Item = usize>) {
        for index in indexes {
            if self.wants(index) && !self.due.contains(&index) {
                self.due.push(index);
            }
        }
    }

    /// Collection, version and nonce of what must be sent now.
    fn pull(&mut self) -> Option<(usize, u64, String)> {
        while !self.due.is_empty() {
            let index = self.due.remove(0);
            if self.wants(index) {
                self.nonce += 1;
                let (version, _) = self.current(index)?;
                let watch = self.watches.get_mut(&index)?;
                watch.sent = Some(version);
                watch.pending = Some(self.nonce.to_string());
                return Some((index, version, self.nonce.to_string()));
            }
        }
        None
    }
}

/// What the sink of the model holds when it takes a response.
fn apply(holds: &Objects, response: &Response) -> Objects {
    let pair = |entry: &Arc<Entry>| (entry.name().to_owned(), entry.version().to_owned());
    match &response.content {
        Content::Full => response.collection.entries().iter().map(pair).collect(),
        Content::Changes { upserted, removed } => {
            let mut objects = holds.clone();
            objects.retain(|name, _| !removed.contains(name));
            objects.extend(upserted.iter().map(pair));
            objects
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let index = 0..NAMES.len();
    let some = proptest::collection::btree_map("ns/[xyz]", "[12]", 0..=3);
    prop_oneof![
        3 => (index.clone(), some).prop_map(|(index, objects)| Op::Publish(index, objects)),
        1 => index.clone().prop_map(Op::Subscribe),
        3 => (index.clone(), prop::bool::weighted(0.7)).prop_map(|(index, ok)| Op::Answer(index, ok)),
        1 => (index, any::<bool>()).prop_map(|(index, ok)| Op::Stale(index, ok)),
        4 => Just(Op::Pull),
    ]
}

fn run(ops: &[Op], incremental: bool) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut state = state(true);
    let mut snapshot: Option<Arc<Snapshot>> = None;
    let request = |request| RequestResources {
        incremental,
        ..request
    };

    let answer = |model: &mut Model, state: &mut SourceState, index: usize, ok: bool| {
        let Some(watch) = model.watches.get_mut(&index) else {
            return Ok(());
        };
        let Some(nonce) = watch.pending.take() else {
            return Ok(());
        };
        if ok {
            watch.holds = watch.offered.clone();
        }
        let answer = if ok {
            ack(NAMES[index], &nonce)
        } else {
            nack(NAMES[index], &nonce)
        };
        let received = state.on_request(&request(answer)).unwrap();
        prop_assert_eq!(ok, received == Received::Ack);
        model.refresh([index]);
        Ok(())
    };
    let pull = |model: &mut Model, state: &mut SourceState| {
        let response = state.next_response();
        let expected = model.pull();
        let got = response.as_ref().map(|response| {
            let index = NAMES
                .iter()
                .position(|&name| name == &**response.collection.name())
                .unwrap();
            (
                index,
                response.collection.version().parse().unwrap(),
                response.nonce.clone(),
            )
        });
        prop_assert_eq!(&got, &expected);
        if let (Some(response), Some((index, ..))) = (response, expected) {
            let (_, objects) = model.current(index).unwrap_or_default();
            let watch = model.watches.get_mut(&index).unwrap();
            watch.offered = apply(&watch.holds, &response);
            prop_assert_eq!(
                &watch.offered,
                &objects,
                "what the sink makes of it is what was published"
            );
        }
        Ok(got.is_some())
    };

    for op in ops {
        match op {
            Op::Publish(index, objects) => {
                model.version += 1;
                model
                    .published
                    .get_or_insert_default()
                    .insert(*index, (model.version, objects.clone()));
                snapshot = Some(publish(
                    snapshot.as_deref(),
                    NAMES[*index],
                    model.version,
                    objects,
                ));
                state.on_snapshot(snapshot.clone().unwrap());
                let watched: Vec<_> = model.watches.keys().copied().collect();
                model.refresh(watched);
            }
            Op::Subscribe(index) => {
                let watch = model.watches.entry(*index).or_default();
                if watch.pending.is_some() {
                    answer(&mut model, &mut state, *index, true)?;
                } else {
                    watch.sent = None;
                    let initial = RequestResources {
                        initial_resource_versions: watch.holds.clone(),
                        ..subscribe(NAMES[*index])
                    };
                    prop_assert_eq!(state.on_request(&request(initial)), Ok(Received::Subscription));
                    model.refresh([*index]);
                }
            }
            Op::Answer(index, ok) => answer(&mut model, &mut state, *index, *ok)?,
            Op::Stale(index, ok) => {
                if model.watches.contains_key(index) {
                    let stale = if *ok {
                        ack(NAMES[*index], "old")
                    } else {
                        nack(NAMES[*index], "old")
                    };
                    prop_assert_eq!(state.on_request(&request(stale)), Ok(Received::Stale));
                }
            }
            Op::Pull => {
                pull(&mut model, &mut state)?;
            }
        }
    }

    // A sink that takes everything ends up with what is published, in at most two rounds.
    for _ in 0..2 {
        while pull(&mut model, &mut state)? {}
        for index in 0..NAMES.len() {
            answer(&mut model, &mut state, index, true)?;
        }
    }
    prop_assert!(!pull(&mut model, &mut state)?);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_state_does_what_the_model_does(
        ops in proptest::collection::vec(op(), 0..60),
        incremental in any::<bool>(),
    ) {
        run(&ops, incremental)?;
    }
}
