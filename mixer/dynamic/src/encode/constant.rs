//! Values that stand in parameters themselves, and not as expressions.

use mixer_attribute::{Value, ValueType};
use serde_json::Value as Json;

use super::form::Form;

/// The text between quotes, if that is all there is: `'text'` or `"text"`.
pub(super) fn quoted(text: &str) -> Option<String> {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner
            && !inner.contains(quote)
            && !inner.contains('\\')
        {
            return Some(inner.to_owned());
        }
    }
    None
}

/// What a number or a truth value of JSON is for a field, and of which type. `Struct` has numbers with fractions only, so
/// that a number without one is taken for a whole number.
pub(super) fn of_json(form: &Form, given: &Json) -> Option<(Value<'static>, ValueType)> {
    let constant = match given {
        Json::Bool(value) => (Value::Bool(*value), ValueType::Bool),
        Json::Number(number) => {
            let number = number.as_f64()?;
            match (form, whole(number)) {
                (Form::Double | Form::Float, _) | (_, None) => (Value::Double(number), ValueType::Double),
                (_, Some(whole)) => (Value::Int64(whole), ValueType::Int64),
            }
        }
        _ => return None,
    };
    fits(form, constant.1).then_some(constant)
}

/// Whether a field can hold values of a type.
pub(super) fn fits(form: &Form, value_type: ValueType) -> bool {
    match form {
        Form::Text => value_type == ValueType::String,
        Form::Bool => value_type == ValueType::Bool,
        Form::Int(_) => value_type == ValueType::Int64,
        Form::Float | Form::Double => value_type == ValueType::Double,
        Form::Enum(_) => matches!(value_type, ValueType::Int64 | ValueType::String),
        Form::Any(_) => value_type != ValueType::StringMap,
        Form::Wrapper(wrapped) => value_type == *wrapped,
        Form::StringMap => value_type == ValueType::StringMap,
    }
}

/// What a field needs, for messages.
pub(super) fn needs(form: &Form) -> String {
    match form {
        Form::Text => ValueType::String.to_string(),
        Form::Bool => ValueType::Bool.to_string(),
        Form::Int(_) => ValueType::Int64.to_string(),
        Form::Float | Form::Double => ValueType::Double.to_string(),
        Form::Enum(known) => format!("a value of {}, INT64 or STRING", known.name()),
        Form::Any(_) => "anything but STRING_MAP".to_owned(),
        Form::Wrapper(wrapped) => wrapped.to_string(),
        Form::StringMap => ValueType::StringMap.to_string(),
    }
}

fn whole(number: f64) -> Option<i64> {
    // Beyond 2^53 a number of JSON says nothing about units.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
