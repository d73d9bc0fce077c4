//! Random expressions: nothing panics, and what is printed says what was read.

use mixer_attribute::{Bag, References, Untracked};
use mixer_expr::{compile, compile_typed, parse};
use proptest::prelude::*;

use crate::table::World;

/// Texts that are mostly expressions, often with fitting types.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "source.name",
        "source.labels",
        "request.size",
        "request.headers",
        "response.duration",
        "request.time",
        "source.ip",
        "connection.mtls",
        "absent.string",
        "absent.map",
        "wrong.int",
        "\"text\"",
        "\"10s\"",
        "`raw`",
        "'c'",
        "1",
        "1.5",
        "true",
        "emptyStringMap()",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 64, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            (
                two.clone(),
                prop::sample::select(vec![
                    "|", "||", "&&", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "^", "&",
                    "&^", "<<", ">>",
                ])
            )
                .prop_map(|((left, right), operator)| format!("{left} {operator} {right}")),
            (
                inner.clone(),
                prop::sample::select(vec!["!", "-", "+", "^", "&", "<-", "* "])
            )
                .prop_map(|(operand, operator)| format!("{operator}{operand}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            two.clone().prop_map(|(map, key)| format!("{map}[{key}]")),
            (
                two.clone(),
                prop::sample::select(vec!["startsWith", "endsWith", "matches", "nothing"])
            )
                .prop_map(|((target, argument), function)| format!("{target}.{function}({argument})")),
            (
                two,
                prop::sample::select(vec!["match", "conditional", "conditionalString"])
            )
                .prop_map(|((first, second), function)| format!("{function}({first}, {second}, {second})")),
            (
                inner,
                prop::sample::select(vec![
                    "ip",
                    "timestamp",
                    "dnsName",
                    "email",
                    "uri",
                    "toLower",
                    "size"
                ])
            )
                .prop_map(|(argument, function)| format!("{function}({argument})")),
        ]
    })
}

/// Compiles whatever it is, and evaluates it for requests.
pub(crate) fn try_out(world: &World, text: &str, bags: &[Bag<'_>]) {
    match compile(text, &world.vocabulary) {
        Ok(program) => {
            for bag in bags {
                let mut references = References::default();
                let value = program.evaluate(bag, &mut references);
                // What is not a number is not equal to itself.
                let untracked = program.evaluate(bag, &mut Untracked);
                assert_eq!(format!("{value:?}"), format!("{untracked:?}"));
                if let Ok(value) = &value {
                    assert!(program.value_type().holds(value), "{text}: {value:?}");
                }
                if program.constant().is_some() {
                    assert_eq!(program.constant(), value.ok());
                    assert_eq!(references, References::default());
                }
            }
            let again = compile_typed(text, &world.vocabulary, program.value_type());
            assert!(again.is_ok());
        }
        Err(error) => {
            assert!(error.span().end <= text.len());
            assert!(!error.to_string().is_empty() && !error.pointed().is_empty());
        }
    }
    if let Ok(expression) = parse(text) {
        let printed = expression.to_string();
        assert_eq!(
            parse(&printed).as_ref(),
            Ok(&expression),
            "{text} is printed as {printed}"
        );
    }
}

/// As [`try_out`], with everything there and with nothing.
fn try_both(text: &str) {
    let world = World::read();
    try_out(&world, text, &[world.bag(), Bag::new(&world.vocabulary)]);
}

/// Found at random.
#[test]
fn what_a_dot_would_belong_to_is_printed_in_parentheses() {
    for text in [
        "(true).startsWith(source.name)",
        "(1).f()",
        "(1.5).f()",
        "(false)[\"k\"]",
    ] {
        try_both(text);
    }
}

proptest! {
    #[test]
    fn any_expression_is_taken_or_refused(text in expressions()) {
        try_both(&text);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in ".{0,64}") {
        try_both(&text);
    }
}
