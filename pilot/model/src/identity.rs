//! Who may answer for a host: the service accounts of its endpoints.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::{Host, Str};

use crate::{Rev, Versioned};

/// The identities that the endpoints of each host may present.
///
/// They are part of clusters, not of load assignments: callers check certificates against them (`R-DR-30`). Most
/// changes of endpoints leave them alone, so they have a table of their own.
#[derive(Clone, Debug, Default)]
pub struct IdentityTable {
    rev: Rev,
    hosts: BTreeMap<Host, Versioned<BTreeSet<Str>>>,
}

// === impl IdentityTable ===

impl IdentityTable {
    /// Changes when the identities of any host do.
    pub fn rev(&self) -> Rev {
        self.rev
    }

    /// The identities of a host; `None` when no endpoint of it has any.
    pub fn get(&self, host: &str) -> Option<&Versioned<BTreeSet<Str>>> {
        self.hosts.get(host)
    }

    /// Whether these are known for a host already.
    pub(crate) fn holds(&self, host: &Host, identities: &BTreeSet<Str>) -> bool {
        match self.hosts.get(host) {
            Some(known) => **known == *identities,
            None => identities.is_empty(),
        }
    }

    /// Replaces the identities of a host.
    pub(crate) fn set(&mut self, host: &Host, identities: BTreeSet<Str>, rev: Rev) {
        self.rev = rev;
        if identities.is_empty() {
            self.hosts.remove(host);
        } else {
            self.hosts.insert(host.clone(), Versioned::new(rev, identities));
        }
    }
}
