//! Whatever is written, nothing panics on the way from text to what proxies get.
//!
//! The corpus are the objects of all cases. They are changed at random, which `FUZZ_SECONDS` in the environment lets
//! go on for longer; a failure names the round that repeats it (`FUZZ_FROM`).

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use mesh_config::{Config, decode, validation, yaml};
use mesh_testing::objects::{self, Choices, KINDS};

use crate::PACKAGE;
use crate::world::World;

/// How long an ordinary run of the tests goes on.
const PATIENCE: Duration = Duration::from_secs(5);

const PROXIES: &str = "
fallthroughRoute: true
proxies:
- {name: web-0, namespace: weather, ip: 10.1.0.7}
- {name: gateway-0, type: router, namespace: istio-system, ip: 10.1.0.9, labels: {istio: ingressgateway}}
- {name: uncaptured, namespace: other, ip: 10.1.0.8, labels: {app: api}, metadata: {INTERCEPTION_MODE: NONE}}
";

/// What stands in documents where somebody slipped.
const ODDITIES: &[&str] = &[
    "",
    "''",
    "~",
    "0",
    "-1",
    "65536",
    "99999999999999999999",
    "1e999",
    ".nan",
    "true",
    "[]",
    "{}",
    "[[[[{}]]]]",
    "'*'",
    "'.'",
    "'*.'",
    "'..'",
    "':'",
    "'[::1]:80'",
    "unix://",
    "10.0.0.0/33",
    "'\\0'",
    "\"\\u0000\"",
    "ü",
    "&a [*a]",
    "!!binary x",
    "0s",
    "-1s",
    "99999999999999999s",
    "'%'",
    "a: b",
    "? ",
    "- ",
    "|",
    "---",
    "\t",
];

/// Documents to objects, validation and translation.
pub(crate) fn documents() -> Result<(), Failed> {
    let corpus = corpus()?;
    for text in &corpus {
        read_and_translate(text);
    }
    rounds(|choices| {
        let mut text = choices.one_of(&corpus).clone();
        for _ in 0..=choices.below(4) {
            let other: &String = choices.one_of(&corpus);
            text = changed(&text, other, choices);
        }
        read_and_translate(&text);
    })
}

/// Objects of each kind to translation, whether or not validation admits them.
pub(crate) fn translation() -> Result<(), Failed> {
    rounds(|choices| {
        let bytes: Vec<u8> = (0..choices.below(600))
            .map(|_| u8::try_from(choices.below(256)).unwrap_or_default())
            .collect();
        let mut choices = Choices::of_bytes(&bytes);
        let objects: Vec<Config> = (0..6)
            .filter_map(|index| {
                let kind = *choices.one_of(&KINDS);
                let object = objects::object(kind, ["edge", "a", "b", "c", "d", "e"][index], &mut choices);
                decode::from_json(None, &object).ok()
            })
            .collect();
        translate(&objects);
    })
}

/// Does something with the choices of each round until the time is over.
fn rounds(mut each: impl FnMut(&mut Choices<'_>)) -> Result<(), Failed> {
    let number = |variable: &str| env::var(variable).ok()?.parse::<u64>().ok();
    let patience = number("FUZZ_SECONDS").map_or(PATIENCE, Duration::from_secs);
    let first = number("FUZZ_FROM").unwrap_or(0);
    let began = Instant::now();
    let mut round = first;
    while began.elapsed() < patience {
        if catch_unwind(AssertUnwindSafe(|| each(&mut Choices::seeded(round)))).is_err() {
            return Err(format!("round {round} panics").into());
        }
        round += 1;
    }
    if number("FUZZ_SECONDS").is_some() {
        eprintln!("{} rounds", round - first);
    }
    Ok(())
}

/// The objects of all cases.
fn corpus() -> Result<Vec<String>, Failed> {
    let mut texts = Vec::new();
    for folder in fs::read_dir(Path::new(PACKAGE).join("testdata"))? {
        texts.push(fs::read_to_string(folder?.path().join("in.yaml"))?);
    }
    texts.sort();
    Ok(texts)
}

fn read_and_translate(text: &str) {
    let documents = yaml::documents("fuzz.yaml", text).into_iter().flatten();
    let objects: Vec<Config> = documents
        .filter_map(|document| decode::object(&document).ok())
        .collect();
    for object in &objects {
        validation::validate(object);
        decode::to_json(object);
    }
    translate(&objects);
}

/// An object that the registries refuse is left out by them: what is wanted is that nothing panics.
fn translate(objects: &[Config]) {
    if let Ok(world) = World::of_objects(objects, PROXIES) {
        for proxy in &world.proxies {
            proxy.resources();
        }
    }
}

/// A text with one change.
fn changed(text: &str, other: &str, choices: &mut Choices<'_>) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return other.to_owned();
    }
    let at = choices.below(lines.len());
    match choices.below(6) {
        // A value is another one.
        0 | 1 => {
            let places: Vec<usize> = text.match_indices(": ").map(|(place, _)| place + 2).collect();
            if places.is_empty() {
                return text.to_owned();
            }
            let from = *choices.one_of(&places);
            let to = text[from..]
                .find([',', '}', ']', '\n'])
                .map_or(text.len(), |length| from + length);
            return format!("{}{}{}", &text[..from], choices.one_of(ODDITIES), &text[to..]);
        }
        2 => {
            lines.remove(at);
        }
        3 => lines.insert(at, lines[at]),
        4 => {
            let others: Vec<&str> = other.lines().collect();
            if !others.is_empty() {
                lines[at] = others[choices.below(others.len())];
            }
        }
        // Any character is any other.
        _ => {
            let mut characters: Vec<char> = text.chars().collect();
            let place = choices.below(characters.len());
            characters[place] =
                char::from_u32(u32::try_from(choices.below(0x100)).unwrap_or_default()).unwrap_or(' ');
            return characters.into_iter().collect();
        }
    }
    lines.join("\n")
}
