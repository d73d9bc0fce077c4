//! Answers that are given again.

use std::time::Duration as Time;

use mixer_attribute::{AttributeId, Bag, CheckCache, Decoder, References, StringMap, Track, Validity, Value};
use prost_types::Duration;

use crate::world::decoder;

const MINUTE: Validity = Validity {
    duration: Time::from_secs(60),
    use_count: 100,
};

/// A request with path, port and one header, of which each may be left out.
struct World(Decoder);

impl World {
    fn id(&self, name: &str) -> AttributeId {
        self.0.vocabulary().id(name).expect("it is in the vocabulary")
    }

    fn bag<'r>(&self, path: Option<&'r str>, header: Option<&'r str>) -> Bag<'r> {
        let mut bag = Bag::new(self.0.vocabulary());
        if let Some(path) = path {
            bag.set(self.id("request.path"), path.into());
        }
        let headers = StringMap::borrowed(header.map(|value| ("x", value)));
        bag.set(self.id("request.headers"), Value::StringMap(headers));
        bag
    }

    /// Path and header were read, which were there or not.
    fn references(&self, path: bool, header: bool) -> References {
        let mut references = References::default();
        references.attribute(self.id("request.path"), path);
        references.key(self.id("request.headers"), "x", header);
        references
    }
}

fn secs(seconds: u64) -> Time {
    Time::from_secs(seconds)
}

/// M117, §2.8: the same, present or absent, gets the same answer.
#[test]
fn m117_requests_that_look_the_same_get_the_same_answer() {
    let world = World(decoder());
    let mut cache = CheckCache::new(10);
    cache.put(
        &world.bag(Some("/"), None),
        &world.references(true, false),
        1,
        MINUTE,
        1,
        secs(0),
    );
    cache.put(
        &world.bag(None, Some("h")),
        &world.references(false, true),
        2,
        MINUTE,
        1,
        secs(0),
    );
    let mut get = |path, header| {
        cache
            .get(&world.bag(path, header), 1, secs(1))
            .map(|found| *found.answer)
    };
    assert_eq!(get(Some("/"), None), Some(1));
    assert_eq!(get(None, Some("h")), Some(2));
    for (path, header) in [
        (Some("/a"), None),
        (Some("/"), Some("h")),
        (None, None),
        (None, Some("i")),
    ] {
        assert_eq!(get(path, header), None, "{path:?} {header:?}");
    }
    // No header is not the same as no headers.
    let mut bag = Bag::new(world.0.vocabulary());
    bag.set(world.id("request.path"), "/".into());
    assert_eq!(cache.get(&bag, 1, secs(1)), None);
    let counts = cache.counts();
    assert_eq!((counts.writes, counts.hits, counts.misses), (2, 2, 5));
}

/// §2.8: 1.1 left spans of time out of the key.
#[test]
fn durations_are_part_of_the_key() {
    let world = World(decoder());
    let id = world.id("response.duration");
    let mut references = References::default();
    references.attribute(id, true);
    let mut cache = CheckCache::new(10);
    let bag = |seconds| {
        let mut bag = Bag::new(world.0.vocabulary());
        bag.set(id, Value::Duration(Duration { seconds, nanos: 0 }));
        bag
    };
    cache.put(&bag(1), &references, "short", MINUTE, 1, secs(0));
    cache.put(&bag(9), &references, "long", MINUTE, 1, secs(0));
    assert_eq!(
        cache.get(&bag(1), 1, secs(0)).map(|found| *found.answer),
        Some("short")
    );
    assert_eq!(
        cache.get(&bag(9), 1, secs(0)).map(|found| *found.answer),
        Some("long")
    );
    assert_eq!(cache.get(&bag(2), 1, secs(0)), None);
    assert_eq!(cache.shapes(), 1, "the same was read for both");
}

/// §2.8: where all of a map was read all of it has to be the same.
#[test]
fn maps_that_were_read_as_a_whole_are_part_of_the_key() {
    let world = World(decoder());
    let mut references = References::default();
    references.attribute(world.id("request.headers"), true);
    let mut cache = CheckCache::new(10);
    let bag = |header| world.bag(None, header);
    cache.put(&bag(Some("a")), &references, "a", MINUTE, 1, secs(0));
    cache.put(&bag(None), &references, "none", MINUTE, 1, secs(0));
    for (header, answer) in [(Some("a"), Some("a")), (None, Some("none")), (Some("b"), None)] {
        let found = cache.get(&bag(header), 1, secs(0));
        assert_eq!(found.map(|found| *found.answer), answer, "{header:?}");
    }
}

#[test]
fn answers_are_good_for_as_long_as_they_say() {
    let world = World(decoder());
    let (bag, references) = (world.bag(Some("/"), None), world.references(true, false));
    let mut cache = CheckCache::new(10);
    for validity in [
        Validity {
            duration: Time::ZERO,
            use_count: 5,
        },
        Validity {
            duration: secs(5),
            use_count: 0,
        },
    ] {
        cache.put(&bag, &references, 0, validity, 1, secs(0));
    }
    assert!(cache.is_empty());
    cache.put(
        &bag,
        &references,
        1,
        Validity {
            duration: secs(5),
            use_count: -1,
        },
        1,
        secs(10),
    );
    let found = cache
        .get(&bag, 1, secs(12))
        .map(|found| (*found.answer, found.valid_duration));
    assert_eq!(found, Some((1, secs(3))));
    assert_eq!(cache.get(&bag, 1, secs(15)), None);
    assert_eq!((cache.len(), cache.shapes(), cache.counts().evictions), (0, 0, 1));
}

/// Pain 26: the adapter says how often its answer may be used, and the first request has used it once.
#[test]
fn pain_26_answers_are_given_as_often_as_they_say() {
    let world = World(decoder());
    let (bag, references) = (world.bag(Some("/"), None), world.references(true, false));
    let good_for = |use_count| Validity { use_count, ..MINUTE };
    let mut cache = CheckCache::new(10);
    cache.put(&bag, &references, 0, good_for(1), 1, secs(0));
    assert!(cache.is_empty(), "it was used already");
    cache.put(&bag, &references, 0, good_for(3), 1, secs(0));
    for given in [true, true, false, false] {
        assert_eq!(cache.get(&bag, 1, secs(1)).is_some(), given);
    }
    assert_eq!((cache.len(), cache.shapes(), cache.counts().evictions), (0, 0, 1));
}

/// Pain 26: an answer of an older configuration is never given.
#[test]
fn pain_26_answers_are_those_of_the_newest_configuration() {
    let world = World(decoder());
    let (bag, references) = (world.bag(Some("/"), None), world.references(true, false));
    let mut cache = CheckCache::new(10);
    cache.put(&bag, &references, "old", MINUTE, 1, secs(0));
    assert_eq!(cache.get(&bag, 2, secs(0)), None);
    assert!(cache.is_empty());
    // Found before the configuration changed, told after it.
    cache.put(&bag, &references, "old", MINUTE, 1, secs(0));
    assert_eq!(cache.get(&bag, 2, secs(0)), None);
    cache.put(&bag, &references, "new", MINUTE, 2, secs(0));
    assert_eq!(
        cache.get(&bag, 1, secs(0)),
        None,
        "nor is a newer one given to an older caller"
    );
    assert_eq!(
        cache.get(&bag, 2, secs(0)).map(|found| *found.answer),
        Some("new")
    );
}

#[test]
fn what_was_used_last_stays() {
    let world = World(decoder());
    let references = world.references(true, false);
    let mut cache = CheckCache::new(2);
    let bag = |path| world.bag(Some(path), None);
    cache.put(&bag("a"), &references, "a", MINUTE, 1, secs(0));
    cache.put(&bag("b"), &references, "b", MINUTE, 1, secs(0));
    assert!(cache.get(&bag("a"), 1, secs(0)).is_some());
    cache.put(&bag("c"), &references, "c", MINUTE, 1, secs(0));
    assert_eq!(cache.len(), 2);
    assert!(cache.get(&bag("b"), 1, secs(0)).is_none());
    assert!(cache.get(&bag("a"), 1, secs(0)).is_some());
    assert_eq!(cache.counts().evictions, 1);

    let mut none = CheckCache::new(0);
    none.put(&bag("a"), &references, "a", MINUTE, 1, secs(0));
    assert!(none.is_empty());
}

/// A rule that reads a header which the request names makes as many shapes as anybody likes.
#[test]
fn shapes_and_keys_are_bounded() {
    let world = World(decoder());
    let id = world.id("request.headers");
    let mut cache = CheckCache::new(100_000);
    let bag = world.bag(Some("/"), None);
    for number in 0..10_000 {
        let mut references = References::default();
        references.key(id, &number.to_string(), false);
        cache.put(&bag, &references, number, MINUTE, 1, secs(0));
    }
    assert!(cache.shapes() < 200, "{}", cache.shapes());
    assert_eq!(
        cache.get(&bag, 1, secs(0)).map(|found| *found.answer),
        Some(9_999)
    );

    let long = "x".repeat(100_000);
    let bag = world.bag(Some(&long), None);
    let entries = cache.len();
    cache.put(&bag, &world.references(true, false), 1, MINUTE, 1, secs(0));
    assert_eq!(cache.len(), entries);
}
