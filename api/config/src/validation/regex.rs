//! Regular expressions, which Envoy compiles with RE2.

use regex_syntax::ast::ErrorKind;
use regex_syntax::ast::parse::ParserBuilder;

use super::primitive::Checked;

/// Rejects what RE2 certainly rejects.
///
/// One pattern that does not compile makes Envoy refuse the whole route configuration it stands in, and with it every
/// other change, so it is worth finding here. Our parser is not RE2: where the two dialects differ the pattern passes.
pub(super) fn pattern(text: &str) -> Checked {
    let mut parser = ParserBuilder::new().nest_limit(250).build();
    let Err(error) = parser.parse(text) else {
        return Ok(());
    };
    match error.kind() {
        ErrorKind::UnsupportedLookAround
        | ErrorKind::UnsupportedBackreference
        | ErrorKind::ClassRangeInvalid
        | ErrorKind::ClassUnclosed
        | ErrorKind::EscapeUnexpectedEof
        | ErrorKind::GroupUnclosed
        | ErrorKind::GroupUnopened
        | ErrorKind::NestLimitExceeded(_)
        | ErrorKind::RepetitionMissing => {
            Err(format!("{text:?} is not a regular expression: {}", error.kind()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_re2_rejects_are_found() {
        for text in [
            "(?=a)",
            "(?<!a)b",
            r"(a)\1",
            "[a",
            "(a",
            "a)",
            "*a",
            "[b-a]",
            "a\\",
            &"(".repeat(300),
        ] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_of_re2_pass() {
        for text in [
            "^(.*?;)?(local=north)(;.*)?",
            r"\Qa.b\E",
            "(?i)a{2,3}",
            "(?P<n>a)",
            r"\d+\-\/",
            "[[:alpha:]]",
            "a{,2}",
            "",
        ] {
            assert_eq!(pattern(text), Ok(()), "{text}");
        }
    }
}
