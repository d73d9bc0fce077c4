//! The routing rule and table that bring marked packets to the transparent listener (row 6c).

use crate::model::Family;

/// Routing for TPROXY: packets with the mark are delivered locally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The firewall mark.
    pub mark: u32,
    /// The number of the routing table.
    pub table: u32,
}

// === impl Routing ===

impl Routing {
    /// The arguments of the `ip` runs that set it up. `replace` makes the route idempotent; the rule
    /// has no such form and must be removed first.
    #[must_use]
    pub fn add(&self, family: Family) -> [Vec<String>; 2] {
        [self.rule(family, "add"), self.route(family, "replace")]
    }

    /// The arguments of the `ip` runs that take it away; each fails when there is nothing to take away.
    #[must_use]
    pub fn remove(&self, family: Family) -> [Vec<String>; 2] {
        [self.rule(family, "del"), self.route(family, "del")]
    }

    fn rule(&self, family: Family, verb: &str) -> Vec<String> {
        let (mark, table) = (self.mark.to_string(), self.table.to_string());
        let words = [
            family_flag(family),
            "rule",
            verb,
            "fwmark",
            &mark,
            "lookup",
            &table,
        ];
        words.map(str::to_owned).to_vec()
    }

    fn route(&self, family: Family, verb: &str) -> Vec<String> {
        let table = self.table.to_string();
        let words = [
            family_flag(family),
            "route",
            verb,
            "local",
            "default",
            "dev",
            "lo",
            "table",
            &table,
        ];
        words.map(str::to_owned).to_vec()
    }
}

fn family_flag(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    }
}

#[cfg(test)]
mod tests {
    use super::Routing;
    use crate::model::Family;

    #[test]
    fn marked_packets_are_routed_to_the_loopback() {
        let routing = Routing {
            mark: 1337,
            table: 133,
        };
        let [rule, route] = routing.add(Family::V4).map(|words| words.join(" "));
        assert_eq!(rule, "-4 rule add fwmark 1337 lookup 133");
        assert_eq!(route, "-4 route replace local default dev lo table 133");
        let [rule, route] = routing.remove(Family::V6).map(|words| words.join(" "));
        assert_eq!(rule, "-6 rule del fwmark 1337 lookup 133");
        assert_eq!(route, "-6 route del local default dev lo table 133");
    }
}
