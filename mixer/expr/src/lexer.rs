//! From letters to tokens: Go's, as far as expressions have them (`spec 02` §4.1).

use std::ops::Range;

use crate::error::{Error, Reason, shortened};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token<'t> {
    /// A name; it may begin with `$`, as that of an adapter's output does.
    Name(&'t str),
    /// A whole number.
    Int(&'t str),
    /// A number with a fraction or an exponent.
    Float(&'t str),
    /// A string or a letter, without quotes and escapes.
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// There is no more.
    End,
}

/// Those of Go that may stand in an expression; longer ones first where one begins with another.
const SYMBOLS: &[&str] = &[
    "...", "&^", "&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "<-", "+", "-", "*", "/", "%", "&", "|",
    "^", "<", ">", "!", "(", ")", "[", "]", "{", "}", ",", ".", ":", ";", "=",
];

/// Reads tokens one after another.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token, and where it stands.
    pub(crate) fn token(&mut self) -> Result<(Token<'t>, Range<usize>), Error> {
        self.skip_blank()?;
        let start = self.at;
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, start..start));
        };
        let token = if is_name_start(first) {
            let end = rest[first.len_utf8()..].find(|letter| !is_name_part(letter));
            let end = end.map_or(rest.len(), |end| end + first.len_utf8());
            self.at += end;
            Token::Name(&rest[..end])
        } else if first.is_ascii_digit()
            || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())
        {
            self.number(rest)?
        } else if first == '"' || first == '\'' {
            Token::Text(self.quoted(first)?)
        } else if first == '`' {
            let Some(end) = rest[1..].find('`') else {
                return Err(self.literal(start, "the string has no closing quote"));
            };
            self.at += end + 2;
            Token::Text(rest[1..=end].replace('\r', ""))
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            self.at += symbol.len();
            Token::Symbol(symbol)
        } else {
            self.at += first.len_utf8();
            return Err(self.error(
                start,
                Reason::Syntax {
                    found: format!("{first:?}"),
                    expected: "an expression",
                },
            ));
        };
        Ok((token, start..self.at))
    }

    /// Skips blanks, ends of lines and comments.
    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let rest = &rest[blank..];
            self.at += blank;
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    return Err(self.literal(self.at, "the comment has no end"));
                };
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn number(&mut self, rest: &'t str) -> Result<Token<'t>, Error> {
        let start = self.at;
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            from + bytes[from..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut end = digits(0);
        let mut float = false;
        if bytes.get(end) == Some(&b'.') {
            float = true;
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + sign);
            if exponent > end + 1 + sign {
                float = true;
                end = exponent;
            }
        }
        // What follows belongs to it: `0x1f`, `1i` and `10s` are no numbers of ours.
        let tail = rest[end..]
            .find(|letter| !is_name_part(letter))
            .unwrap_or(rest.len() - end);
        self.at += end + tail;
        if tail > 0 {
            let number = shortened(&rest[..end + tail]);
            return Err(self.literal(start, &format!("{number} is not a decimal number")));
        }
        let number = &rest[..end];
        Ok(if float {
            Token::Float(number)
        } else {
            Token::Int(number)
        })
    }

    /// A string or a letter with its escapes resolved.
    fn quoted(&mut self, quote: char) -> Result<String, Error> {
        let start = self.at;
        let mut bytes = Vec::new();
        let mut letters = 0;
        self.at += 1;
        loop {
            let Some(letter) = self.next_char().filter(|letter| *letter != '\n') else {
                return Err(self.literal(start, "the string has no closing quote"));
            };
            if letter == quote {
                break;
            }
            letters += 1;
            if letter == '\\' {
                self.escape(quote, &mut bytes)?;
            } else {
                bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if quote == '\'' && letters != 1 {
            return Err(self.literal(start, "single quotes hold exactly one letter"));
        }
        String::from_utf8(bytes).map_err(|_| self.literal(start, "the string is not UTF-8"))
    }

    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let start = self.at - 1;
        let unknown = "unknown escape sequence";
        let Some(letter) = self.next_char() else {
            return Err(self.literal(start, unknown));
        };
        let code = match letter {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            '\\' => 0x5c,
            _ if letter == quote => quote as u32,
            '0'..='7' => {
                self.at -= 1;
                return self.byte(start, 3, 8, bytes);
            }
            'x' => return self.byte(start, 2, 16, bytes),
            'u' => self.code(start, 4, 16)?,
            'U' => self.code(start, 8, 16)?,
            _ => return Err(self.literal(start, unknown)),
        };
        let Some(letter) = char::from_u32(code) else {
            return Err(self.literal(start, "the escape sequence is not a Unicode letter"));
        };
        bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn byte(&mut self, start: usize, digits: usize, radix: u32, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let code = self.code(start, digits, radix)?;
        let byte =
            u8::try_from(code).map_err(|_| self.literal(start, "the escape sequence is not a byte"))?;
        bytes.push(byte);
        Ok(())
    }

    fn code(&mut self, start: usize, digits: usize, radix: u32) -> Result<u32, Error> {
        let text = self.text.get(self.at..self.at + digits).unwrap_or_default();
        let code = text
            .chars()
            .all(|letter| letter.is_digit(radix))
            .then(|| u32::from_str_radix(text, radix));
        let Some(Ok(code)) = code else {
            return Err(self.literal(start, "unknown escape sequence"));
        };
        self.at += digits;
        Ok(code)
    }

    fn next_char(&mut self) -> Option<char> {
        let letter = self.text[self.at..].chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn literal(&self, start: usize, reason: &str) -> Error {
        self.error(start, Reason::Literal(reason.to_owned()))
    }

    fn error(&self, start: usize, reason: Reason) -> Error {
        Error::new(self.text, start..self.at.max(start), reason)
    }
}

fn is_name_start(letter: char) -> bool {
    letter.is_alphabetic() || letter == '_' || letter == '$'
}

fn is_name_part(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}
