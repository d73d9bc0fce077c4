//! From tokens to an expression: Go's grammar, restricted (`spec 02` §4.1).

use std::ops::Range;

use crate::ast::{Binary, Expr, Kind, Literal, Unary};
use crate::convert;
use crate::error::{Error, Reason, shortened};
use crate::lexer::{Lexer, Token};

/// How deeply expressions may be nested. Operands that one operator joins (`a || b || ...`) are all on one level.
pub(crate) const MAX_DEPTH: u16 = 64;

/// Parses an expression, without looking at the types in it.
///
/// # Errors
///
/// If it does not follow the grammar.
pub fn parse(text: &str) -> Result<Expr, Error> {
    let mut parser = Parser::new(text)?;
    if parser.token == Token::End {
        return Err(Error::new(text, 0..0, Reason::Empty));
    }
    let expression = parser.binary(1)?;
    if parser.token == Token::End {
        Ok(expression)
    } else {
        Err(parser.unexpected("an operator or the end"))
    }
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    token: Token<'t>,
    span: Range<usize>,
    /// Calls that are under way.
    nesting: u16,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self, Error> {
        let mut lexer = Lexer::new(text);
        let (token, span) = lexer.token()?;
        Ok(Self {
            text,
            lexer,
            token,
            span,
            nesting: 0,
        })
    }

    fn advance(&mut self) -> Result<Token<'t>, Error> {
        let (token, span) = self.lexer.token()?;
        self.span = span;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn at(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    /// Operands joined by operators that bind at least as tightly as `lowest`.
    fn binary(&mut self, lowest: u8) -> Result<Expr, Error> {
        self.descend()?;
        let mut left = self.unary()?;
        while let Token::Symbol(symbol) = self.token
            && let Some(operator) = Binary::find(symbol)
            && operator.precedence() >= lowest
        {
            self.advance()?;
            let right = self.binary(operator.precedence() + 1)?;
            left = self.join(operator, left, right)?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn join(&self, operator: Binary, left: Expr, right: Expr) -> Result<Expr, Error> {
        let span = left.span.start..right.span.end;
        let chains = matches!(operator, Binary::Or | Binary::And | Binary::Default | Binary::Add);
        match left.kind {
            Kind::Binary(before, mut operands) if chains && before == operator => {
                let depth = left.depth.max(right.depth + 1);
                operands.push(right);
                self.made(Kind::Binary(operator, operands), span, depth - 1)
            }
            _ => {
                let depth = left.depth.max(right.depth);
                self.made(Kind::Binary(operator, vec![left, right]), span, depth)
            }
        }
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let start = self.span.start;
        let Token::Symbol(symbol) = self.token else {
            return self.postfix();
        };
        if symbol == "*" {
            return Err(self.error(Reason::UnexpectedExpression));
        }
        let Some(operator) = Unary::find(symbol) else {
            return self.postfix();
        };
        self.descend()?;
        self.advance()?;
        let operand = self.unary()?;
        self.nesting -= 1;
        let (span, depth) = (start..operand.span.end, operand.depth);
        self.made(Kind::Unary(operator, Box::new(operand)), span, depth)
    }

    /// An operand, with what is called on it and looked up in it.
    fn postfix(&mut self) -> Result<Expr, Error> {
        let start = self.span.start;
        let mut expression = self.operand()?;
        loop {
            if self.at(".") {
                let (name, end) = self.name_after_dot()?;
                if !self.at("(") {
                    return Err(Error::new(self.text, start..end, Reason::UnexpectedExpression));
                }
                expression = self.call(name, Some(expression), start)?;
            } else if self.at("[") {
                self.advance()?;
                if self.at(":") {
                    return Err(self.error(Reason::UnexpectedExpression));
                }
                let key = self.binary(1)?;
                if self.at(":") {
                    return Err(self.error(Reason::UnexpectedExpression));
                }
                let end = self.close("]")?;
                let depth = expression.depth.max(key.depth);
                let kind = Kind::Index(Box::new(expression), Box::new(key));
                expression = self.made(kind, start..end, depth)?;
            } else if self.at("(") || self.at("{") {
                return Err(self.error(Reason::UnexpectedExpression));
            } else {
                return Ok(expression);
            }
        }
    }

    /// The attribute that begins with a name, up to what is called on it. The path is put together once: it may be long.
    fn attribute(&mut self, first: &str, mut span: Range<usize>) -> Result<Expr, Error> {
        let mut path = first.to_owned();
        while self.at(".") {
            let (name, end) = self.name_after_dot()?;
            if self.at("(") {
                let start = span.start;
                let target = self.made(Kind::Attribute(path.into()), span, 0)?;
                return self.call(name, Some(target), start);
            }
            path.push('.');
            path.push_str(name);
            span.end = end;
        }
        self.made(Kind::Attribute(path.into()), span, 0)
    }

    /// Takes a dot and the name behind it; gives the name and its end.
    fn name_after_dot(&mut self) -> Result<(&'t str, usize), Error> {
        self.advance()?;
        let Token::Name(name) = self.token else {
            return Err(if self.at("(") {
                self.error(Reason::UnexpectedExpression)
            } else {
                self.unexpected("a name")
            });
        };
        let end = self.span.end;
        self.advance()?;
        Ok((name, end))
    }

    fn operand(&mut self) -> Result<Expr, Error> {
        let span = self.span.clone();
        let literal = match self.advance()? {
            Token::Name(name) if self.at("(") => return self.call(name, None, span.start),
            Token::Name(name) => match name.to_ascii_lowercase().as_str() {
                "true" if !self.at(".") => Literal::Bool(true),
                "false" if !self.at(".") => Literal::Bool(false),
                _ => return self.attribute(name, span),
            },
            Token::Int(digits) => match digits.parse() {
                Ok(value) => Literal::Int64(value),
                Err(_) => return Err(self.no_number(span, digits, "INT64")),
            },
            Token::Float(digits) => match digits.parse() {
                Ok(value) if f64::is_finite(value) => Literal::Double(value),
                _ => return Err(self.no_number(span, digits, "DOUBLE")),
            },
            Token::Text(text) => match convert::duration(&text) {
                Some(duration) => Literal::Duration(text.into(), duration),
                None => Literal::String(text.into()),
            },
            Token::Symbol("(") => {
                let inner = self.binary(1)?;
                let end = self.close(")")?;
                // The parentheses belong to it where errors point at it.
                return self.made(inner.kind, span.start..end, inner.depth - 1);
            }
            Token::Symbol("[" | "{") => {
                return Err(Error::new(self.text, span, Reason::UnexpectedExpression));
            }
            found => {
                let reason = Reason::Syntax {
                    found: describe(&found),
                    expected: "an operand",
                };
                return Err(Error::new(self.text, span, reason));
            }
        };
        self.made(Kind::Literal(literal), span, 0)
    }

    /// A call whose opening parenthesis comes next.
    fn call(&mut self, function: &str, target: Option<Expr>, start: usize) -> Result<Expr, Error> {
        self.advance()?;
        let mut arguments = Vec::new();
        while !self.at(")") {
            arguments.push(self.binary(1)?);
            if self.at(",") {
                self.advance()?;
            } else if !self.at(")") {
                return Err(self.unexpected("`,` or `)`"));
            }
        }
        let end = self.close(")")?;
        let depth = arguments.iter().chain(&target).map(|part| part.depth).max();
        let kind = Kind::Call {
            function: function.into(),
            target: target.map(Box::new),
            arguments,
        };
        self.made(kind, start..end, depth.unwrap_or_default())
    }

    /// Takes a closing bracket; gives its end.
    fn close(&mut self, symbol: &'static str) -> Result<usize, Error> {
        let end = self.span.end;
        if !self.at(symbol) {
            return Err(self.unexpected(if symbol == ")" { "`)`" } else { "`]`" }));
        }
        self.advance()?;
        Ok(end)
    }

    /// An expression one level above `below`.
    fn made(&self, kind: Kind, span: Range<usize>, below: u16) -> Result<Expr, Error> {
        if below >= MAX_DEPTH {
            return Err(Error::new(self.text, span, Reason::TooDeep(MAX_DEPTH)));
        }
        Ok(Expr {
            kind,
            span,
            depth: below + 1,
        })
    }

    fn descend(&mut self) -> Result<(), Error> {
        self.nesting += 1;
        // An operand of `a == (b)` is two calls deep, one for the operator and one for the parentheses.
        if self.nesting > 2 * MAX_DEPTH {
            return Err(self.error(Reason::TooDeep(MAX_DEPTH)));
        }
        Ok(())
    }

    fn unexpected(&self, expected: &'static str) -> Error {
        self.error(Reason::Syntax {
            found: describe(&self.token),
            expected,
        })
    }

    fn no_number(&self, span: Range<usize>, digits: &str, wanted: &str) -> Error {
        Error::new(
            self.text,
            span,
            Reason::Literal(format!("{} is no {wanted}", shortened(digits))),
        )
    }

    fn error(&self, reason: Reason) -> Error {
        Error::new(self.text, self.span.clone(), reason)
    }
}

fn describe(token: &Token<'_>) -> String {
    match token {
        Token::Name(text) | Token::Int(text) | Token::Float(text) => format!("`{}`", shortened(text)),
        Token::Text(text) => format!("{:?}", shortened(text)),
        Token::Symbol(symbol) => format!("`{symbol}`"),
        Token::End => "end".to_owned(),
    }
}
