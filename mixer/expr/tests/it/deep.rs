//! Expressions that are too much.

use mixer_attribute::{Bag, Untracked, Value, ValueType, Vocabulary};
use mixer_expr::{Reason, compile, compile_typed, parse};

/// However something is nested 10,000 levels deep: it is an error, and the stack holds.
#[test]
fn depth_of_ten_thousand_is_an_error() {
    let vocabulary = Vocabulary::default();
    let n = 10_000;
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("!", "true", ""),
        ("ip(", "\"\"", ")"),
        ("a[", "\"\"", "]"),
        ("1 == (", "1", ")"),
        ("1 + (", "1", ")"),
        ("", "a", "[\"b\"]"),
        ("", "a", ".f()"),
        ("", "a", " == a"),
        ("(((", "a", ")[\"b\"]).f())"),
    ] {
        let text = format!("{}{middle}{}", open.repeat(n), close.repeat(n));
        let error = compile(&text, &vocabulary).unwrap_err();
        assert_eq!(error.reason(), &Reason::TooDeep(64), "{open} {close}");
        // Messages stay short.
        assert!(error.to_string().len() < 2_000);
    }
}

/// Operands of one operator are on one level, however many there are.
#[test]
fn chains_may_be_long() {
    let vocabulary = Vocabulary::default();
    let bag = Bag::new(&vocabulary);
    for (operator, operand, expected) in [
        (" || ", "false", Value::Bool(false)),
        (" && ", "true", Value::Bool(true)),
        (" | ", "1", Value::Int64(1)),
        (" + ", "1", Value::Int64(10_000)),
    ] {
        let text = vec![operand; 10_000].join(operator);
        let program = compile(&text, &vocabulary).unwrap();
        assert_eq!(program.evaluate(&bag, &mut Untracked), Ok(expected));
    }
}

/// Long names, strings and numbers, and letters that are none of ours.
#[test]
fn large_tokens_are_bounded_in_messages() {
    for text in [
        "a".repeat(1_000_000),
        format!("\"{}\" == 1", "x".repeat(1_000_000)),
        "9".repeat(1_000_000),
        "a.".repeat(500_000),
        ["a"; 500_000].join("."),
        "\u{0}".repeat(10),
    ] {
        let vocabulary = Vocabulary::default();
        let error = compile(&text, &vocabulary).unwrap_err().to_string();
        assert!(error.len() < 2_000, "{}", error.len());
    }
}

/// A pattern that comes with a request may be as long as the request.
#[test]
fn long_patterns_take_linear_time() {
    let mut vocabulary = Vocabulary::default();
    let id = vocabulary.add("pattern", ValueType::String).unwrap();
    let program = compile("pattern.matches(\"a\")", &vocabulary).unwrap();
    for part in [
        "[[:",
        "[",
        "[:a:]",
        "\\Q",
        "(",
        "a|",
        "[[:alpha:]",
        "(?i)",
        "a{1000}",
        "\\pL",
        "(?:",
    ] {
        let evaluate = |length: usize| {
            let mut bag = Bag::new(&vocabulary);
            let pattern = part.repeat(length / part.len());
            bag.set(id, Value::from(pattern.as_str()).into_owned());
            program
                .evaluate(&bag, &mut Untracked)
                .map_err(|error| error.to_string())
        };
        // No pattern, or one that is too large: what takes quadratic time does not come to an end here.
        let _ = evaluate(60_000);
        let error = evaluate(1_000_000).unwrap_err();
        assert!(
            error.contains("longer than 65536 bytes") && error.len() < 1_000,
            "{error}"
        );
    }
}

/// Errors show the expression and where in it they are.
#[test]
fn errors_point_into_the_expression() {
    let mut vocabulary = Vocabulary::default();
    vocabulary.add("request.size", ValueType::Int64).unwrap();
    let error = compile("request.size == 1 && requst.size == 2", &vocabulary).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown attribute requst.size (at column 22 of `request.size == 1 && requst.size == 2`)"
    );
    assert_eq!(
        error.pointed(),
        "request.size == 1 && requst.size == 2\n                     ^^^^^^^^^^^"
    );
    let error = compile("\"ü\" == request.size", &vocabulary).unwrap_err();
    assert_eq!((error.column(), error.span()), (8, 8..20));
    assert_eq!(
        compile(" ", &vocabulary).unwrap_err().to_string(),
        "the expression is empty"
    );
    let error = compile_typed("request.size", &vocabulary, ValueType::String).unwrap_err();
    assert_eq!(
        error.to_string(),
        "request.size typeError got INT64, expected STRING (at column 1 of `request.size`)"
    );
    assert!(
        parse("a b")
            .unwrap_err()
            .to_string()
            .contains("unexpected `b`, expected an operator or the end")
    );
}
