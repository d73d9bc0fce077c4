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
use mesh_config::{Config, Kind, decode, mesh, validation, yaml};
use mesh_testing::objects::{self, Choices, KINDS, KUBERNETES};

use crate::world::{Input, World};
use crate::{PACKAGE, meshes};

/// How long an ordinary run of the tests goes on.
const PATIENCE: Duration = Duration::from_secs(3);

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

/// Whole documents to objects, validation and translation.
pub(crate) fn documents() -> Result<(), Failed> {
    let corpus = corpus()?;
    let mut last = Choices::of_bytes(&[]);
    for text in &corpus {
        translate(read(text), &mut last);
    }
    rounds(|choices| {
        let mut text = choices.one_of(&corpus).clone();
        for _ in 0..=choices.below(4) {
            let other: &String = choices.one_of(&corpus);
            text = changed(&text, other, choices);
        }
        let objects = read(&text);
        translate(objects, choices);
    })
}

/// The kinds that have a target of their own.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    KINDS.into_iter().chain(KUBERNETES)
}

/// Objects of a kind among those of others, whether or not validation admits them: sources may deliver what was stored
/// before there was a validation.
pub(crate) fn kind(kind: Kind) -> Result<(), Failed> {
    let base = objects::base();
    let needle = format!("kind: {},", kind.schema().kind);
    let line = format!("kind: {}\n", kind.schema().kind);
    let corpus = corpus()?;
    let documents = corpus.iter().flat_map(|text| text.split("\n---\n"));
    let documents: Vec<&str> = documents
        .filter(|text| text.contains(&needle) || text.contains(&line))
        .collect();
    rounds(|choices| {
        let mut objects = base.clone();
        let kinds: Vec<Kind> = kinds().collect();
        for name in ["edge", "a"] {
            objects.extend(made(*choices.one_of(&kinds), name, choices));
        }
        for name in ["edge", "a", "web"] {
            match choices.below(4) {
                0 if !documents.is_empty() => {
                    let (text, other) = (*choices.one_of(&documents), *choices.one_of(&documents));
                    objects.extend(read(&changed(text, other, choices)));
                }
                1 => objects.extend(made(kind, name, choices).map(|object| damaged(object, choices))),
                _ => objects.extend(made(kind, name, choices)),
            }
        }
        translate(objects, choices);
    })
}

/// What files say about the mesh.
pub(crate) fn mesh() -> Result<(), Failed> {
    let base = objects::base();
    rounds(|choices| {
        let mut texts = [objects::mesh(choices), objects::networks(choices)];
        for text in &mut texts {
            for _ in 0..choices.below(3) {
                // One of them in many lines, as people write it.
                *text = changed(&text.replace(',', ",\n"), "a: b", choices);
            }
        }
        let [mut mesh, mut networks] = texts;
        if mesh::parse(&mesh).is_err() {
            mesh.clear();
        }
        if mesh::parse_networks(&networks).is_err() {
            networks.clear();
        }
        let mut objects = base.clone();
        objects.extend(made(Kind::DestinationRule, "a", choices));
        let input = Input {
            objects,
            mesh,
            networks,
            changes: Vec::new(),
        };
        generate(&input, choices);
    })
}

/// An object by the descriptor of its message.
fn made(kind: Kind, name: &str, choices: &mut Choices<'_>) -> Option<Config> {
    let object = objects::object(kind, name, choices);
    decode::from_json(None, &object).ok()
}

/// The object with bytes that are others on the way.
fn damaged(mut object: Config, choices: &mut Choices<'_>) -> Config {
    let mut bytes = object.body.value.to_vec();
    for _ in 0..=choices.below(3) {
        let byte = u8::try_from(choices.below(256)).unwrap_or_default();
        let at = choices.below(bytes.len() + 1);
        match (choices.below(3), bytes.get_mut(at)) {
            (0, _) => bytes.insert(at, byte),
            (1, Some(old)) => *old = byte,
            _ => bytes.truncate(at),
        }
    }
    object.body.value = bytes.into();
    object
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
        eprintln!("{} rounds from {first}", round - first);
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

/// The objects of a text, which may be any.
fn read(text: &str) -> Vec<Config> {
    let documents = yaml::documents("fuzz.yaml", text).into_iter().flatten();
    documents
        .filter_map(|document| decode::object(&document).ok())
        .collect()
}

fn translate(objects: Vec<Config>, choices: &mut Choices<'_>) {
    for object in &objects {
        validation::validate(object);
        let json = decode::to_json(object);
        let _ = decode::from_json(None, &json);
    }
    let input = Input {
        objects,
        ..Input::default()
    };
    generate(&input, choices);
}

/// What registries refuse is left out by them, and what proxies get of the rest is encoded.
fn generate(input: &Input, choices: &mut Choices<'_>) {
    let world = World::of_input(input, &meshes::setup(choices)).expect("files and proxies are good");
    world.resources();
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
