//! Traffic capture: from flags to iptables rules. `istio-iptables` applies them.
//!
//! The library is pure. It turns flags and environment into a [`Capture`], a capture into the
//! [`RuleSet`] of one address family, and a rule set together with the output of `iptables-save`
//! into the one transaction that `iptables-restore --noflush` is fed with. Running it again gives
//! the same rules (`IPT-21`), and only what this program created is ever removed.
//!
//! ```text
//! flags, environment ─▶ Capture ─▶ RuleSet ─▶ Transaction ─▶ text for iptables-restore
//!                                                ▲
//!                    iptables-save ─▶ Existing ──┘
//! ```

mod capture;
mod command;
mod environment;
mod existing;
mod model;
mod routing;
mod rules;
mod transaction;

pub use capture::{Addresses, Capture, Flags, InvalidFlag, Mode, Ports};
pub use command::{Command, UsageError};
pub use environment::parse_env_file;
pub use existing::Existing;
pub use model::{Chain, Family, Match, Place, Rule, RuleSet, Table, Target};
pub use routing::Routing;
pub use rules::rule_set;
pub use transaction::Transaction;
