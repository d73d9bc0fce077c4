//! Service addresses for everybody who is not behind an Envoy of the mesh, and ports of the node that belong to pods:
//! kube-proxy's part, and that of the network (pure).
//!
//! The rules live in the node, which routes between all pods, so that one set serves everybody and connection
//! tracking sees both directions.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::ipam::{NODE, SERVICE_RANGE};

/// Holds the rules of all ports.
const CHAIN: &str = "SERVICES";

/// A port of a service or of the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ForwardRule {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Where connections go; with none they are refused.
    pub(crate) targets: Vec<(Ipv4Addr, u16)>,
}

/// The input of `iptables-restore` that makes exactly these rules, in one transaction.
pub(crate) fn restore_text(rules: &[ForwardRule]) -> String {
    // Connections of pods come in at their links, those of the node and of pods in its network begin here.
    let mut nat = format!(":{CHAIN} - [0:0]\n-A PREROUTING -j {CHAIN}\n-A OUTPUT -j {CHAIN}\n");
    let mut hairpins: Vec<Ipv4Addr> = Vec::new();
    for ForwardRule {
        address,
        port,
        protocol,
        targets,
    } in rules
    {
        let matching = format!("-d {address}/32 -p {protocol} --dport {port}");
        for (index, (target, target_port)) in targets.iter().enumerate() {
            // Each rule takes its share of what the rules before it have left over.
            let share = match targets.len() - index {
                1 => String::new(),
                left => format!(
                    " -m statistic --mode random --probability {:.8}",
                    1.0 / left as f64
                ),
            };
            let jump = format!("-j DNAT --to-destination {target}:{target_port}");
            line(&mut nat, &format!("-A {CHAIN} {matching}{share} {jump}"));
            // The node's own address is the source already where it reaches itself.
            if *target != NODE {
                hairpins.push(*target);
            }
        }
    }
    hairpins.sort_unstable();
    hairpins.dedup();
    for pod in hairpins {
        // A pod that reaches itself through a service must see an address that is not its own.
        line(
            &mut nat,
            &format!("-A POSTROUTING -s {pod}/32 -d {pod}/32 -j MASQUERADE"),
        );
    }
    // What still has a service's address here has nowhere to go: refused, so that nobody waits.
    let refuse = [
        format!("-A FORWARD -d {SERVICE_RANGE} -j REJECT\n"),
        // A connection that begins here hears of nothing but a reset: the socket is busy when another message comes.
        format!("-A OUTPUT -d {SERVICE_RANGE} -p tcp -j REJECT --reject-with tcp-reset\n"),
        format!("-A OUTPUT -d {SERVICE_RANGE} -j REJECT\n"),
    ];
    format!("*nat\n{nat}COMMIT\n*filter\n{}COMMIT\n", refuse.concat())
}

fn line(text: &mut String, line: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 3);
    const C: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 4);

    fn rule(targets: Vec<(Ipv4Addr, u16)>) -> ForwardRule {
        ForwardRule {
            address: Ipv4Addr::new(10, 96, 0, 1),
            port: 80,
            protocol: "tcp",
            targets,
        }
    }

    #[test]
    fn every_target_gets_the_same_share() {
        let text = restore_text(&[rule(vec![(A, 3000), (B, 3000), (C, 3000)])]);
        let shares: Vec<&str> = text
            .lines()
            .filter(|l| l.contains("DNAT"))
            .map(|l| l.split("--probability ").nth(1).unwrap_or("rest"))
            .collect();
        assert!(shares[0].starts_with("0.33333333 "), "{text}");
        assert!(shares[1].starts_with("0.50000000 "), "{text}");
        assert_eq!(shares[2], "rest");
        assert_eq!(text.matches("MASQUERADE").count(), 3);
    }

    #[test]
    fn without_targets_connections_are_refused() {
        let want = "*nat\n:SERVICES - [0:0]\n-A PREROUTING -j SERVICES\n-A OUTPUT -j SERVICES\nCOMMIT\n\
                    *filter\n-A FORWARD -d 10.96.0.0/16 -j REJECT\n\
                    -A OUTPUT -d 10.96.0.0/16 -p tcp -j REJECT --reject-with tcp-reset\n\
                    -A OUTPUT -d 10.96.0.0/16 -j REJECT\nCOMMIT\n";
        assert_eq!(restore_text(&[rule(Vec::new())]), want);
        assert_eq!(restore_text(&[]), want);
    }
}
