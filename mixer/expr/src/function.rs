//! The functions and what they take (`spec 02` §4.2).

use mixer_attribute::ValueType;

use crate::program::{Conversion, Test};

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Conditional,
    EmptyStringMap,
    Convert(Conversion),
    Test(Test),
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

/// A function of a string.
const fn conversion(conversion: Conversion, name: &'static str, result: ValueType) -> Signature {
    plain(Function::Convert(conversion), name, &[STRING], Some(result))
}

/// A question that a string is asked about another one.
const fn method(test: Test, name: &'static str) -> Signature {
    Signature {
        function: Function::Test(test),
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
        Function::Conditional,
        "conditionalString",
        &[BOOL, STRING, STRING],
        STRING,
    ),
    conversion(Conversion::DnsName, "dnsName", ValueType::DnsName),
    conversion(Conversion::Email, "email", ValueType::EmailAddress),
    plain(
        Function::EmptyStringMap,
        "emptyStringMap",
        &[],
        Some(ValueType::StringMap),
    ),
    method(Test::EndsWith, "endsWith"),
    conversion(Conversion::Ip, "ip", ValueType::IpAddress),
    plain(Function::Test(Test::Glob), "match", &[STRING, STRING], BOOL),
    method(Test::Regex, "matches"),
    conversion(Conversion::Size, "size", ValueType::Int64),
    method(Test::StartsWith, "startsWith"),
    conversion(Conversion::Timestamp, "timestamp", ValueType::Timestamp),
    conversion(Conversion::ToLower, "toLower", ValueType::String),
    conversion(Conversion::Uri, "uri", ValueType::Uri),
];

impl Signature {
    /// The function called `name`.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        SIGNATURES.iter().find(|signature| signature.name == name)
    }
}
