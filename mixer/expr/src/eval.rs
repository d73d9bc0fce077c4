//! Evaluation of programs.
//!
//! Where an attribute may be absent, on the left of `|`, nodes are asked with [`Run::present`]; everywhere else they must
//! have a value.

use std::borrow::Cow;
use std::cmp::Ordering;

use mixer_attribute::{AttributeId, Text, Track, Value, ValueType};
use prost_types::Duration;

use crate::convert;
use crate::error::EvalError;
use crate::lookup::Lookup;
use crate::name;
use crate::program::{Attribute, Comparison, Conversion, Glob, Node, Test};
use crate::re2;
use crate::uri;

/// One evaluation.
pub(crate) struct Run<'b, 't, L, T> {
    bag: &'b L,
    track: &'t mut T,
}

type Found<'b, 'r> = Cow<'b, Value<'r>>;

impl<'b, 't, L, T: Track> Run<'b, 't, L, T> {
    pub(crate) fn new(bag: &'b L, track: &'t mut T) -> Self {
        Self { bag, track }
    }

    /// The value of a node.
    pub(crate) fn value<'r: 'b>(&mut self, node: &'r Node) -> Result<Found<'b, 'r>, EvalError>
    where
        L: Lookup<'r>,
    {
        Ok(Cow::Owned(match node {
            Node::Text(text) => Value::from(&**text),
            Node::Constant(value) => value.clone(),
            Node::Attribute(attribute) => return self.whole(attribute)?.ok_or_else(|| absent(attribute)),
            Node::Key(map, key) => {
                let (map, id) = self.map(map)?;
                let key = self.value(key)?;
                // A key that is absent reads as nothing (`spec 02` §4.3).
                Value::String(self.key(&map, id, &key).unwrap_or_default())
            }
            Node::Default(nodes) => {
                let Some((last, nodes)) = nodes.split_last() else {
                    return Err(unexpected(ValueType::String));
                };
                for node in nodes {
                    if let Some(value) = self.present(node)? {
                        return Ok(value);
                    }
                }
                return self.value(last);
            }
            Node::And(_)
            | Node::Or(_)
            | Node::Compare(..)
            | Node::Glob(..)
            | Node::Regex(..)
            | Node::Test(..) => Value::Bool(self.boolean(node)?),
            Node::Add(value_type, nodes) => self.sum(*value_type, nodes)?,
            Node::Conditional(nodes) => {
                let [condition, yes, no] = &**nodes;
                let chosen = if self.boolean(condition)? { yes } else { no };
                return self.value(chosen);
            }
            Node::Convert(conversion, node) => {
                let value = self.value(node)?;
                return converted(*conversion, value);
            }
        }))
    }

    /// The value of a node on the left of `|`; `None` if what it reads is absent.
    fn present<'r: 'b>(&mut self, node: &'r Node) -> Result<Option<Found<'b, 'r>>, EvalError>
    where
        L: Lookup<'r>,
    {
        match node {
            Node::Attribute(attribute) => self.whole(attribute),
            Node::Key(map, key) => {
                let Some((map, id)) = self.present_map(map)? else {
                    return Ok(None);
                };
                let Some(key) = self.present(key)? else {
                    return Ok(None);
                };
                let found = self.key(&map, id, &key);
                Ok(found.map(|text| Cow::Owned(Value::String(text))))
            }
            Node::Default(nodes) => {
                for node in nodes {
                    if let Some(value) = self.present(node)? {
                        return Ok(Some(value));
                    }
                }
                Ok(None)
            }
            _ => self.value(node).map(Some),
        }
    }

    /// Whether a node is true.
    pub(crate) fn boolean<'r: 'b>(&mut self, node: &'r Node) -> Result<bool, EvalError>
    where
        L: Lookup<'r>,
    {
        match node {
            Node::And(nodes) => {
                for node in nodes {
                    if !self.boolean(node)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Node::Or(nodes) => {
                for node in nodes {
                    if self.boolean(node)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Node::Compare(comparison, value_type, nodes) => {
                let left = self.value(&nodes[0])?;
                let right = self.value(&nodes[1])?;
                compared(*comparison, *value_type, &left, &right)
            }
            Node::Glob(glob, node) => Ok(glob.matches(text(self.value(node)?.as_ref()))),
            Node::Regex(regex, node) => Ok(regex.is_match(text(self.value(node)?.as_ref()))),
            Node::Test(test, nodes) => {
                let (first, second) = (self.value(&nodes[0])?, self.value(&nodes[1])?);
                let (first, second) = (text(&first), text(&second));
                Ok(match test {
                    Test::Glob => Glob::new(second).matches(first),
                    Test::Regex => re2::compile(first)?.is_match(second),
                    Test::StartsWith => first.starts_with(second),
                    Test::EndsWith => first.ends_with(second),
                })
            }
            _ => match &*self.value(node)? {
                Value::Bool(value) => Ok(*value),
                _ => Ok(false),
            },
        }
    }

    /// Reads an attribute of which all counts: a map, too, is told as a whole.
    fn whole<'r: 'b>(&mut self, attribute: &Attribute) -> Result<Option<Found<'b, 'r>>, EvalError>
    where
        L: Lookup<'r>,
    {
        let found = self.attribute(attribute)?;
        if found.is_some() && attribute.value_type == ValueType::StringMap {
            self.track.attribute(attribute.id, true);
        }
        Ok(found)
    }

    /// Reads an attribute. That a map is there is not told: what counts of it may be a key.
    fn attribute<'r: 'b>(&mut self, attribute: &Attribute) -> Result<Option<Found<'b, 'r>>, EvalError>
    where
        L: Lookup<'r>,
    {
        let found = self.bag.get(attribute.id);
        if found.is_none() || attribute.value_type != ValueType::StringMap {
            self.track.attribute(attribute.id, found.is_some());
        }
        match (found, attribute.value_type) {
            (None, _) => Ok(None),
            (Some(value), value_type) if value_type.holds(value) => Ok(Some(Cow::Borrowed(value))),
            // These two share a slot in 1.1 (`spec 02` §4.3).
            (Some(Value::Int64(nanos)), ValueType::Duration) => Ok(Some(Cow::Owned(Value::Duration(
                convert::nanos_to_duration(*nanos),
            )))),
            (Some(Value::Duration(value)), ValueType::Int64) => {
                Ok(Some(Cow::Owned(Value::Int64(mixer_attribute::nanos(value)))))
            }
            (Some(_), expected) => Err(EvalError::Type {
                name: attribute.name.clone(),
                expected,
            }),
        }
    }

    /// A map that must be there, and the attribute that it is the value of.
    fn map<'r: 'b>(&mut self, node: &'r Node) -> Result<(Found<'b, 'r>, Option<AttributeId>), EvalError>
    where
        L: Lookup<'r>,
    {
        match node {
            Node::Attribute(attribute) => {
                let found = self.attribute(attribute)?.ok_or_else(|| absent(attribute))?;
                Ok((found, Some(attribute.id)))
            }
            Node::Default(nodes) => {
                let Some((last, nodes)) = nodes.split_last() else {
                    return Err(unexpected(ValueType::StringMap));
                };
                for node in nodes {
                    if let Some(found) = self.present_map(node)? {
                        return Ok(found);
                    }
                }
                self.map(last)
            }
            Node::Conditional(nodes) => {
                let [condition, yes, no] = &**nodes;
                let chosen = if self.boolean(condition)? { yes } else { no };
                self.map(chosen)
            }
            _ => Ok((self.value(node)?, None)),
        }
    }

    /// As [`Self::map`], on the left of `|`.
    #[allow(clippy::type_complexity, reason = "a value and where it comes from")]
    fn present_map<'r: 'b>(
        &mut self,
        node: &'r Node,
    ) -> Result<Option<(Found<'b, 'r>, Option<AttributeId>)>, EvalError>
    where
        L: Lookup<'r>,
    {
        match node {
            Node::Attribute(attribute) => {
                let found = self.attribute(attribute)?;
                Ok(found.map(|value| (value, Some(attribute.id))))
            }
            Node::Default(nodes) => {
                for node in nodes {
                    if let Some(found) = self.present_map(node)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
            _ => self.map(node).map(Some),
        }
    }

    /// Looks a key up.
    fn key<'r>(&mut self, map: &Value<'r>, id: Option<AttributeId>, key: &Value<'_>) -> Option<Text<'r>> {
        let Value::StringMap(map) = map else {
            return None;
        };
        let key = text(key);
        let found = map.get(key);
        if let Some(id) = id {
            self.track.key(id, key, found.is_some());
        }
        found
    }

    fn sum<'r: 'b>(&mut self, value_type: ValueType, nodes: &'r [Node]) -> Result<Value<'r>, EvalError>
    where
        L: Lookup<'r>,
    {
        Ok(match value_type {
            ValueType::Int64 => {
                let mut sum = 0_i64;
                for node in nodes {
                    if let Value::Int64(value) = *self.value(node)? {
                        sum = sum.wrapping_add(value);
                    }
                }
                Value::Int64(sum)
            }
            ValueType::Double => {
                let mut sum = None;
                for node in nodes {
                    if let Value::Double(value) = *self.value(node)? {
                        sum = Some(sum.map_or(value, |sum: f64| sum + value));
                    }
                }
                Value::Double(sum.unwrap_or_default())
            }
            _ => {
                let mut joined = String::new();
                for node in nodes {
                    joined.push_str(text(self.value(node)?.as_ref()));
                }
                Value::String(joined.into())
            }
        })
    }
}

/// What a function of a string makes of it.
fn converted<'b, 'r>(conversion: Conversion, value: Found<'b, 'r>) -> Result<Found<'b, 'r>, EvalError> {
    let text = text(&value);
    let made = match conversion {
        Conversion::Ip => convert::ip(text).map(Value::IpAddress).ok_or_else(|| {
            EvalError::conversion(text, ValueType::IpAddress, "it is no IPv4 or IPv6 address")
        })?,
        Conversion::Timestamp => convert::timestamp(text).map(Value::Timestamp).ok_or_else(|| {
            let reason = "expected format: '2006-01-02T15:04:05Z07:00'";
            EvalError::conversion(text, ValueType::Timestamp, reason)
        })?,
        Conversion::Size => Value::Int64(i64::try_from(text.len()).unwrap_or(i64::MAX)),
        Conversion::ToLower => {
            let lower = text.chars().all(|letter| letter.to_lowercase().eq([letter]));
            if lower {
                return Ok(value);
            }
            Value::String(text.to_lowercase().into())
        }
        Conversion::DnsName => {
            name::check_dns(text)?;
            return Ok(value);
        }
        Conversion::Email => {
            name::check_email(text)?;
            return Ok(value);
        }
        Conversion::Uri => {
            uri::check(text)?;
            return Ok(value);
        }
    };
    Ok(Cow::Owned(made))
}

/// Compares two values of one type.
fn compared(
    comparison: Comparison,
    value_type: ValueType,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<bool, EvalError> {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => {
            let equal = match value_type {
                ValueType::DnsName => Some(name::same_dns(left, right)?),
                ValueType::EmailAddress => Some(name::same_email(left, right)?),
                ValueType::Uri => Some(uri::same(left, right)?),
                _ => None,
            };
            if let Some(equal) = equal {
                return Ok(equal == (comparison == Comparison::Equal));
            }
            Some(left.cmp(right))
        }
        (Value::Int64(left), Value::Int64(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::IpAddress(left), Value::IpAddress(right)) => {
            Some(left.to_canonical().cmp(&right.to_canonical()))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => {
            let instant = |time: &prost_types::Timestamp| nanos(time.seconds, time.nanos);
            Some(instant(left).cmp(&instant(right)))
        }
        (Value::Duration(left), Value::Duration(right)) => {
            let span = |time: &Duration| nanos(time.seconds, time.nanos);
            Some(span(left).cmp(&span(right)))
        }
        _ => return Err(unexpected(value_type)),
    };
    Ok(match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn nanos(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

/// The text of a value that the checker knows to be one.
fn text<'v>(value: &'v Value<'_>) -> &'v str {
    match value {
        Value::String(text) => text,
        _ => "",
    }
}

fn absent(attribute: &Attribute) -> EvalError {
    EvalError::Absent(attribute.name.clone())
}

/// What the checker rules out.
fn unexpected(expected: ValueType) -> EvalError {
    EvalError::conversion("value", expected, "it has another type")
}
