//! Tables, chains and rules as values, and how each is written for `iptables-restore`.

use std::fmt;

use ipnet::IpNet;

/// An address family; each has its own tables and its own programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

/// An iptables table that takes part in capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Where REDIRECT lives.
    Nat,
    /// Where TPROXY and marks live.
    Mangle,
}

/// A chain that a rule belongs to or jumps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// Built in: what enters the network namespace.
    Prerouting,
    /// Built in: what a local process sends.
    Output,
    /// Sends a connection to the outbound port.
    IstioRedirect,
    /// Sends a connection to the inbound port.
    IstioInRedirect,
    /// Decides about connections that enter.
    IstioInbound,
    /// Decides about connections that local processes open.
    IstioOutput,
    /// Marks packets of connections that already have a local socket.
    IstioDivert,
    /// Sends a connection to the inbound port without rewriting its addresses.
    IstioTproxy,
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Only TCP is captured (`IPT-1`).
    Tcp,
    /// The destination port.
    DestinationPort(u16),
    /// The destination lies in the network.
    Destination(IpNet),
    /// The destination lies outside the network.
    NotDestination(IpNet),
    /// The interface a packet came in by.
    InInterface(String),
    /// The interface a packet leaves by.
    OutInterface(String),
    /// The user, by number or name, that owns the sending socket.
    Uid(String),
    /// The group, by number or name, that owns the sending socket.
    Gid(String),
    /// A local socket for the packet's connection exists.
    Socket,
}

/// What happens to a packet that meets every condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Leave the chain.
    Return,
    /// Let the packet go on.
    Accept,
    /// Continue in another chain.
    Jump(Chain),
    /// Rewrite the destination to this local port.
    Redirect(u16),
    /// Set the packet's firewall mark.
    Mark(u32),
    /// Hand the packet to the transparent socket on `port` and mark it.
    Tproxy {
        /// The port of the transparent socket.
        port: u16,
        /// The firewall mark that makes the packet local.
        mark: u32,
    },
}

/// Where a rule goes within its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end.
    Last,
    /// Before everything else.
    First,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The table of the chain.
    pub table: Table,
    /// The chain that holds the rule.
    pub chain: Chain,
    /// Its place at the moment of creation.
    pub place: Place,
    /// All must hold.
    pub matches: Vec<Match>,
    /// What then happens.
    pub target: Target,
}

/// Every chain and rule of one address family, in creation order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// The chains to create. Built-in chains are never among them.
    pub chains: Vec<(Table, Chain)>,
    /// The rules, in the order in which they are created.
    pub rules: Vec<Rule>,
}

// === impl Family ===

impl Family {
    /// The address that stands for the loopback of the family.
    #[must_use]
    pub fn loopback(self) -> IpNet {
        match self {
            Family::V4 => IpNet::from(core::net::IpAddr::from([127, 0, 0, 1])),
            Family::V6 => IpNet::from(core::net::IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
        }
    }

    /// Whether the network belongs to the family.
    #[must_use]
    pub fn owns(self, net: &IpNet) -> bool {
        matches!(
            (self, net),
            (Family::V4, IpNet::V4(_)) | (Family::V6, IpNet::V6(_))
        )
    }

    /// The program that reads a transaction.
    #[must_use]
    pub fn restore_program(self) -> &'static str {
        match self {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        }
    }

    /// The program that prints the present rules.
    #[must_use]
    pub fn save_program(self) -> &'static str {
        match self {
            Family::V4 => "iptables-save",
            Family::V6 => "ip6tables-save",
        }
    }
}

// === impl Table ===

impl Table {
    /// Both tables, in the order in which they are written.
    pub const ALL: [Table; 2] = [Table::Nat, Table::Mangle];

    /// The name that iptables knows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Nat => "nat",
            Table::Mangle => "mangle",
        }
    }

    /// The chains that this program may own in the table (`IPT-21`).
    #[must_use]
    pub fn own_chains(self) -> &'static [Chain] {
        match self {
            Table::Nat => &[
                Chain::IstioOutput,
                Chain::IstioInbound,
                Chain::IstioRedirect,
                Chain::IstioInRedirect,
            ],
            Table::Mangle => &[Chain::IstioInbound, Chain::IstioDivert, Chain::IstioTproxy],
        }
    }
}

// === impl Chain ===

impl Chain {
    /// The name that iptables knows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Chain::Prerouting => "PREROUTING",
            Chain::Output => "OUTPUT",
            Chain::IstioRedirect => "ISTIO_REDIRECT",
            Chain::IstioInRedirect => "ISTIO_IN_REDIRECT",
            Chain::IstioInbound => "ISTIO_INBOUND",
            Chain::IstioOutput => "ISTIO_OUTPUT",
            Chain::IstioDivert => "ISTIO_DIVERT",
            Chain::IstioTproxy => "ISTIO_TPROXY",
        }
    }
}

// === impl Match ===

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Tcp => f.write_str("-p tcp"),
            Match::DestinationPort(port) => write!(f, "--dport {port}"),
            Match::Destination(net) => write!(f, "-d {net}"),
            Match::NotDestination(net) => write!(f, "! -d {net}"),
            Match::InInterface(name) => write!(f, "-i {name}"),
            Match::OutInterface(name) => write!(f, "-o {name}"),
            Match::Uid(uid) => write!(f, "-m owner --uid-owner {uid}"),
            Match::Gid(gid) => write!(f, "-m owner --gid-owner {gid}"),
            Match::Socket => f.write_str("-m socket"),
        }
    }
}

// === impl Target ===

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Return => f.write_str("RETURN"),
            Target::Accept => f.write_str("ACCEPT"),
            Target::Jump(chain) => f.write_str(chain.name()),
            Target::Redirect(port) => write!(f, "REDIRECT --to-ports {port}"),
            Target::Mark(mark) => write!(f, "MARK --set-mark {mark}"),
            Target::Tproxy { port, mark } => {
                write!(f, "TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}")
            }
        }
    }
}

// === impl Rule ===

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Last => write!(f, "-A {}", self.chain.name())?,
            Place::First => write!(f, "-I {} 1", self.chain.name())?,
        }
        for condition in &self.matches {
            write!(f, " {condition}")?;
        }
        write!(f, " -j {}", self.target)
    }
}

// === impl RuleSet ===

impl RuleSet {
    /// Adds a chain, which rules may then belong to.
    pub(crate) fn chain(&mut self, table: Table, chain: Chain) {
        self.chains.push((table, chain));
    }

    /// Adds a rule behind those that its chain has.
    pub(crate) fn append(
        &mut self,
        table: Table,
        chain: Chain,
        matches: impl IntoIterator<Item = Match>,
        target: Target,
    ) {
        let matches = matches.into_iter().collect();
        self.rules.push(Rule {
            table,
            chain,
            place: Place::Last,
            matches,
            target,
        });
    }

    /// Adds a rule before those that its chain has.
    pub(crate) fn insert(
        &mut self,
        table: Table,
        chain: Chain,
        matches: impl IntoIterator<Item = Match>,
        target: Target,
    ) {
        let matches = matches.into_iter().collect();
        self.rules.push(Rule {
            table,
            chain,
            place: Place::First,
            matches,
            target,
        });
    }

    /// The same rules without the socket match, for kernels that lack `xt_socket`. Nothing but speed
    /// is lost: a packet of a known connection takes the way through TPROXY instead of the short cut.
    #[must_use]
    pub fn without_socket_match(&self) -> RuleSet {
        let rules = self
            .rules
            .iter()
            .filter(|rule| !rule.matches.contains(&Match::Socket))
            .cloned()
            .collect();
        RuleSet {
            chains: self.chains.clone(),
            rules,
        }
    }

    /// Whether a rule uses the socket match.
    #[must_use]
    pub fn has_socket_match(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.matches.contains(&Match::Socket))
    }

    /// Whether a rule hands packets to a transparent socket, which needs routing besides.
    #[must_use]
    pub fn has_tproxy(&self) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule.target, Target::Tproxy { .. }))
    }
}
