//! From expressions to programs: attributes are found, types are checked, what is known is computed.

use mixer_attribute::{StringMap, Untracked, Value, ValueType, Vocabulary};

use crate::ast::{Binary, Expr, Kind, Literal};
use crate::error::{Error, Reason, shortened};
use crate::eval::Run;
use crate::function::{Function, Signature};
use crate::lookup::Nothing;
use crate::program::{Attribute, Comparison, Glob, Node, Test};
use crate::re2;

/// What can be compared for equality. 1.1 does not compare durations.
const EQUAL: &[ValueType] = &[
    ValueType::String,
    ValueType::Int64,
    ValueType::Double,
    ValueType::Bool,
    ValueType::Timestamp,
    ValueType::IpAddress,
    ValueType::EmailAddress,
    ValueType::Uri,
    ValueType::DnsName,
    ValueType::Duration,
];

/// What has an order. 1.1 has none of durations.
const ORDERED: &[ValueType] = &[
    ValueType::String,
    ValueType::Int64,
    ValueType::Double,
    ValueType::Timestamp,
    ValueType::Duration,
];

/// What can be added.
const ADDED: &[ValueType] = &[ValueType::String, ValueType::Int64, ValueType::Double];

/// Checks one expression.
pub(crate) struct Checker<'a> {
    text: &'a str,
    vocabulary: &'a Vocabulary,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(text: &'a str, vocabulary: &'a Vocabulary) -> Self {
        Self { text, vocabulary }
    }

    /// The program of an expression, and its type.
    pub(crate) fn check(&self, expression: &Expr) -> Result<(Node, ValueType), Error> {
        match expression.kind() {
            Kind::Literal(literal) => Ok(known(literal)),
            Kind::Attribute(name) => self.attribute(expression, name),
            Kind::Index(map, key) => self.index(expression, map, key),
            Kind::Unary(operator, _) => {
                let name = operator.name().to_owned();
                Err(self.error(expression, Reason::UnknownFunction(name)))
            }
            Kind::Binary(operator, operands) => self.binary(expression, *operator, operands),
            Kind::Call {
                function,
                target,
                arguments,
            } => self.call(expression, function, target.as_deref(), arguments),
        }
    }

    fn attribute(&self, expression: &Expr, name: &str) -> Result<(Node, ValueType), Error> {
        let Some(id) = self.vocabulary.id(name) else {
            return Err(self.error(expression, Reason::UnknownAttribute(shortened(name))));
        };
        let value_type = self.vocabulary.value_type(id);
        let attribute = Attribute {
            id,
            name: name.into(),
            value_type,
        };
        Ok((Node::Attribute(attribute), value_type))
    }

    fn index(&self, expression: &Expr, map: &Expr, key: &Expr) -> Result<(Node, ValueType), Error> {
        let map = self.operand(expression, 1, map, &[ValueType::StringMap])?.0;
        let key = self.operand(expression, 2, key, &[ValueType::String])?.0;
        let constant = is_constant(&map) && is_constant(&key);
        let node = Node::Key(Box::new(map), Box::new(key));
        Ok((folded(node, constant), ValueType::String))
    }

    fn binary(
        &self,
        expression: &Expr,
        operator: Binary,
        operands: &[Expr],
    ) -> Result<(Node, ValueType), Error> {
        let comparison = match operator {
            Binary::Or | Binary::And | Binary::Default | Binary::Add => None,
            Binary::Equal => Some(Comparison::Equal),
            Binary::NotEqual => Some(Comparison::NotEqual),
            Binary::Less => Some(Comparison::Less),
            Binary::LessOrEqual => Some(Comparison::LessOrEqual),
            Binary::Greater => Some(Comparison::Greater),
            Binary::GreaterOrEqual => Some(Comparison::GreaterOrEqual),
            _ => {
                let name = operator.name().to_owned();
                return Err(self.error(expression, Reason::UnknownFunction(name)));
            }
        };
        let allowed: &[ValueType] = match operator {
            Binary::Or | Binary::And => &[ValueType::Bool],
            Binary::Equal | Binary::NotEqual => EQUAL,
            Binary::Default => &[],
            Binary::Add => ADDED,
            _ => ORDERED,
        };
        let mut nodes = Vec::with_capacity(operands.len());
        let mut first_type = None;
        for (number, operand) in operands.iter().enumerate() {
            let (node, value_type) = match &first_type {
                None => self.operand(expression, 1, operand, allowed)?,
                // However many there are, each is the right one of its operator.
                Some(first) => self.operand(expression, number.min(1) + 1, operand, &[*first])?,
            };
            first_type = Some(value_type);
            nodes.push(node);
        }
        let constant = nodes.iter().all(is_constant);
        let operand_type = first_type.unwrap_or(ValueType::Bool);
        let (node, value_type) = match (operator, comparison) {
            (Binary::Or, _) => (Node::Or(nodes.into()), ValueType::Bool),
            (Binary::And, _) => (Node::And(nodes.into()), ValueType::Bool),
            (Binary::Default, _) => (Node::Default(nodes.into()), operand_type),
            (_, Some(comparison)) => match <Box<[Node; 2]>>::try_from(nodes) {
                Ok(nodes) => (Node::Compare(comparison, operand_type, nodes), ValueType::Bool),
                Err(_) => return Err(self.error(expression, Reason::UnexpectedExpression)),
            },
            _ => (Node::Add(operand_type, nodes.into()), operand_type),
        };
        Ok((folded(node, constant), value_type))
    }

    fn call(
        &self,
        expression: &Expr,
        name: &str,
        target: Option<&Expr>,
        arguments: &[Expr],
    ) -> Result<(Node, ValueType), Error> {
        let Some(signature) = Signature::find(name) else {
            return Err(self.error(expression, Reason::UnknownFunction(shortened(name))));
        };
        let mut nodes = Vec::with_capacity(arguments.len() + 1);
        match (target, signature.target) {
            (None, None) => {}
            (Some(_), None) => return Err(self.error(expression, Reason::NoMethod(signature.name))),
            (None, Some(_)) => return Err(self.error(expression, Reason::NoTarget(signature.name))),
            (Some(target), Some(expected)) => {
                let (node, got) = self.check(target)?;
                if got != expected {
                    let reason = Reason::Target {
                        call: printed(expression),
                        target: printed(target),
                        got,
                        expected,
                    };
                    return Err(self.error(target, reason));
                }
                nodes.push(node);
            }
        }
        if arguments.len() != signature.arguments.len() {
            let reason = Reason::Arity {
                call: printed(expression),
                got: arguments.len(),
                expected: signature.arguments.len(),
            };
            return Err(self.error(expression, reason));
        }
        let mut any = None;
        for (number, (argument, expected)) in arguments.iter().zip(signature.arguments).enumerate() {
            let allowed = expected.or(any);
            let (node, got) = self.operand(expression, number + 1, argument, allowed.as_slice())?;
            if expected.is_none() {
                any = Some(got);
            }
            nodes.push(node);
        }
        let constant = nodes.iter().all(is_constant);
        let value_type = signature.result.or(any).unwrap_or(ValueType::String);
        let Some(node) = node_of(signature.function, nodes) else {
            return Err(self.error(expression, Reason::UnexpectedExpression));
        };
        Ok((folded(node, constant), value_type))
    }

    /// Operand or argument `number` of `whole`, which is of one of the types `allowed`; of any, if there are none.
    fn operand(
        &self,
        whole: &Expr,
        number: usize,
        operand: &Expr,
        allowed: &[ValueType],
    ) -> Result<(Node, ValueType), Error> {
        let (node, got) = self.check(operand)?;
        if allowed.is_empty() || allowed.contains(&got) {
            return Ok((node, got));
        }
        let expected: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let reason = Reason::Argument {
            call: printed(whole),
            number,
            argument: printed(operand),
            got,
            expected: expected.join(", "),
        };
        Err(self.error(operand, reason))
    }

    fn error(&self, expression: &Expr, reason: Reason) -> Error {
        Error::new(self.text, expression.span(), reason)
    }
}

/// What a function does with its target and its arguments; `None` if those are not as many as it takes.
fn node_of(function: Function, nodes: Vec<Node>) -> Option<Node> {
    match function {
        Function::EmptyStringMap => Some(Node::Constant(Value::StringMap(StringMap::default()))),
        Function::Conditional => nodes.try_into().ok().map(Node::Conditional),
        Function::Convert(conversion) => {
            let [text] = <[Node; 1]>::try_from(nodes).ok()?;
            Some(Node::Convert(conversion, Box::new(text)))
        }
        Function::Test(test) => Some(test_of(test, nodes.try_into().ok()?)),
    }
}

/// A question about two strings. A pattern that is known is compiled once.
fn test_of(test: Test, pair: [Node; 2]) -> Node {
    match (test, pair) {
        (Test::Glob, [text, Node::Text(pattern)]) => Node::Glob(Glob::new(&pattern), Box::new(text)),
        (Test::Regex, [Node::Text(pattern), text]) => match re2::compile(&pattern) {
            Ok(regex) => Node::Regex(regex, Box::new(text)),
            // Is an error whenever it is evaluated, as a pattern is that is not known before.
            Err(_) => Node::Test(test, Box::new([Node::Text(pattern), text])),
        },
        (test, pair) => Node::Test(test, Box::new(pair)),
    }
}

fn known(literal: &Literal) -> (Node, ValueType) {
    match literal {
        Literal::String(text) => (Node::Text(text.clone()), ValueType::String),
        Literal::Duration(_, value) => (Node::Constant(Value::Duration(*value)), ValueType::Duration),
        Literal::Int64(value) => (Node::Constant(Value::Int64(*value)), ValueType::Int64),
        Literal::Double(value) => (Node::Constant(Value::Double(*value)), ValueType::Double),
        Literal::Bool(value) => (Node::Constant(Value::Bool(*value)), ValueType::Bool),
    }
}

fn is_constant(node: &Node) -> bool {
    matches!(node, Node::Text(_) | Node::Constant(_))
}

/// The value of a node whose operands are constant. One that has none keeps its error for whoever evaluates it.
fn folded(node: Node, constant: bool) -> Node {
    if !constant {
        return node;
    }
    let value = Run::new(&Nothing, &mut Untracked)
        .value(&node)
        .map(|value| Node::known(value.into_owned()));
    match value {
        Ok(known) => known,
        Err(_) => node,
    }
}

/// An expression for a message.
fn printed(expression: &Expr) -> String {
    shortened(&expression.to_string())
}
