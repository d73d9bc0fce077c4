//! One run of `iptables-restore --noflush`: what has to go, then what has to come.

use std::fmt;
use std::fmt::Write as _;

use crate::existing::{Existing, Own};
use crate::model::{Chain, Rule, RuleSet, Table};

/// The text that turns what exists into what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    text: String,
}

// === impl Transaction ===

impl Transaction {
    /// Removes what an earlier run left and creates the rule set; an empty rule set only removes
    /// (`IPT-21`).
    #[must_use]
    pub fn new(existing: &Existing, wanted: &RuleSet) -> Transaction {
        let mut text = String::new();
        for table in Table::ALL {
            let chains: Vec<Chain> = wanted
                .chains
                .iter()
                .filter(|(of, _)| *of == table)
                .map(|(_, chain)| *chain)
                .collect();
            let rules: Vec<&Rule> = wanted.rules.iter().filter(|rule| rule.table == table).collect();
            let nothing = Own::default();
            let old = existing.table(table).unwrap_or(&nothing);
            if chains.is_empty() && rules.is_empty() && old == &nothing {
                continue;
            }
            write_table(&mut text, table, old, &chains, &rules).expect("writing to a string cannot fail");
        }
        Transaction { text }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn write_table(text: &mut String, table: Table, old: &Own, chains: &[Chain], rules: &[&Rule]) -> fmt::Result {
    writeln!(text, "*{}", table.name())?;
    // Declaring a chain creates it or, when it exists, empties it.
    for chain in chains {
        writeln!(text, ":{} - [0:0]", chain.name())?;
    }
    for jump in &old.jumps {
        writeln!(text, "-D {jump}")?;
    }
    let obsolete = || old.chains.iter().filter(|chain| !chains.contains(chain));
    // A chain can be deleted only when no rule leads to it any more: empty all of them first.
    for chain in obsolete() {
        writeln!(text, "-F {}", chain.name())?;
    }
    for chain in obsolete() {
        writeln!(text, "-X {}", chain.name())?;
    }
    for rule in rules {
        writeln!(text, "{rule}")?;
    }
    writeln!(text, "COMMIT")
}
