//! From settings to the kernel: one transaction for each address family.

use std::io::Write as _;

use anyhow::Context as _;
use pilot_agent_iptables::{Capture, Existing, Family, Routing, RuleSet, Transaction, rule_set};

use crate::system::run;

/// How many equal routing rules are removed at most; earlier programs added one on every run.
const MAX_EQUAL_ROUTING_RULES: usize = 64;

/// Brings the rules of every family into the wanted state.
pub(crate) fn apply(capture: &Capture, families: &[Family]) -> anyhow::Result<()> {
    for family in families {
        apply_family(capture, *family)?;
    }
    Ok(())
}

/// Prints the rules in force, as `iptables-save` does (`IPT-10`).
pub(crate) fn print(families: &[Family]) -> anyhow::Result<()> {
    for family in families {
        let saved = run(family.save_program(), &[], "")?;
        std::io::stdout()
            .write_all(saved.as_bytes())
            .context("cannot print the rules")?;
    }
    Ok(())
}

fn apply_family(capture: &Capture, family: Family) -> anyhow::Result<()> {
    let saved = run(family.save_program(), &[], "")?;
    let interfaces = capture.virtual_interfaces.iter().map(String::as_str).collect();
    let existing = Existing::parse(&saved, &interfaces);
    let wanted = rule_set(capture, family);

    let routing = Routing {
        mark: capture.tproxy_mark,
        table: capture.tproxy_table,
    };
    let transparent = wanted.has_tproxy();
    if transparent || existing.has_tproxy() {
        remove_routing(routing, family)?;
    }
    if transparent {
        // Before the rules: a marked packet must not meet a table that is not there yet.
        for args in routing.add(family) {
            run("ip", &args, "")?;
        }
    }
    match restore(&existing, &wanted, family) {
        Err(error) if wanted.has_socket_match() => {
            // xt_socket is only a short cut (row 6c): do without it where the kernel lacks it.
            restore(&existing, &wanted.without_socket_match(), family).map_err(|_| error)?;
            eprintln!(
                "istio-iptables: the kernel has no socket match: every packet takes the way through TPROXY"
            );
            Ok(())
        }
        result => result,
    }
}

fn restore(existing: &Existing, wanted: &RuleSet, family: Family) -> anyhow::Result<()> {
    let transaction = Transaction::new(existing, wanted);
    if transaction.is_empty() {
        return Ok(());
    }
    let args = ["--noflush", "--wait"].map(str::to_owned);
    run(family.restore_program(), &args, &transaction.to_string())?;
    Ok(())
}

/// Removes the routing of an earlier run; there may be none, or several equal rules.
fn remove_routing(routing: Routing, family: Family) -> anyhow::Result<()> {
    // The only failure that matters is a missing `ip`; the runs below fail when nothing is left.
    run("ip", &["-V".to_owned()], "")?;
    let [rule, route] = routing.remove(family);
    for _ in 0..MAX_EQUAL_ROUTING_RULES {
        if run("ip", &rule, "").is_err() {
            break;
        }
    }
    let _ = run("ip", &route, "");
    Ok(())
}
