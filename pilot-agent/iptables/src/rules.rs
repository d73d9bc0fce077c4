//! From settings to rules: the table of spec 05 §2.3, row by row.

use ipnet::IpNet;

use crate::capture::{Addresses, Capture, Mode, Ports};
use crate::model::{Chain, Family, Match, RuleSet, Table, Target};

#[cfg(test)]
mod tests;

/// SSH stays reachable without the proxy when every port is captured (row 4).
const SSH: u16 = 22;

/// The chains and rules of one address family. Both families get the same rules; ranges go to the
/// family they belong to (`IPT-23`).
#[must_use]
pub fn rule_set(capture: &Capture, family: Family) -> RuleSet {
    let mut set = RuleSet::default();
    if capture.mode == Mode::None {
        return set;
    }
    redirect_chains(&mut set, capture);
    inbound(&mut set, capture, family);
    outbound(&mut set, capture, family);
    set
}

/// Rows 1 and 2: where captured connections end.
fn redirect_chains(set: &mut RuleSet, capture: &Capture) {
    let ends = [
        (Chain::IstioRedirect, capture.outbound_port),
        (Chain::IstioInRedirect, capture.inbound_port),
    ];
    for (chain, port) in ends {
        set.chain(Table::Nat, chain);
        set.append(Table::Nat, chain, [Match::Tcp], Target::Redirect(port));
    }
}

/// Rows 3 to 6: what enters the pod.
fn inbound(set: &mut RuleSet, capture: &Capture, family: Family) {
    let captured = match &capture.include_ports {
        Ports::All => vec![None],
        Ports::These(ports) => ports.iter().copied().map(Some).collect(),
    };
    if captured.is_empty() {
        return;
    }
    let transparent = capture.mode == Mode::Tproxy;
    let table = if transparent { Table::Mangle } else { Table::Nat };
    if transparent {
        tproxy_chains(set, capture, family);
    }
    set.chain(table, Chain::IstioInbound);
    set.append(
        table,
        Chain::Prerouting,
        [Match::Tcp],
        Target::Jump(Chain::IstioInbound),
    );
    if capture.include_ports == Ports::All {
        let excluded = capture.exclude_ports.iter().copied().filter(|port| *port != SSH);
        for port in std::iter::once(SSH).chain(excluded) {
            let matches = [Match::Tcp, Match::DestinationPort(port)];
            set.append(table, Chain::IstioInbound, matches, Target::Return);
        }
    }
    for port in captured {
        let matches = || std::iter::once(Match::Tcp).chain(port.map(Match::DestinationPort));
        if transparent {
            let known = matches().chain([Match::Socket]);
            set.append(
                table,
                Chain::IstioInbound,
                known,
                Target::Jump(Chain::IstioDivert),
            );
            set.append(
                table,
                Chain::IstioInbound,
                matches(),
                Target::Jump(Chain::IstioTproxy),
            );
        } else {
            set.append(
                table,
                Chain::IstioInbound,
                matches(),
                Target::Jump(Chain::IstioInRedirect),
            );
        }
    }
}

/// Row 6c: the two ends of transparent capture. Packets of connections that the proxy has already
/// accepted only need the mark that makes them local.
fn tproxy_chains(set: &mut RuleSet, capture: &Capture, family: Family) {
    let mark = capture.tproxy_mark;
    set.chain(Table::Mangle, Chain::IstioDivert);
    set.append(Table::Mangle, Chain::IstioDivert, [], Target::Mark(mark));
    set.append(Table::Mangle, Chain::IstioDivert, [], Target::Accept);
    set.chain(Table::Mangle, Chain::IstioTproxy);
    let remote = [Match::NotDestination(family.loopback()), Match::Tcp];
    let target = Target::Tproxy {
        port: capture.inbound_port,
        mark,
    };
    set.append(Table::Mangle, Chain::IstioTproxy, remote, target);
}

/// Rows 7 to 14: what local processes open. Always REDIRECT, in both modes.
fn outbound(set: &mut RuleSet, capture: &Capture, family: Family) {
    let (nat, chain) = (Table::Nat, Chain::IstioOutput);
    let loopback = family.loopback();
    set.chain(nat, chain);
    set.append(nat, Chain::Output, [Match::Tcp], Target::Jump(chain));
    if capture.capture_own_address {
        // Before the owner rules (IPT-30): the proxy's own connection to the pod's address has to come
        // back in as an inbound one. With one port for both directions the listener of that address
        // is found behind it; with two ports only the inbound one knows it, and the outbound one would
        // send the connection round in circles.
        let one_port = capture.outbound_port == capture.inbound_port;
        let end = if one_port {
            Chain::IstioRedirect
        } else {
            Chain::IstioInRedirect
        };
        let own = [
            Match::OutInterface("lo".to_owned()),
            Match::NotDestination(loopback),
        ];
        set.append(nat, chain, own, Target::Jump(end));
    }
    for uid in &capture.uids {
        set.append(nat, chain, [Match::Uid(uid.clone())], Target::Return);
    }
    for gid in &capture.gids {
        set.append(nat, chain, [Match::Gid(gid.clone())], Target::Return);
    }
    set.append(nat, chain, [Match::Destination(loopback)], Target::Return);
    for range in of_family(&capture.exclude_addresses, family) {
        set.append(nat, chain, [Match::Destination(range)], Target::Return);
    }
    for name in &capture.virtual_interfaces {
        set.insert(
            nat,
            Chain::Prerouting,
            [Match::InInterface(name.clone())],
            Target::Return,
        );
    }
    let captured: Vec<Option<IpNet>> = match &capture.include_addresses {
        Addresses::All => vec![None],
        Addresses::These(ranges) => of_family(ranges, family).map(Some).collect(),
    };
    for range in captured {
        let destination = || range.map(Match::Destination);
        set.append(nat, chain, destination(), Target::Jump(Chain::IstioRedirect));
        for name in &capture.virtual_interfaces {
            let arriving = std::iter::once(Match::InInterface(name.clone())).chain(destination());
            set.insert(
                nat,
                Chain::Prerouting,
                arriving,
                Target::Jump(Chain::IstioRedirect),
            );
        }
    }
    if matches!(&capture.include_addresses, Addresses::These(ranges) if !ranges.is_empty()) {
        set.append(nat, chain, [], Target::Return);
    }
}

fn of_family(ranges: &[IpNet], family: Family) -> impl Iterator<Item = IpNet> {
    ranges.iter().copied().filter(move |range| family.owns(range))
}
