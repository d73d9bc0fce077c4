//! Expressions as they were written.

use std::fmt;
use std::ops::Range;

use prost_types::Duration;

/// An expression. Two are equal that say the same, wherever they stand.
#[derive(Clone, Debug)]
pub struct Expr {
    pub(crate) kind: Kind,
    pub(crate) span: Range<usize>,
    /// Levels below and with this one.
    pub(crate) depth: u16,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A value.
    Literal(Literal),
    /// An attribute: the whole dotted path.
    Attribute(Box<str>),
    /// A function, of a target or of nothing.
    Call {
        /// Name of the function.
        function: Box<str>,
        /// What stands before its name.
        target: Option<Box<Expr>>,
        /// What stands in its parentheses.
        arguments: Vec<Expr>,
    },
    /// What an operator joins: two operands, or more where the operator is one of `||`, `&&`, `|` and `+`.
    Binary(Binary, Vec<Expr>),
    /// An operator before its only operand. None of them has a meaning.
    Unary(Unary, Box<Expr>),
    /// A value of a map.
    Index(Box<Expr>, Box<Expr>),
}

/// A value that stands in an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Text that is no duration.
    String(Box<str>),
    /// Text that is a duration.
    Duration(Box<str>, Duration),
    /// A whole number.
    Int64(i64),
    /// A number.
    Double(f64),
    /// True or false.
    Bool(bool),
}

macro_rules! operators {
    ($(#[$doc:meta])* $type:ident: $($variant:ident $symbol:literal $name:literal $precedence:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "their symbols say it")]
        pub enum $type { $($variant),* }

        impl $type {
            /// The operator that is written `symbol`.
            pub(crate) fn find(symbol: &str) -> Option<Self> {
                match symbol { $($symbol => Some(Self::$variant),)* _ => None }
            }

            /// How it is written.
            #[must_use]
            pub fn symbol(self) -> &'static str {
                match self { $(Self::$variant => $symbol),* }
            }

            /// How errors call it (`spec 02` §4.2).
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// How tightly it binds.
            pub(crate) fn precedence(self) -> u8 {
                match self { $(Self::$variant => $precedence),* }
            }
        }
    };
}

operators! {
    /// Operators between two operands: Go's, most of which have no meaning here.
    Binary:
    Or "||" "LOR" 1;
    And "&&" "LAND" 2;
    Equal "==" "EQ" 3;
    NotEqual "!=" "NEQ" 3;
    Less "<" "LT" 3;
    LessOrEqual "<=" "LE" 3;
    Greater ">" "GT" 3;
    GreaterOrEqual ">=" "GE" 3;
    Default "|" "OR" 4;
    Add "+" "ADD" 4;
    Subtract "-" "SUB" 4;
    Xor "^" "XOR" 4;
    Multiply "*" "MUL" 5;
    Divide "/" "QUO" 5;
    Remainder "%" "REM" 5;
    ShiftLeft "<<" "SHL" 5;
    ShiftRight ">>" "SHR" 5;
    BitAnd "&" "AND" 5;
    BitClear "&^" "AND_NOT" 5;
}

operators! {
    /// Operators before an operand.
    Unary:
    Not "!" "NOT" 6;
    Minus "-" "SUB" 6;
    Plus "+" "ADD" 6;
    Complement "^" "XOR" 6;
    Address "&" "AND" 6;
    Receive "<-" "ARROW" 6;
}

// === impl Expr ===

impl Expr {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Where it stands in the text, in bytes.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn precedence(&self) -> u8 {
        match &self.kind {
            Kind::Binary(operator, _) => operator.precedence(),
            Kind::Unary(operator, _) => operator.precedence(),
            _ => 7,
        }
    }

    /// Whether a dot behind it would belong to it: `1.` is a number, `true.x` the name of an attribute.
    fn takes_a_dot(&self) -> bool {
        matches!(
            self.kind,
            Kind::Literal(Literal::Int64(_) | Literal::Double(_) | Literal::Bool(_))
        )
    }

    /// Writes it with parentheses if it binds less tightly than `precedence`.
    fn write(&self, f: &mut fmt::Formatter<'_>, precedence: u8) -> fmt::Result {
        if self.precedence() < precedence {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Literal(literal) => write!(f, "{literal}"),
            Kind::Attribute(name) => f.write_str(name),
            Kind::Call {
                function,
                target,
                arguments,
            } => {
                match target.as_deref() {
                    Some(target) if target.takes_a_dot() => write!(f, "({target}).")?,
                    Some(target) => {
                        target.write(f, 7)?;
                        f.write_str(".")?;
                    }
                    None => {}
                }
                write!(f, "{function}(")?;
                for (number, argument) in arguments.iter().enumerate() {
                    let separator = if number == 0 { "" } else { ", " };
                    write!(f, "{separator}{argument}")?;
                }
                f.write_str(")")
            }
            Kind::Binary(operator, operands) => {
                for (number, operand) in operands.iter().enumerate() {
                    if number == 0 {
                        operand.write(f, operator.precedence())?;
                    } else {
                        write!(f, " {} ", operator.symbol())?;
                        operand.write(f, operator.precedence() + 1)?;
                    }
                }
                Ok(())
            }
            Kind::Unary(operator, operand) => {
                f.write_str(operator.symbol())?;
                // Two signs in a row would be another operator.
                operand.write(f, 7)
            }
            Kind::Index(map, key) => {
                map.write(f, 7)?;
                write!(f, "[{key}]")
            }
        }
    }
}

// === impl Literal ===

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) | Self::Duration(text, _) => quote(f, text),
            Self::Int64(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// Writes a string as Go does.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    use fmt::Write;
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ if letter.is_control() => write!(f, "\\u{:04x}", letter as u32)?,
            _ => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}
