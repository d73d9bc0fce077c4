//! URIs (`spec 02` §4.2): what Go's parser takes, relative ones among them.

use mixer_attribute::ValueType;

use crate::error::EvalError;
use crate::name;

/// A URI in pieces.
struct Parts<'t> {
    scheme: &'t str,
    /// Without the slashes before it; `None` if there is no `//`.
    authority: Option<&'t str>,
    /// Path, query and fragment.
    rest: &'t str,
}

/// Looks for what is wrong with a URI.
pub(crate) fn check(text: &str) -> Result<(), EvalError> {
    parts(text).map(drop)
}

/// Whether two URIs are one: the case of the scheme does not matter, and for HTTP that of the host; ports are compared as
/// they are written, and the rest exactly.
pub(crate) fn same(left: &str, right: &str) -> Result<bool, EvalError> {
    let (left, right) = (parts(left)?, parts(right)?);
    if !left.scheme.eq_ignore_ascii_case(right.scheme) || left.rest != right.rest {
        return Ok(false);
    }
    let http = left.scheme.eq_ignore_ascii_case("http") || left.scheme.eq_ignore_ascii_case("https");
    let (Some(first), Some(second), true) = (left.authority, right.authority, http) else {
        return Ok(left.authority == right.authority);
    };
    let (first_user, first_host, first_port) = host_and_port(first);
    let (second_user, second_host, second_port) = host_and_port(second);
    let same = first_user == second_user && first_port == second_port;
    if first_host.starts_with('[') || second_host.starts_with('[') {
        return Ok(same && first_host.eq_ignore_ascii_case(second_host));
    }
    Ok(same && name::same_dns(first_host, second_host)?)
}

fn parts(text: &str) -> Result<Parts<'_>, EvalError> {
    let fail = |reason: &str| Err(EvalError::conversion(text, ValueType::Uri, reason));
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.chars().any(char::is_control) {
        return fail("it has a control character");
    }
    if !has_good_escapes(text) {
        return fail("% is not followed by two hexadecimal digits");
    }
    let (scheme, rest) = match split_scheme(text) {
        Ok(split) => split,
        Err(reason) => return fail(reason),
    };
    let Some(after) = rest.strip_prefix("//") else {
        return Ok(Parts {
            scheme,
            authority: None,
            rest,
        });
    };
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let (_, host, port) = host_and_port(authority);
    let literal = host.starts_with('[');
    if literal != host.ends_with(']')
        || !literal && host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}', ':'])
    {
        return fail("its host has letters that no host has");
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return fail("its port is no number");
    }
    Ok(Parts {
        scheme,
        authority: Some(authority),
        rest,
    })
}

/// What stands before the first colon, if that is a scheme, and what follows.
fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || "+-.".contains(letter)));
    match end {
        Some(0) if text.starts_with(':') => Err("its scheme is missing"),
        Some(end) if text[end..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok((&text[..end], &text[end + 1..]))
        }
        _ => {
            let segment = text.split(['/', '?', '#']).next().unwrap_or_default();
            if segment.contains(':') {
                return Err("the first segment of its path has a colon");
            }
            Ok(("", text))
        }
    }
}

/// User, host and port of an authority; empty where there are none.
fn host_and_port(authority: &str) -> (&str, &str, &str) {
    let (user, rest) = authority.rsplit_once('@').unwrap_or(("", authority));
    let name_end = rest.rfind(']').unwrap_or_default();
    match rest[name_end..].rfind(':') {
        Some(colon) => (user, &rest[..name_end + colon], &rest[name_end + colon + 1..]),
        None => (user, rest, ""),
    }
}

fn has_good_escapes(text: &str) -> bool {
    // Go unescapes paths and hosts, and leaves queries alone.
    let path = text.split(['?', '#']).next().unwrap_or_default();
    path.split('%').skip(1).all(|after| {
        after
            .as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
