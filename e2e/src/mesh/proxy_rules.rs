//! Service addresses for everybody who is not behind an Envoy of the mesh: kube-proxy's part (pure).
//!
//! The rules live in the node, which routes between all pods, so that one set serves everybody and connection
//! tracking sees both directions.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::ipam::SERVICE_RANGE;

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServicePortRule {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// `tcp` or `udp`.
    pub(crate) protocol: &'static str,
    /// Where connections go; with none they are refused.
    pub(crate) targets: Vec<(Ipv4Addr, u16)>,
}

/// The input of `iptables-restore` that makes exactly these rules, in one transaction.
pub(crate) fn restore_text(rules: &[ServicePortRule]) -> String {
    let mut nat = String::new();
    let mut hairpins: Vec<Ipv4Addr> = Vec::new();
    for ServicePortRule {
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
            line(&mut nat, &format!("-A PREROUTING {matching}{share} {jump}"));
            hairpins.push(*target);
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
    let refuse = format!("-A FORWARD -d {SERVICE_RANGE} -j REJECT");
    format!("*nat\n{nat}COMMIT\n*filter\n{refuse}\nCOMMIT\n")
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

    fn rule(targets: Vec<(Ipv4Addr, u16)>) -> ServicePortRule {
        ServicePortRule {
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
        let want = "*nat\nCOMMIT\n*filter\n-A FORWARD -d 10.96.0.0/16 -j REJECT\nCOMMIT\n";
        assert_eq!(restore_text(&[rule(Vec::new())]), want);
        assert_eq!(restore_text(&[]), want);
    }
}
