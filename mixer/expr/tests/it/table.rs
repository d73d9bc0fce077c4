//! `testdata/expressions.txt`: expressions and what becomes of them.

use std::fmt::Write;
use std::net::IpAddr;

use mixer_attribute::{Bag, StringMap, Untracked, Value, ValueType, Vocabulary};
use mixer_expr::compile;

const TABLE: &str = include_str!("../../testdata/expressions.txt");

/// The attributes at the top of the table.
pub(crate) struct World {
    pub(crate) vocabulary: Vocabulary,
    values: Vec<(&'static str, &'static str)>,
}

impl World {
    pub(crate) fn read() -> Self {
        let mut vocabulary = Vocabulary::default();
        let mut values = Vec::new();
        for line in TABLE.lines().filter_map(|line| line.strip_prefix("@ ")) {
            let (declared, value) = line.split_once('=').unwrap_or((line, "absent"));
            let (name, value_type) = declared.trim().split_once(": ").unwrap();
            vocabulary.add(name, type_called(value_type)).unwrap();
            values.push((name, value.trim()));
        }
        Self { vocabulary, values }
    }

    pub(crate) fn bag(&self) -> Bag<'static> {
        let mut bag = Bag::new(&self.vocabulary);
        for (name, text) in &self.values {
            let id = self.vocabulary.id(name).unwrap();
            let (value_type, text) = match text.split_once(" but ") {
                // Somebody sends another type than is declared.
                Some((other, text)) => (type_called(other), text),
                None => (self.vocabulary.value_type(id), *text),
            };
            if text != "absent" {
                bag.set(id, value_of(value_type, text));
            }
        }
        bag
    }
}

fn type_called(name: &str) -> ValueType {
    (1..=11)
        .filter_map(ValueType::from_wire)
        .find(|value_type| value_type.to_string() == name)
        .unwrap_or_else(|| panic!("no type {name}"))
}

fn value_of(value_type: ValueType, text: &'static str) -> Value<'static> {
    match value_type {
        ValueType::Int64 => Value::Int64(text.parse().unwrap()),
        ValueType::Double => Value::Double(text.parse().unwrap()),
        ValueType::Bool => Value::Bool(text.parse().unwrap()),
        ValueType::Timestamp => Value::Timestamp(prost_types::Timestamp {
            seconds: text.parse().unwrap(),
            nanos: 0,
        }),
        ValueType::Duration => Value::Duration(prost_types::Duration {
            seconds: 0,
            nanos: text.parse().unwrap(),
        }),
        ValueType::IpAddress => Value::IpAddress(text.parse::<IpAddr>().unwrap()),
        ValueType::StringMap => Value::StringMap(StringMap::borrowed(
            text.split(", ").filter_map(|entry| entry.split_once(": ")),
        )),
        _ => Value::from(text),
    }
}

/// What becomes of an expression, as the table writes it.
fn outcome(world: &World, bag: &Bag<'_>, expression: &str) -> String {
    let program = match compile(expression, &world.vocabulary) {
        Ok(program) => program,
        Err(error) => return format!("refused {}", error.reason()),
    };
    let value_type = program.value_type();
    match program.evaluate(bag, &mut Untracked) {
        Ok(value) => {
            let constant = if program.constant().is_some() { "=" } else { "" };
            format!("{value_type}{constant} {}", shown(&value))
        }
        Err(error) => format!("{value_type} fails {error}"),
    }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Int64(value) => value.to_string(),
        Value::Double(value) => format!("{value:?}"),
        Value::Bool(value) => value.to_string(),
        Value::Timestamp(time) => format!("{}.{:09}", time.seconds, time.nanos),
        Value::Duration(time) => format!(
            "{}",
            i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
        ),
        Value::IpAddress(ip) => ip.to_string(),
        Value::StringMap(map) => format!("{map:?}"),
    }
}

/// The rows of the table: line, expression, what is expected.
pub(crate) fn rows() -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    TABLE.lines().enumerate().filter_map(|(number, line)| {
        let row = !line.is_empty() && !line.starts_with(['#', '@']);
        let (expression, expected) = line.split_once(" => ").filter(|_| row)?;
        Some((number + 1, expression.trim(), expected.trim()))
    })
}

/// `spec 02` §4.1, §4.2, §4.3 and the expressions of §12.
#[test]
fn m04_every_expression_of_the_table_becomes_what_it_says() {
    let world = World::read();
    let bag = world.bag();
    let mut wrong = String::new();
    let mut count = 0;
    for (line, expression, expected) in rows() {
        count += 1;
        let found = outcome(&world, &bag, expression);
        if found != expected {
            writeln!(
                wrong,
                "expressions.txt:{line}: {expression}\n  expected {expected}\n  found    {found}"
            )
            .unwrap();
        }
    }
    let lines = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '@']))
        .count();
    assert_eq!(lines, count, "a line is no row");
    assert!(wrong.is_empty(), "\n{wrong}");
}
