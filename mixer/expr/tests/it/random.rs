//! Random expressions: nothing panics, and what is printed says what was read.

use mixer_attribute::{References, Untracked};
use mixer_expr::{compile, compile_typed, parse};
use proptest::prelude::*;

use crate::table::{World, rows};

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

/// Compiles and evaluates whatever it is, with everything there and with nothing.
fn try_out(world: &World, text: &str) {
    let bag = world.bag();
    let empty = mixer_attribute::Bag::new(&world.vocabulary);
    match compile(text, &world.vocabulary) {
        Ok(program) => {
            for bag in [&bag, &empty] {
                let mut references = References::default();
                let value = program.evaluate(bag, &mut references);
                assert_eq!(value, program.evaluate(bag, &mut Untracked));
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

/// A text with some of its letters changed.
fn damaged(text: &str, seed: u64) -> String {
    const LETTERS: &[char] = &[
        '"', '\'', '`', '\\', '(', ')', '[', ']', '.', '|', '=', '$', '*', ' ', '0', 'x', 'ß', '\u{0}',
        '\u{fffd}', ',',
    ];
    let mut letters: Vec<char> = text.chars().collect();
    let mut state = seed;
    let mut next = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % limit.max(1)
    };
    for _ in 0..=next(3) {
        let at = next(letters.len());
        match next(3) {
            0 => letters.insert(at, LETTERS[next(LETTERS.len())]),
            1 if !letters.is_empty() => drop(letters.remove(at)),
            _ if !letters.is_empty() => letters[at] = LETTERS[next(LETTERS.len())],
            _ => {}
        }
    }
    letters.into_iter().collect()
}

/// Found at random.
#[test]
fn what_a_dot_would_belong_to_is_printed_in_parentheses() {
    let world = World::read();
    for text in [
        "(true).startsWith(source.name)",
        "(1).f()",
        "(1.5).f()",
        "(false)[\"k\"]",
    ] {
        try_out(&world, text);
    }
}

proptest! {
    #[test]
    fn any_expression_is_taken_or_refused(text in expressions()) {
        try_out(&World::read(), &text);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in ".{0,64}") {
        try_out(&World::read(), &text);
    }
}

/// Every row of the table, whole and damaged: once for each, or for `FUZZ_SECONDS`, from round `FUZZ_FROM` on.
#[test]
fn fuzz_expressions() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let end = number("FUZZ_SECONDS")
        .map(|seconds| std::time::Instant::now() + std::time::Duration::from_secs(seconds));
    let world = World::read();
    let mut round = number("FUZZ_FROM").unwrap_or_default();
    loop {
        for (line, expression, _) in rows() {
            let text = damaged(expression, round.wrapping_mul(10_007) + line as u64);
            let tried = std::panic::catch_unwind(|| try_out(&world, &text));
            assert!(tried.is_ok(), "round {round}: {text:?}, made of line {line}");
            try_out(&world, expression);
        }
        round += 1;
        if end.is_none_or(|end| std::time::Instant::now() >= end) {
            return;
        }
    }
}
