//! The functions and what they take (`spec 02` §4.2).

use mixer_attribute::ValueType;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Conditional,
    ConditionalString,
    DnsName,
    Email,
    EmptyStringMap,
    EndsWith,
    Ip,
    Match,
    Matches,
    Size,
    StartsWith,
    Timestamp,
    ToLower,
    Uri,
}

/// What a function takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    pub(crate) function: Function,
    pub(crate) name: &'static str,
    /// Type of its target, where it has one.
    pub(crate) target: Option<ValueType>,
    /// Types of its arguments; `None`: any, but the same wherever it stands.
    pub(crate) arguments: &'static [Option<ValueType>],
    /// Type of its result; `None`: that of its arguments.
    pub(crate) result: Option<ValueType>,
}

/// A function without a target.
const fn plain(
    function: Function,
    name: &'static str,
    arguments: &'static [Option<ValueType>],
    result: Option<ValueType>,
) -> Signature {
    Signature {
        function,
        name,
        target: None,
        arguments,
        result,
    }
}

/// A function of a string and another string.
const fn method(function: Function, name: &'static str) -> Signature {
    Signature {
        function,
        name,
        target: STRING,
        arguments: &[STRING],
        result: BOOL,
    }
}

const STRING: Option<ValueType> = Some(ValueType::String);
const BOOL: Option<ValueType> = Some(ValueType::Bool);

const SIGNATURES: &[Signature] = &[
    plain(Function::Conditional, "conditional", &[BOOL, None, None], None),
    plain(
        Function::ConditionalString,
        "conditionalString",
        &[BOOL, STRING, STRING],
        STRING,
    ),
    plain(Function::DnsName, "dnsName", &[STRING], Some(ValueType::DnsName)),
    plain(Function::Email, "email", &[STRING], Some(ValueType::EmailAddress)),
    plain(
        Function::EmptyStringMap,
        "emptyStringMap",
        &[],
        Some(ValueType::StringMap),
    ),
    method(Function::EndsWith, "endsWith"),
    plain(Function::Ip, "ip", &[STRING], Some(ValueType::IpAddress)),
    plain(Function::Match, "match", &[STRING, STRING], BOOL),
    method(Function::Matches, "matches"),
    plain(Function::Size, "size", &[STRING], Some(ValueType::Int64)),
    method(Function::StartsWith, "startsWith"),
    plain(
        Function::Timestamp,
        "timestamp",
        &[STRING],
        Some(ValueType::Timestamp),
    ),
    plain(Function::ToLower, "toLower", &[STRING], STRING),
    plain(Function::Uri, "uri", &[STRING], Some(ValueType::Uri)),
];

impl Signature {
    /// The function called `name`.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        SIGNATURES.iter().find(|signature| signature.name == name)
    }
}
