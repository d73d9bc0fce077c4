//! Whatever is written, nothing panics on the way from text to what proxies get.
//!
//! The corpus are the objects of all cases. They are changed at random, for as long as [`fuzz::rounds`] goes on.

use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use mesh_config::{Config, Kind, decode, mesh, validation, yaml};
use mesh_testing::fuzz::{self, changed};
use mesh_testing::objects::{self, Choices, KINDS, KUBERNETES};

use crate::world::{Input, World};
use crate::{PACKAGE, meshes};

/// Whole documents to objects, validation and translation.
pub(crate) fn documents() -> Result<(), Failed> {
    let corpus = corpus()?;
    let mut last = Choices::of_bytes(&[]);
    for text in &corpus {
        translate(read(text), &mut last);
    }
    Ok(fuzz::rounds("documents", |choices| {
        let mut text = choices.one_of(&corpus).clone();
        for _ in 0..=choices.below(4) {
            let other: &String = choices.one_of(&corpus);
            text = changed(&text, other, choices);
        }
        let objects = read(&text);
        translate(objects, choices);
    })?)
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
    Ok(fuzz::rounds(kind.schema().kind, |choices| {
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
    })?)
}

/// What files say about the mesh.
pub(crate) fn mesh() -> Result<(), Failed> {
    let base = objects::base();
    Ok(fuzz::rounds("mesh configuration", |choices| {
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
    })?)
}

/// An object by the descriptor of its message.
fn made(kind: Kind, name: &str, choices: &mut Choices<'_>) -> Option<Config> {
    let object = objects::object(kind, name, choices);
    decode::from_json(None, &object).ok()
}

/// The object with bytes that are others on the way.
fn damaged(mut object: Config, choices: &mut Choices<'_>) -> Config {
    let bytes = match choices.below(2) {
        0 => fuzz::damaged(object.body.value.to_vec(), choices),
        _ => fuzz::message_changed(&object.body.value, choices),
    };
    object.body.value = bytes.into();
    object
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
