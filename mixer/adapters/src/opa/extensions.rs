//! Functions of OPA that the engine does not have.
//!
//! Where OPA's would fail they are undefined, as all functions are for policies.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ipnet::IpNet;
use regex::Regex;
use regorus::{Engine, Value};

/// Base64 as tokens have it: without padding, which is let pass.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A function; `None` where it is undefined.
type Function = fn(&[Value]) -> Option<Value>;

/// Name, number of arguments, and what they do.
const FUNCTIONS: [(&str, u8, Function); 14] = [
    // What OPA calls deprecated, and policies of 1.1 are full of.
    ("re_match", 2, re_match),
    ("any", 1, any),
    ("all", 1, all),
    ("set_diff", 2, set_diff),
    ("cast_array", 1, cast_array),
    ("cast_set", 1, cast_set),
    ("cast_string", 1, |args| {
        cast(args, |value| matches!(value, Value::String(_)))
    }),
    ("cast_boolean", 1, |args| {
        cast(args, |value| matches!(value, Value::Bool(_)))
    }),
    ("cast_null", 1, |args| {
        cast(args, |value| matches!(value, Value::Null))
    }),
    ("cast_object", 1, |args| {
        cast(args, |value| matches!(value, Value::Object(_)))
    }),
    // The engine's own ends the evaluation.
    ("regex.template_match", 4, template_match),
    ("net.cidr_overlap", 2, cidr_overlap),
    ("net.cidr_intersects", 2, cidr_intersects),
    ("io.jwt.decode", 1, jwt_decode),
];

/// Adds them to an engine.
///
/// # Errors
///
/// When the engine has one of them.
pub(super) fn add(engine: &mut Engine) -> Result<(), String> {
    for (name, arguments, function) in FUNCTIONS {
        let extension = move |args: Vec<Value>| Ok(function(&args).unwrap_or(Value::Undefined));
        engine
            .add_extension(name.to_owned(), arguments, Box::new(extension))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// How many arguments one of them has.
pub(super) fn arguments(name: &str) -> Option<usize> {
    let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
    found.map(|(_, arguments, _)| usize::from(*arguments))
}

fn text(args: &[Value], number: usize) -> Option<&str> {
    match args.get(number)? {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn re_match(args: &[Value]) -> Option<Value> {
    let pattern = Regex::new(text(args, 0)?).ok()?;
    Some(pattern.is_match(text(args, 1)?).into())
}

/// Whether a text is that of a template, in which patterns stand between delimiters.
fn template_match(args: &[Value]) -> Option<Value> {
    let one = |number| {
        let mut letters = text(args, number)?.chars();
        letters.next().filter(|_| letters.next().is_none())
    };
    let (start, end) = (one(2)?, one(3)?);
    let (mut pattern, mut depth) = ("^".to_owned(), 0_usize);
    for letter in text(args, 0)?.chars() {
        if letter == start {
            pattern.push(if depth == 0 { '(' } else { letter });
            depth += 1;
        } else if letter == end {
            depth = depth.checked_sub(1)?;
            pattern.push(if depth == 0 { ')' } else { letter });
        } else if depth == 0 {
            pattern.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
        } else {
            pattern.push(letter);
        }
    }
    pattern.push('$');
    let pattern = Regex::new(&pattern).ok().filter(|_| depth == 0)?;
    Some(pattern.is_match(text(args, 1)?).into())
}

fn members(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::Array(items) => Some(items.iter().collect()),
        Value::Set(items) => Some(items.iter().collect()),
        _ => None,
    }
}

fn any(args: &[Value]) -> Option<Value> {
    let holds = members(args.first()?)?
        .into_iter()
        .any(|value| *value == Value::Bool(true));
    Some(holds.into())
}

fn all(args: &[Value]) -> Option<Value> {
    let holds = members(args.first()?)?
        .into_iter()
        .all(|value| *value == Value::Bool(true));
    Some(holds.into())
}

fn set_diff(args: &[Value]) -> Option<Value> {
    match args {
        [Value::Set(one), Value::Set(other)] => {
            let rest: BTreeSet<Value> = one.difference(other).cloned().collect();
            Some(rest.into())
        }
        _ => None,
    }
}

fn cast_array(args: &[Value]) -> Option<Value> {
    let items: Vec<Value> = members(args.first()?)?.into_iter().cloned().collect();
    Some(items.into())
}

fn cast_set(args: &[Value]) -> Option<Value> {
    let items: BTreeSet<Value> = members(args.first()?)?.into_iter().cloned().collect();
    Some(items.into())
}

fn cast(args: &[Value], fits: fn(&Value) -> bool) -> Option<Value> {
    args.first().filter(|value| fits(value)).cloned()
}

fn net(args: &[Value], number: usize) -> Option<IpNet> {
    text(args, number)?.parse().ok()
}

fn cidr_overlap(args: &[Value]) -> Option<Value> {
    let address: IpAddr = text(args, 1)?.parse().ok()?;
    Some(net(args, 0)?.contains(&address).into())
}

fn cidr_intersects(args: &[Value]) -> Option<Value> {
    let (one, other) = (net(args, 0)?, net(args, 1)?);
    Some((one.contains(&other.network()) || other.contains(&one.network())).into())
}

/// Header, claims and signature (in hexadecimal) of a token. Nobody looks whether the signature is right.
fn jwt_decode(args: &[Value]) -> Option<Value> {
    let mut parts = text(args, 0)?.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let json = |part: &str| {
        let bytes = BASE64.decode(part).ok()?;
        let value = Value::from_json_str(std::str::from_utf8(&bytes).ok()?).ok()?;
        matches!(value, Value::Object(_)).then_some(value)
    };
    let header = json(header)?;
    // A token in a token.
    let kind = header.as_object().ok()?.get(&Value::from("cty"));
    if let Some(Value::String(kind)) = kind
        && kind.eq_ignore_ascii_case("JWT")
    {
        let inner = String::from_utf8(BASE64.decode(claims).ok()?).ok()?;
        return jwt_decode(&[Value::String(Arc::from(inner))]);
    }
    let signature = BASE64.decode(signature).ok()?;
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(vec![header, json(claims)?, signature.into()].into())
}
