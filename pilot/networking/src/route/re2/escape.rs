//! What follows a backslash.

use super::{Parser, PatternError, Size};

/// RE2 knows general categories by their short names only.
const CATEGORIES: &str = "Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm \
                          So Z Zl Zp Zs";
/// Scripts in living use; RE2 knows some more.
const SCRIPTS: &str = "Arabic Armenian Balinese Bengali Bopomofo Braille Cherokee Common Coptic Cyrillic Devanagari \
                       Ethiopic Georgian Gothic Greek Gujarati Gurmukhi Han Hangul Hebrew Hiragana Inherited Kannada \
                       Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Ogham Oriya Runic Sinhala Syriac Tamil \
                       Telugu Thaana Thai Tibetan Tifinagh Yi";

impl Parser<'_> {
    /// What follows `\` outside of a class.
    pub(super) fn escape(&mut self) -> Result<Size, PatternError> {
        match self.input.peek() {
            Some('A' | 'z' | 'b' | 'B' | 'C') => {
                self.input.next();
                Ok(Size::of(2))
            }
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.input.next();
                Ok(Size::of(24))
            }
            Some('p' | 'P') => {
                self.input.next();
                self.unicode_group()
            }
            Some('Q') => {
                self.input.next();
                let rest: String = self.input.clone().collect();
                let (literal, skipped) = match rest.find("\\E") {
                    Some(end) => (&rest[..end], 2),
                    None => (rest.as_str(), 0),
                };
                let count = literal.chars().count() + skipped;
                if count > 0 {
                    self.input.nth(count - 1);
                }
                Ok(Size::of(2 * literal.len() as u64))
            }
            _ => self.escaped_character().map(|_| Size::of(8)),
        }
    }

    /// What follows `\` when it stands for one character.
    pub(super) fn escaped_character(&mut self) -> Result<u32, PatternError> {
        let bad = |text: String| PatternError::Escape(format!("\\{text}"));
        let next = self.input.next().ok_or_else(|| bad(String::new()))?;
        let value = match next {
            '0'..='7' => {
                let mut value = u32::from(next) - u32::from('0');
                let mut digits = 1;
                while digits < 3
                    && let Some(digit) = self.input.peek().and_then(|c| c.to_digit(8))
                {
                    value = value * 8 + digit;
                    digits += 1;
                    self.input.next();
                }
                // A single digit would be a back reference.
                if digits == 1 && next != '0' {
                    return Err(bad(next.to_string()));
                }
                value
            }
            'x' => self.hexadecimal().ok_or_else(|| bad("x".to_owned()))?,
            'a' => 0x07,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            punctuation if punctuation.is_ascii() && !punctuation.is_ascii_alphanumeric() => {
                punctuation.into()
            }
            other => return Err(bad(other.to_string())),
        };
        Ok(value)
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        if self.input.next_if_eq(&'{').is_none() {
            let high = self.input.next()?.to_digit(16)?;
            return Some(high * 16 + self.input.next()?.to_digit(16)?);
        }
        let mut value = self.input.next()?.to_digit(16)?;
        loop {
            match self.input.next()? {
                '}' => return Some(value),
                digit => value = value * 16 + digit.to_digit(16)?,
            }
            // Envoy's newer releases compile patterns as bytes.
            if value > 0xff {
                return None;
            }
        }
    }

    /// What follows `\p` or `\P`.
    pub(super) fn unicode_group(&mut self) -> Result<Size, PatternError> {
        let unknown = |name: &str| PatternError::UnicodeGroup(name.to_owned());
        let next = self.input.next().ok_or_else(|| unknown(""))?;
        let name = if next == '{' {
            let mut name = String::new();
            loop {
                match self.input.next() {
                    Some('}') => break,
                    Some(letter) => name.push(letter),
                    None => return Err(unknown(&name)),
                }
            }
            name
        } else {
            next.to_string()
        };
        let bare = name.strip_prefix('^').unwrap_or(&name);
        let is_known = CATEGORIES
            .split_ascii_whitespace()
            .chain(SCRIPTS.split_ascii_whitespace());
        if !is_known.into_iter().any(|known| known == bare) {
            return Err(unknown(&name));
        }
        Ok(Size::of(1500))
    }
}
