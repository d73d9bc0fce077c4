//! Expressions of the table, changed and put together, for requests with any values.

use mesh_testing::fuzz;
use mesh_testing::objects::Choices;
use mixer_attribute::{Bag, testing};

use crate::random::try_out;
use crate::table::{World, rows};

const LETTERS: &[char] = &[
    '"', '\'', '`', '\\', '(', ')', '[', ']', '.', '|', '=', '$', '*', ' ', '0', 'x', 'ß', '\u{0}',
    '\u{fffd}', ',',
];

const OPERATORS: &[&str] = &[
    "|", "||", "&&", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "^", "&", "&^", "<<", ">>",
    ".", ",", "",
];

const FUNCTIONS: &[&str] = &[
    "match",
    "matches",
    "startsWith",
    "endsWith",
    "conditional",
    "conditionalString",
    "ip",
    "timestamp",
    "dnsName",
    "email",
    "uri",
    "toLower",
    "size",
    "emptyStringMap",
    "nothing",
];

/// Every row of the table, whole; then such as are made of them.
#[test]
fn fuzz_expressions() {
    let world = World::read();
    let rows: Vec<&str> = rows().map(|(_, expression, _)| expression).collect();
    let bags = [world.bag(), Bag::new(&world.vocabulary)];
    for row in &rows {
        try_out(&world, row, &bags);
    }
    fuzz::rounds("expressions", |choices| {
        let depth = choices.below(5);
        let mut text = made(&rows, depth, choices);
        for _ in 0..choices.below(3) {
            text = damaged(&text, choices);
        }
        let mut bag = Bag::new(&world.vocabulary);
        for id in world.vocabulary.ids() {
            // Now and then of another type than is declared.
            let value_type = match choices.below(20) {
                0 => world
                    .vocabulary
                    .value_type(*choices.one_of(&world.vocabulary.ids().collect::<Vec<_>>())),
                1..4 => continue,
                _ => world.vocabulary.value_type(id),
            };
            bag.set(id, testing::value(value_type, &mut |limit| choices.below(limit)));
        }
        try_out(&world, &text, &[bag]);
    })
    .unwrap_or_else(|failure| panic!("{failure}"));
}

/// An expression of others.
fn made(rows: &[&str], depth: usize, choices: &mut Choices<'_>) -> String {
    if depth == 0 {
        return (*choices.one_of(rows)).to_owned();
    }
    let inner = |choices: &mut Choices<'_>| made(rows, depth - 1, choices);
    match choices.below(8) {
        0..3 => {
            let (left, right) = (inner(choices), inner(choices));
            format!("{left} {} {right}", choices.one_of(OPERATORS))
        }
        3 => format!("({})", inner(choices)),
        4 => format!("{}[{}]", inner(choices), inner(choices)),
        5 => {
            let (target, argument) = (inner(choices), inner(choices));
            format!("{target}.{}({argument})", choices.one_of(FUNCTIONS))
        }
        6 => {
            let arguments: Vec<_> = (0..choices.below(4)).map(|_| inner(choices)).collect();
            format!("{}({})", choices.one_of(FUNCTIONS), arguments.join(", "))
        }
        // Values that come with requests are texts of expressions, too.
        _ => format!("{:?}", testing::text(&mut |limit| choices.below(limit))),
    }
}

/// A text with some of its letters changed.
fn damaged(text: &str, choices: &mut Choices<'_>) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..=choices.below(3) {
        let at = choices.below(letters.len());
        match choices.below(3) {
            0 => letters.insert(at, *choices.one_of(LETTERS)),
            1 if !letters.is_empty() => drop(letters.remove(at)),
            _ if !letters.is_empty() => letters[at] = *choices.one_of(LETTERS),
            _ => {}
        }
    }
    letters.into_iter().collect()
}
