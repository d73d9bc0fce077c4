//! Whether RE2, which Envoy compiles regular expressions with, takes a pattern.
//!
//! One pattern that does not compile makes Envoy reject the route configuration that it stands in, with every change
//! to any other route. So this is RE2's own grammar as far as it decides between valid and invalid, and an estimate of
//! the size of the program, which proxies limit.

mod escape;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// Why a pattern does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    #[error("it is empty")]
    Empty,
    #[error("nothing to repeat before {0:?}")]
    NothingToRepeat(char),
    #[error("repetition of a repetition")]
    RepeatedRepetition,
    #[error("repetitions must be in ascending order and multiply to 1000 at most")]
    Repetitions,
    #[error("unbalanced parentheses")]
    Parentheses,
    #[error("nested too deeply")]
    TooDeep,
    #[error(
        "look-around, back references and other groups than (?:, (?P<name> and (?flags) are not supported"
    )]
    Group,
    #[error("group name {0:?} is not a unique word")]
    GroupName(String),
    #[error("class without its closing bracket")]
    OpenClass,
    #[error("class range that ends before it starts")]
    ClassRange,
    #[error("unknown class [:{0}:]")]
    ClassName(String),
    #[error("unknown escape sequence at {0:?}")]
    Escape(String),
    #[error("unknown Unicode group {0:?}")]
    UnicodeGroup(String),
    #[error("its program is too large")]
    TooLarge,
}

/// Checks a pattern.
pub(super) fn check(pattern: &str) -> Result<(), PatternError> {
    if pattern.is_empty() {
        return Err(PatternError::Empty);
    }
    let mut parser = Parser {
        input: pattern.chars().peekable(),
        names: BTreeSet::new(),
    };
    let size = parser.alternation(0)?;
    if parser.input.next().is_some() {
        return Err(PatternError::Parentheses);
    }
    size.check()
}

/// Repetitions may not multiply to more.
const MAX_REPEAT: u32 = 1000;
/// Far below RE2's limit, so that our stack suffices.
const MAX_DEPTH: usize = 200;
/// Proxies are bootstrapped with `re2.max_program_size.error_level` 32768; the estimate leaves room for its error.
const MAX_SIZE: u64 = 20_000;

struct Parser<'a> {
    input: Peekable<Chars<'a>>,
    names: BTreeSet<String>,
}

/// What is known of a part of the pattern.
#[derive(Clone, Copy)]
struct Size {
    /// Instructions, roughly.
    instructions: u64,
    /// The largest product of nested repetition counts.
    repeats: u32,
}

// === impl Size ===

impl Size {
    const EMPTY: Self = Self {
        instructions: 1,
        repeats: 1,
    };

    fn of(instructions: u64) -> Self {
        Self {
            instructions,
            repeats: 1,
        }
    }

    fn then(self, next: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_add(next.instructions),
            repeats: self.repeats.max(next.repeats),
        }
    }

    fn repeated(self, times: u32) -> Result<Self, PatternError> {
        let repeats = self.repeats.saturating_mul(times.max(1));
        if repeats > MAX_REPEAT {
            return Err(PatternError::Repetitions);
        }
        let instructions = self.instructions.saturating_mul(u64::from(times) + 1);
        Self {
            instructions,
            repeats,
        }
        .checked()
    }

    fn checked(self) -> Result<Self, PatternError> {
        self.check().map(|()| self)
    }

    fn check(self) -> Result<(), PatternError> {
        if self.instructions > MAX_SIZE {
            Err(PatternError::TooLarge)
        } else {
            Ok(())
        }
    }
}

// === impl Parser ===

impl Parser<'_> {
    /// Everything up to the closing parenthesis or the end.
    fn alternation(&mut self, depth: usize) -> Result<Size, PatternError> {
        if depth > MAX_DEPTH {
            return Err(PatternError::TooDeep);
        }
        let mut total = Size::EMPTY;
        // The item that a repetition would apply to, and whether it is a repetition itself.
        let mut last: Option<Size> = None;
        let mut is_repeated = false;
        while let Some(&next) = self.input.peek() {
            if next == ')' {
                break;
            }
            self.input.next();
            let counts = match next {
                '*' | '+' => Some((next, 1)),
                '?' => Some((next, 1)),
                '{' => self.counts()?.map(|most| (next, most)),
                _ => None,
            };
            if let Some((operator, most)) = counts {
                let item = last.ok_or(PatternError::NothingToRepeat(operator))?;
                if is_repeated {
                    return Err(PatternError::RepeatedRepetition);
                }
                self.input.next_if_eq(&'?');
                last = Some(item.repeated(most)?);
                is_repeated = true;
                continue;
            }
            is_repeated = false;
            if next == '|' {
                total = total.then(last.take().unwrap_or(Size::EMPTY)).checked()?;
                continue;
            }
            let item = match next {
                '(' => self.group(depth)?,
                '[' => Some(self.class()?),
                '\\' => Some(self.escape()?),
                '.' => Some(Size::of(12)),
                literal => Some(Size::of(2 * literal.len_utf8() as u64)),
            };
            if let Some(item) = item {
                total = total.then(last.replace(item).unwrap_or(Size::EMPTY)).checked()?;
            }
        }
        total.then(last.unwrap_or(Size::EMPTY)).checked()
    }

    /// The counts after `{`; `None`, and nothing consumed, when it is not a repetition but a plain brace.
    fn counts(&mut self) -> Result<Option<u32>, PatternError> {
        let mut ahead = self.input.clone();
        let number = |ahead: &mut Peekable<Chars<'_>>| -> Option<u32> {
            let mut value: Option<u32> = None;
            while let Some(digit) = ahead.peek().and_then(|c| c.to_digit(10)) {
                value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                ahead.next();
            }
            value
        };
        let Some(least) = number(&mut ahead) else {
            return Ok(None);
        };
        let mut most = Some(least);
        if ahead.next_if_eq(&',').is_some() {
            most = number(&mut ahead);
        }
        if ahead.next() != Some('}') {
            return Ok(None);
        }
        self.input = ahead;
        if least > MAX_REPEAT || most.is_some_and(|most| most > MAX_REPEAT || most < least) {
            return Err(PatternError::Repetitions);
        }
        Ok(Some(most.unwrap_or(least)))
    }

    /// What follows `(`; `None` when it only sets flags.
    fn group(&mut self, depth: usize) -> Result<Option<Size>, PatternError> {
        if self.input.next_if_eq(&'?').is_some() && !self.group_kind()? {
            return Ok(None);
        }
        let size = self.alternation(depth + 1)?;
        match self.input.next() {
            Some(')') => Ok(Some(size.then(Size::of(2)))),
            _ => Err(PatternError::Parentheses),
        }
    }

    /// What follows `(?`; whether a group follows.
    fn group_kind(&mut self) -> Result<bool, PatternError> {
        let named = if self.input.next_if_eq(&'P').is_some() {
            if self.input.next() != Some('<') {
                return Err(PatternError::Group);
            }
            true
        } else {
            self.input.next_if_eq(&'<').is_some()
        };
        if named {
            let name: String = self.input.by_ref().take_while(|&c| c != '>').collect();
            let is_word = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_word || !self.names.insert(name.clone()) {
                return Err(PatternError::GroupName(name));
            }
            return Ok(true);
        }
        let (mut negative, mut flags) = (false, 0);
        loop {
            match self.input.next() {
                Some('i' | 'm' | 's' | 'U') => flags += 1,
                Some('-') if !negative => (negative, flags) = (true, 0),
                Some(end @ (':' | ')')) if !(negative && flags == 0) => return Ok(end == ':'),
                _ => return Err(PatternError::Group),
            }
        }
    }

    /// What follows `[`.
    fn class(&mut self) -> Result<Size, PatternError> {
        let negated = self.input.next_if_eq(&'^').is_some();
        let mut size = Size::of(if negated { 24 } else { 2 });
        let mut is_first = true;
        loop {
            let next = self.input.next().ok_or(PatternError::OpenClass)?;
            if next == ']' && !is_first {
                return size.checked();
            }
            is_first = false;
            if next == '[' && self.input.peek() == Some(&':') && self.named_class()? {
                size = size.then(Size::of(8));
                continue;
            }
            if next == '\\' {
                match self.input.peek() {
                    Some('p' | 'P') => {
                        self.input.next();
                        size = size.then(self.unicode_group()?);
                        continue;
                    }
                    Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                        self.input.next();
                        size = size.then(Size::of(24));
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.class_character(next)?;
            let mut ahead = self.input.clone();
            if ahead.next() == Some('-') && ahead.peek().is_some_and(|&after| after != ']') {
                self.input = ahead;
                let next = self.input.next().ok_or(PatternError::OpenClass)?;
                if self.class_character(next)? < low {
                    return Err(PatternError::ClassRange);
                }
            }
            size = size.then(Size::of(if low > 0x7f { 12 } else { 4 }));
        }
    }

    fn class_character(&mut self, first: char) -> Result<u32, PatternError> {
        if first == '\\' {
            self.escaped_character()
        } else {
            Ok(first.into())
        }
    }

    /// What follows `[` in a class when it goes on with `:`; whether it is a named class.
    fn named_class(&mut self) -> Result<bool, PatternError> {
        let rest: String = self.input.clone().skip(1).collect();
        let Some(end) = rest.find(":]") else {
            return Ok(false);
        };
        let name = &rest[..end];
        let known = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
            "space", "upper", "word", "xdigit",
        ];
        if !known.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(PatternError::ClassName(name.to_owned()));
        }
        // The colons and the closing bracket.
        self.input.nth(1 + name.chars().count() + 1);
        Ok(true)
    }
}
