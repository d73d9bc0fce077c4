//! Golden rule sets, and the promises of the specification about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::rule_set;
use crate::{Capture, Chain, Command, Existing, Family, Routing, Rule, Table, Transaction};

fn capture(env: &BTreeMap<String, String>, line: &str) -> Capture {
    let words = line.split_whitespace().map(|word| {
        if word == "''" {
            String::new()
        } else {
            word.to_owned()
        }
    });
    match Command::parse(words).unwrap() {
        Command::Apply(flags) => Capture::resolve(&flags, env, |_| None).unwrap(),
        other => panic!("{line} asks for {other:?}"),
    }
}

fn parse_case(text: &str) -> Capture {
    let mut env = BTreeMap::new();
    let mut line = "";
    for text in text
        .lines()
        .filter(|text| !text.starts_with('#') && !text.is_empty())
    {
        match text.split_once('=') {
            Some((name, value)) => drop(env.insert(name.to_owned(), value.to_owned())),
            None => line = text,
        }
    }
    capture(&env, line)
}

fn render(capture: &Capture) -> String {
    let mut text = String::new();
    for family in [Family::V4, Family::V6] {
        if rule_set(capture, family).has_tproxy() {
            let routing = Routing {
                mark: capture.tproxy_mark,
                table: capture.tproxy_table,
            };
            for args in routing.add(family) {
                writeln!(text, "# ip {}", args.join(" ")).unwrap();
            }
        }
        let transaction = Transaction::new(&Existing::default(), &rule_set(capture, family));
        write!(text, "# {} --noflush\n{transaction}", family.restore_program()).unwrap();
    }
    text
}

/// Compares every `testdata/<case>/rules.txt` with what `testdata/<case>/flags` gives. With
/// `UPDATE_GOLDEN=1` the files are written instead.
#[test]
fn golden_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    assert!(cases.len() >= 15, "only {} cases found", cases.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = String::new();
    for case in cases {
        let flags = std::fs::read_to_string(case.join("flags")).unwrap();
        let got = render(&parse_case(&flags));
        let golden = case.join("rules.txt");
        if update {
            std::fs::write(&golden, got).unwrap();
            continue;
        }
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        if got != want {
            write!(
                wrong,
                "\n{}: {flags}--- want\n{want}--- got\n{got}",
                case.display()
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn output_chain(capture: &Capture) -> Vec<String> {
    let of_chain = |rule: &&Rule| rule.table == Table::Nat && rule.chain == Chain::IstioOutput;
    rule_set(capture, Family::V4)
        .rules
        .iter()
        .filter(of_chain)
        .map(ToString::to_string)
        .collect()
}

#[test]
fn ipt_22_default_output_chain_has_exactly_five_rules() {
    let capture = capture(&BTreeMap::new(), "-p 15001 -z 15001 -u 1337 -g 1337 -i * -b 9080");
    let want = [
        "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -j ISTIO_REDIRECT",
        "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN",
        "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    ];
    assert_eq!(output_chain(&capture), want);
}

#[test]
fn ipt_22_with_two_ports_the_own_address_leads_to_the_inbound_one() {
    let capture = capture(&BTreeMap::new(), "-u 1337 -i * -b 9080");
    let chain = output_chain(&capture);
    assert_eq!(chain.len(), 5);
    assert_eq!(
        chain[0],
        "-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -j ISTIO_IN_REDIRECT"
    );
}

#[test]
fn ipt_30_the_own_address_comes_before_the_owners() {
    for line in [
        "-u 1337",
        "-u 1,2,3 -g 4",
        "-m TPROXY -b * -i 10.0.0.0/8 -x 10.1.0.0/16",
        "",
    ] {
        let chain = output_chain(&capture(&BTreeMap::new(), line));
        assert!(chain[0].contains("-o lo ! -d 127.0.0.1/32"), "{line}: {chain:?}");
        assert!(chain[1].contains("--uid-owner"), "{line}: {chain:?}");
    }
}

#[test]
fn every_rule_belongs_to_a_built_in_chain_or_one_that_the_set_creates() {
    for line in [
        "-b * -i *",
        "-m TPROXY -b 1,2 -k a,b -i 10.0.0.0/8",
        "-m NONE",
        "",
    ] {
        let capture = capture(&BTreeMap::new(), line);
        for family in [Family::V4, Family::V6] {
            let set = rule_set(&capture, family);
            for rule in &set.rules {
                let built_in = matches!(rule.chain, Chain::Prerouting | Chain::Output);
                assert!(
                    built_in || set.chains.contains(&(rule.table, rule.chain)),
                    "{line}: {rule}"
                );
            }
            for (table, chain) in &set.chains {
                assert!(
                    table.own_chains().contains(chain),
                    "{line}: {chain:?} would never be removed"
                );
            }
        }
    }
}

#[test]
fn ipt_21_what_an_earlier_run_left_is_removed_first() {
    let save = "*nat\n:ISTIO_OUTPUT - [0:0]\n:ISTIO_INBOUND - [0:0]\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n\
                -A OUTPUT -p tcp -j ISTIO_OUTPUT\nCOMMIT\n";
    let existing = Existing::parse(save, &BTreeSet::new());
    let wanted = rule_set(&capture(&BTreeMap::new(), "-m NONE"), Family::V4);
    let want = "*nat\n-D PREROUTING -p tcp -j ISTIO_INBOUND\n-D OUTPUT -p tcp -j ISTIO_OUTPUT\n\
                -F ISTIO_OUTPUT\n-F ISTIO_INBOUND\n-X ISTIO_OUTPUT\n-X ISTIO_INBOUND\nCOMMIT\n";
    assert_eq!(Transaction::new(&existing, &wanted).to_string(), want);
}

#[test]
fn the_socket_match_can_be_left_out() {
    let set = rule_set(&capture(&BTreeMap::new(), "-m TPROXY -b 80,81"), Family::V4);
    assert!(set.has_socket_match());
    let without = set.without_socket_match();
    assert!(!without.has_socket_match());
    assert_eq!(without.rules.len() + 2, set.rules.len());
}
