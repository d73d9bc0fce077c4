//! Looks up values.

use std::sync::Arc;
use std::time::Duration;

use mixer_adapter::{Answer, CheckResult, Code, HandleListEntry, status};
use mixer_attribute::Value;
use mixer_template::ListEntry;

use super::entries::{Entries, Symbol};
use super::refresh::Provided;

#[derive(Debug)]
pub(super) struct List {
    pub(super) overrides: Entries,
    /// What a provider adds.
    pub(super) provided: Option<Arc<Provided>>,
    pub(super) blacklist: bool,
    pub(super) valid_duration: Duration,
    pub(super) valid_use_count: i32,
}

impl HandleListEntry for List {
    fn handle_list_entry(&self, instance: &ListEntry<'_>) -> Answer<CheckResult> {
        Answer::Now(Ok(match self.symbol(instance.value.as_ref()) {
            Ok((symbol, text)) => self.answer(&symbol, &text),
            Err(reason) => CheckResult::refused(Code::InvalidArgument, reason),
        }))
    }
}

impl List {
    /// What is looked up, and as what it is shown.
    fn symbol(&self, value: Option<&Value<'_>>) -> Result<(Symbol, String), String> {
        match value {
            Some(Value::IpAddress(address)) => {
                let address = address.to_canonical();
                let text = address.to_string();
                Ok(match self.overrides.takes_addresses() {
                    true => (Symbol::Address(address), text),
                    false => (Symbol::Text(text.clone()), text),
                })
            }
            Some(Value::String(text)) => {
                let text = text.to_string();
                if !self.overrides.takes_addresses() {
                    return Ok((Symbol::Text(text.clone()), text));
                }
                let address = text
                    .parse()
                    .map_err(|_| format!("{text} is not a valid IP address"))?;
                Ok((Symbol::Address(address), text))
            }
            Some(_) => Err("only strings and IP addresses can be looked up".to_owned()),
            None => Err("there is no value to look up".to_owned()),
        }
    }

    fn answer(&self, symbol: &Symbol, text: &str) -> CheckResult {
        let found = self.overrides.contains(symbol);
        let found = match &self.provided {
            Some(provided) if !found => match provided.contains(symbol) {
                Ok(found) => found,
                Err(reason) => return CheckResult::refused(Code::Internal, reason),
            },
            _ => found,
        };
        let status = match (found, self.blacklist) {
            (true, true) => status(Code::PermissionDenied, format!("{text} is blacklisted")),
            (false, false) => status(Code::PermissionDenied, format!("{text} is not whitelisted")),
            (true, false) | (false, true) => status(Code::Ok, ""),
        };
        CheckResult {
            status,
            valid_duration: self.valid_duration,
            valid_use_count: self.valid_use_count,
        }
    }
}
