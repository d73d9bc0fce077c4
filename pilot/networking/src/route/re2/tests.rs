//! Patterns on either side of the line.

use super::*;

/// The case `vs-patterns-that-re2-compiles` gives the same ones to a real Envoy.
const VALID: &[&str] = &[
    "^(.*?;)?(local=north)(;.*)?",
    "^(.*?;)?(user=tester)(;.*)?$",
    r".*(Chrome/([\d.]+)).*",
    ".*((Android)).*",
    "a|b|",
    "(|a)+",
    "a{2,3}?b{4}c{5,}d{e}{,3}",
    "^*",
    "(?:a)(?P<name>b)(?i)c(?i-s:d)(?U)",
    r"[]a][^]a][a-z-][-a][\w-z][[:alpha:][:^digit:]\d]",
    r"[\]\-\\a]\.\/\_\-",
    r"\Qa.b(\E.\Q[",
    r"\x41\x{FF}\012\0\a\f\n\r\t\v\A\z\b\B",
    r"\pL\p{Greek}\PN\p{^Lu}[\p{Han}a]",
    "ünï",
    "[[:foo]",
    "(a{30}){30}",
    "}]{",
];
const INVALID: &[&str] = &[
    "",
    "*",
    "*a",
    "(+)",
    "a|*",
    "a**",
    "a{2}{3}",
    "a{2}*",
    "a{1001}",
    "a{3,2}",
    "(a{100}){100}",
    "(",
    ")",
    "a)",
    "(a",
    "(?=a)",
    "(?!a)",
    "(?<=a)b",
    "(?<!a)b",
    "(?P=a)",
    "(?P<a>b)(?P<a>c)",
    "(?P<>a)",
    "(?x)a",
    "(?i-)a",
    "(?",
    r"(a)\1",
    r"\8",
    "[a",
    "[]",
    "[b-a]",
    r"[a-\d]",
    "[[:foo:]]",
    r"\q",
    "\\",
    r"\x",
    r"\x{1F600}",
    r"\p{Letter}",
    r"\p",
];

#[test]
fn what_re2_compiles_passes() {
    for pattern in VALID {
        assert_eq!(check(pattern), Ok(()), "{pattern}");
    }
}

#[test]
fn what_re2_rejects_is_found() {
    for pattern in INVALID {
        assert!(check(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn large_programs_and_deep_nesting_are_refused() {
    assert_eq!(check(&"(".repeat(10_000)), Err(PatternError::TooDeep));
    assert_eq!(check(r"(\pL{30}){30}"), Err(PatternError::TooLarge));
    assert_eq!(check(&"a".repeat(60_000)), Err(PatternError::TooLarge));
}

proptest::proptest! {
    #[test]
    fn any_text_gets_an_answer(pattern in ".{0,40}") {
        let _ = check(&pattern);
    }

    #[test]
    fn any_sequence_of_operators_gets_an_answer(pattern in r"[a-c(){}\[\]*+?|\\^$.,:0-9-]{0,24}") {
        let _ = check(&pattern);
    }
}
