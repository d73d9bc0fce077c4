//! From an ordered list of rules to filter chains, which have no order.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Rule, ServerName};

/// The connections of one filter chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// Those to this range of addresses, smaller ranges that other slots have excepted; `None`: to all other addresses.
    pub(crate) range: Option<IpNet>,
    /// Those that announce this name, narrower names that other slots have excepted; `None`: all others.
    pub(crate) server_name: Option<ServerName>,
    /// Position of the rule that they follow.
    pub(crate) rule: usize,
}

/// The filter chains that make connections follow the first rule that holds for them (`R-VS-6`).
///
/// Envoy looks for the smallest range around the address, and only among its chains for the longest name; it never
/// turns back. So each range gets all rules that hold in it, and a name gets a chain only where no rule before holds for
/// it. No two slots have the same range and name, which Envoy would refuse.
pub(crate) fn first_match<R>(rules: &[Rule<R>]) -> Vec<Slot> {
    let ranges: BTreeSet<IpNet> = rules
        .iter()
        .flat_map(|rule| &rule.ranges)
        .map(IpNet::trunc)
        .collect();
    let mut slots = Vec::new();
    for range in std::iter::once(None).chain(ranges.into_iter().map(Some)) {
        let mut taken = BTreeSet::new();
        for (position, rule) in rules.iter().enumerate().filter(|(_, rule)| holds_in(rule, range)) {
            let mut add = |server_name| {
                slots.push(Slot {
                    range,
                    server_name,
                    rule: position,
                })
            };
            if rule.server_names.is_empty() {
                add(None);
                // Nothing after it can be reached (`R-VS-7`).
                break;
            }
            for name in &rule.server_names {
                if !taken.contains(name) && !name.wider().any(|wider| taken.contains(&wider)) {
                    add(Some(name.clone()));
                    taken.insert(name.clone());
                }
            }
        }
    }
    slots
}

/// Whether a rule holds for all addresses of a range, as far as addresses matter.
fn holds_in<R>(rule: &Rule<R>, range: Option<IpNet>) -> bool {
    rule.ranges.is_empty() || range.is_some_and(|range| rule.ranges.iter().any(|own| own.contains(&range)))
}
