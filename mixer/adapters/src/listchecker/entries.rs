//! The entries of a list.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use regex::{RegexSet, RegexSetBuilder};
use serde::Deserialize;

pub(super) use mesh_api::adapter::list::config::params::ListEntryType as EntryType;

/// The expressions of a list may take so much memory in all.
const REGEX_SIZE: usize = 64 << 20;

/// A list.
#[derive(Debug)]
pub(super) enum Entries {
    Strings(HashSet<String>),
    /// In capitals.
    CaseInsensitive(HashSet<String>),
    Addresses(Ranges),
    Regex(RegexSet),
}

/// Ranges of addresses.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ranges: HashSet<IpNet>,
    /// Lengths of the prefixes that occur, so that a look-up is a few look-ups.
    lengths: BTreeSet<u8>,
}

/// What a value has to do with a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Text(String),
    Address(IpAddr),
}

/// The form of lists of addresses, also of those that refuse.
#[derive(Deserialize)]
struct AddressList {
    whitelist: Vec<String>,
}

// === impl Entries ===

impl Default for Entries {
    fn default() -> Self {
        Self::Strings(HashSet::new())
    }
}

impl Entries {
    pub(super) fn new<'e>(
        entry_type: EntryType,
        entries: impl IntoIterator<Item = &'e str>,
    ) -> Result<Self, String> {
        let entries = entries.into_iter();
        Ok(match entry_type {
            EntryType::Strings => Self::Strings(entries.map(str::to_owned).collect()),
            EntryType::CaseInsensitiveStrings => {
                Self::CaseInsensitive(entries.map(str::to_uppercase).collect())
            }
            EntryType::IpAddresses => {
                let mut ranges = Ranges::default();
                for entry in entries {
                    ranges.insert(entry)?;
                }
                Self::Addresses(ranges)
            }
            EntryType::Regex => Self::Regex(
                RegexSetBuilder::new(entries)
                    .size_limit(REGEX_SIZE)
                    .build()
                    .map_err(|error| error.to_string())?,
            ),
        })
    }

    /// What a provider sent: lines, for addresses YAML.
    pub(super) fn parse(entry_type: EntryType, body: &str) -> Result<Self, String> {
        if entry_type == EntryType::IpAddresses {
            let list: AddressList = serde_saphyr::from_str(body)
                .map_err(|error| format!("not a list of addresses: {}", first_line(&error.to_string())))?;
            return Self::new(entry_type, list.whitelist.iter().map(String::as_str));
        }
        Self::new(entry_type, body.lines().filter(|line| !line.trim().is_empty()))
    }

    pub(super) fn contains(&self, symbol: &Symbol) -> bool {
        match (self, symbol) {
            (Self::Strings(entries), Symbol::Text(text)) => entries.contains(text),
            (Self::CaseInsensitive(entries), Symbol::Text(text)) => entries.contains(&text.to_uppercase()),
            (Self::Regex(entries), Symbol::Text(text)) => entries.is_match(text),
            (Self::Addresses(ranges), Symbol::Address(address)) => ranges.contains(*address),
            _ => false,
        }
    }

    /// Whether values are looked up as addresses.
    pub(super) fn takes_addresses(&self) -> bool {
        matches!(self, Self::Addresses(_))
    }
}

// === impl Ranges ===

impl Ranges {
    /// A range, or an address, which is a range of one.
    fn insert(&mut self, text: &str) -> Result<(), String> {
        let invalid = || format!("{text:?} is not an address or a range such as 10.0.0.0/8");
        let range = match text.split_once('/') {
            None => IpNet::from(text.parse::<IpAddr>().map_err(|_| invalid())?.to_canonical()),
            Some(_) => canonical(text.parse().map_err(|_| invalid())?),
        };
        self.lengths.insert(range.prefix_len());
        self.ranges.insert(range.trunc());
        Ok(())
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.lengths
            .iter()
            .filter_map(|length| IpNet::new(address, *length).ok())
            .any(|range| self.ranges.contains(&range.trunc()))
    }
}

/// A range of IPv4 addresses that are written in IPv6 is one of IPv4.
fn canonical(range: IpNet) -> IpNet {
    let length = range.prefix_len().checked_sub(96);
    match (range.addr().to_canonical(), length) {
        (address @ IpAddr::V4(_), Some(length)) if range.addr().is_ipv6() => {
            IpNet::new(address, length).unwrap_or(range)
        }
        _ => range,
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(entry_type: EntryType, entries: &[&str], symbol: &str) -> bool {
        let symbol = match symbol.parse() {
            Ok(address) if entry_type == EntryType::IpAddresses => Symbol::Address(address),
            _ => Symbol::Text(symbol.to_owned()),
        };
        Entries::new(entry_type, entries.iter().copied())
            .unwrap()
            .contains(&symbol)
    }

    #[test]
    fn entries_are_found_by_their_type() {
        use EntryType::{CaseInsensitiveStrings, IpAddresses, Regex, Strings};
        for (entry_type, entries, symbol, expected) in [
            (Strings, &["a", "b"][..], "a", true),
            (Strings, &["a"], "A", false),
            (Strings, &["a"], "ab", false),
            (Strings, &[], "", false),
            (CaseInsensitiveStrings, &["aBc"], "AbC", true),
            (CaseInsensitiveStrings, &["straße"], "STRASSE", true),
            (Regex, &["^a+$", "b"], "xbx", true),
            (Regex, &["^a+$"], "aab", false),
            (Regex, &[], "", false),
            (IpAddresses, &["10.247.0.0/16"], "10.247.255.1", true),
            (IpAddresses, &["10.247.3.4/16"], "10.247.255.1", true),
            (IpAddresses, &["10.247.0.0/16"], "10.248.0.1", false),
            (IpAddresses, &["10.0.0.1"], "10.0.0.1", true),
            (IpAddresses, &["10.0.0.1"], "10.0.0.2", false),
            (IpAddresses, &["10.0.0.1"], "::ffff:10.0.0.1", true),
            (IpAddresses, &["::ffff:10.0.0.0/104"], "10.9.9.9", true),
            // 1.1 refused an IPv6 address without a length.
            (IpAddresses, &["2001:db8::1"], "2001:db8::1", true),
            (IpAddresses, &["2001:db8::1"], "2001:db8::2", false),
            (IpAddresses, &["2001:db8::/32"], "2001:db8:1::2", true),
            (IpAddresses, &["0.0.0.0/0"], "2001:db8::1", false),
        ] {
            assert_eq!(
                holds(entry_type, entries, symbol),
                expected,
                "{entry_type:?} {entries:?} {symbol}"
            );
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for entry in ["", "10.0.0.256", "10.0.0.0/33", "host", "10.0.0.0/"] {
            assert!(Entries::new(EntryType::IpAddresses, [entry]).is_err(), "{entry}");
        }
        for entry in ["(", "(?=a)", r"(a)\1"] {
            assert!(Entries::new(EntryType::Regex, [entry]).is_err(), "{entry}");
        }
    }

    #[test]
    fn lists_are_lines_or_yaml() {
        let lines = Entries::parse(EntryType::Strings, "a\r\n\n  \nb\n").unwrap();
        assert!(lines.contains(&Symbol::Text("a".to_owned())));
        assert!(!lines.contains(&Symbol::Text("".to_owned())));
        let yaml = "whitelist:\n- 10.0.0.0/8\n- ::1\n";
        let ranges = Entries::parse(EntryType::IpAddresses, yaml).unwrap();
        assert!(ranges.contains(&Symbol::Address("::1".parse().unwrap())));
        for body in ["", "<html></html>", "blacklist: []", "whitelist: [x]"] {
            assert!(Entries::parse(EntryType::IpAddresses, body).is_err(), "{body}");
        }
    }
}
