//! What RE2 takes for a regular expression, and the parsers of Rust do not tell.

use regex_syntax::ast::parse::ParserBuilder;
use regex_syntax::ast::{Ast, ErrorKind, RepetitionKind, RepetitionRange, Visitor, visit};

/// How deeply groups may be nested.
const NEST_LIMIT: u32 = 250;

/// The largest count of a repetition (`kMaxRepeat` of RE2).
const LARGEST_COUNT: u32 = 1000;

/// Why RE2 certainly rejects a pattern.
///
/// Our parser is not RE2: where the two dialects differ the pattern passes.
#[must_use]
pub fn rejected(pattern: &str) -> Option<String> {
    let mut parser = ParserBuilder::new().nest_limit(NEST_LIMIT).build();
    match parser.parse(pattern) {
        Ok(ast) => visit(&ast, Repetitions).err().map(str::to_owned),
        Err(error) => match error.kind() {
            ErrorKind::UnsupportedLookAround
            | ErrorKind::UnsupportedBackreference
            | ErrorKind::ClassRangeInvalid
            | ErrorKind::ClassUnclosed
            | ErrorKind::EscapeUnexpectedEof
            | ErrorKind::GroupUnclosed
            | ErrorKind::GroupUnopened
            | ErrorKind::NestLimitExceeded(_)
            | ErrorKind::RepetitionCountInvalid
            | ErrorKind::RepetitionMissing => Some(error.kind().to_string()),
            _ => None,
        },
    }
}

/// Looks for repetitions that Rust's engine counts and RE2 does not.
struct Repetitions;

impl Visitor for Repetitions {
    type Output = ();
    type Err = &'static str;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        let Ast::Repetition(repetition) = ast else {
            return Ok(());
        };
        if matches!(*repetition.ast, Ast::Repetition(_)) {
            return Err("a repetition of a repetition needs a group");
        }
        let largest = match &repetition.op.kind {
            RepetitionKind::Range(
                RepetitionRange::Exactly(count)
                | RepetitionRange::AtLeast(count)
                | RepetitionRange::Bounded(_, count),
            ) => *count,
            _ => 0,
        };
        if largest > LARGEST_COUNT {
            return Err("nothing is repeated more than 1000 times");
        }
        Ok(())
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
            "a**",
            "(x|a+?*)",
            "a{2}{3}",
            "a{1001}",
            "a{1,1001}",
            "a{3,2}",
            &"(".repeat(300),
        ] {
            assert!(rejected(text).is_some(), "{text}");
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
            "(a*)*",
            "a*?",
            "a{1000}",
            "",
        ] {
            assert_eq!(rejected(text), None, "{text}");
        }
    }
}
