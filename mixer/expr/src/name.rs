//! Names of DNS and addresses of e-mail (`spec 02` §4.2).

use std::borrow::Cow;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use mixer_attribute::ValueType;

use crate::error::EvalError;

/// Looks for what is wrong with a name of DNS: strict letters (STD3), lengths, hyphens and directions of writing.
pub(crate) fn check_dns(text: &str) -> Result<(), EvalError> {
    let checked = Uts46::new().to_ascii(
        text.as_bytes(),
        AsciiDenyList::STD3,
        Hyphens::Check,
        DnsLength::VerifyAllowRootDot,
    );
    match checked {
        Ok(_) => Ok(()),
        Err(_) => Err(no_dns(text)),
    }
}

/// Whether two names of DNS are one: after IDNA's mapping, without one dot at the end.
pub(crate) fn same_dns(left: &str, right: &str) -> Result<bool, EvalError> {
    let (left, right) = (lookup(left)?, lookup(right)?);
    let (left, right) = (root_relative(&left), root_relative(&right));
    Ok(left.eq_ignore_ascii_case(right))
}

/// Looks for what is wrong with an address of e-mail: it has no display name, and its domain is a name of DNS.
pub(crate) fn check_email(text: &str) -> Result<(), EvalError> {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return Err(no_email(text, "it has no @"));
    };
    if !is_local_part(local) {
        return Err(no_email(text, "what stands before the @ is no name of a mailbox"));
    }
    check_dns(domain).map_err(|_| no_email(text, "its domain is no name of DNS"))
}

/// Whether two addresses of e-mail are one: the same mailbox of one domain.
pub(crate) fn same_email(left: &str, right: &str) -> Result<bool, EvalError> {
    let parts = |text: &str| match text.rsplit_once('@') {
        Some(_) => Ok(text.rfind('@').unwrap_or_default()),
        None => Err(no_email(text, "it has no @")),
    };
    let (left_local, left_domain) = left.split_at(parts(left)?);
    let (right_local, right_domain) = right.split_at(parts(right)?);
    Ok(left_local == right_local && same_dns(&left_domain[1..], &right_domain[1..])?)
}

/// Letters as RFC 5322 allows them in a mailbox: words with dots between them, or anything in quotes.
fn is_local_part(local: &str) -> bool {
    if let Some(quoted) = local.strip_prefix('"') {
        let Some(quoted) = quoted.strip_suffix('"') else {
            return false;
        };
        let mut letters = quoted.chars();
        while let Some(letter) = letters.next() {
            let allowed = match letter {
                '"' => false,
                '\\' => letters.next().is_some(),
                letter => !letter.is_control(),
            };
            if !allowed {
                return false;
            }
        }
        return true;
    }
    let is_atom = |letter: char| {
        letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter) || !letter.is_ascii()
    };
    local
        .split('.')
        .all(|word| !word.is_empty() && word.chars().all(is_atom))
}

/// A name as it is looked up. What is plain ASCII stays as it is, apart from its case.
fn lookup(text: &str) -> Result<Cow<'_, str>, EvalError> {
    let plain = text.is_ascii() && !text.split('.').any(|label| starts_with_ace(label.as_bytes()));
    if plain {
        return Ok(Cow::Borrowed(text));
    }
    let (mapped, result) = Uts46::new().to_unicode(text.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
    match result {
        Ok(()) => Ok(mapped),
        Err(_) => Err(no_dns(text)),
    }
}

fn starts_with_ace(label: &[u8]) -> bool {
    label
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"xn--"))
}

fn root_relative(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn no_dns(text: &str) -> EvalError {
    EvalError::conversion(text, ValueType::DnsName, "it is no name of DNS")
}

fn no_email(text: &str, reason: &str) -> EvalError {
    EvalError::conversion(text, ValueType::EmailAddress, reason)
}
