//! Applying, applying again, cleaning.

use std::path::Path;

use crate::namespace::{Namespace, succeeded};

/// The variables and the command line of a golden case.
fn read_case(path: &Path) -> (Vec<(String, String)>, String) {
    let text = std::fs::read_to_string(path.join("flags")).unwrap();
    let mut env = Vec::new();
    let mut line = String::new();
    for text in text.lines() {
        match text.split_once('=') {
            Some((name, value)) => env.push((name.to_owned(), value.to_owned())),
            None => line = text.to_owned(),
        }
    }
    (env, line)
}

#[test]
fn every_golden_case_applies_twice_with_equal_rules_and_cleans_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let cases: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let (env, line) = read_case(&case);
        let namespace = Namespace::new();
        namespace.sh("ip addr add 10.5.0.1/32 dev lo; ip addr add 2001:db8::1/128 dev lo");
        // Listing a table creates its built-in chains, which then stay.
        let before = namespace.state();
        let printed = succeeded(&namespace.iptables_env(&env, &line));
        let once = namespace.state();
        if line.contains("NONE") {
            assert_eq!(once, before, "{name}");
        } else {
            assert!(
                printed.contains(":ISTIO_OUTPUT"),
                "{name} prints no rules: {printed}"
            );
            assert!(
                once.contains("-d ::1/128 -j RETURN"),
                "{name} has no rules for IPv6: {once}"
            );
        }
        succeeded(&namespace.iptables_env(&env, &line));
        assert_eq!(namespace.state(), once, "{name} applied twice");
        let interfaces = line
            .split_once(" -k ")
            .map_or(String::new(), |(_, names)| format!("-k {names}"));
        succeeded(&namespace.iptables_env(&env, &format!("clean {interfaces}")));
        assert_eq!(namespace.state(), before, "{name} cleaned");
    }
}

#[test]
fn ipt_22_the_kernel_holds_exactly_five_rules() {
    let namespace = Namespace::new();
    succeeded(&namespace.iptables("-p 15001 -z 15001 -u 1337 -m REDIRECT -i * -x '' -b 9080 -d 15020"));
    let chain = namespace.sh("iptables -t nat -S ISTIO_OUTPUT");
    let want = "-N ISTIO_OUTPUT\n\
                -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j ISTIO_REDIRECT\n\
                -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n\
                -A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN\n\
                -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n\
                -A ISTIO_OUTPUT -j ISTIO_REDIRECT\n";
    assert_eq!(chain, want);
}

#[test]
fn other_flags_replace_the_rules_of_the_run_before() {
    let namespace = Namespace::new();
    succeeded(&namespace.iptables("-u 1337 -i * -b 80"));
    let want = namespace.state();
    succeeded(&namespace.iptables("-u 1 -m TPROXY -i 10.0.0.0/8 -b * -k net1,net2"));
    assert_ne!(namespace.state(), want);
    assert!(namespace.sh("ip rule").contains("fwmark 0x539 lookup 133"));
    succeeded(&namespace.iptables("-u 1337 -i * -b 80"));
    let got = namespace.sh("iptables -t nat -S; ip rule; ip route show table 133 2>/dev/null || true");
    assert!(!got.contains("fwmark") && !got.contains("local default"), "{got}");
    let nat = |state: &str| -> Vec<String> {
        state
            .lines()
            .filter(|line| line.starts_with("-A"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(nat(&namespace.state()), nat(&want));
}

#[test]
fn rules_of_others_are_left_alone() {
    let namespace = Namespace::new();
    namespace.sh(
        "iptables -t nat -N OTHERS; iptables -t nat -A OUTPUT -p tcp -j OTHERS; \
         iptables -t nat -A PREROUTING -i net9 -j RETURN; iptables -t mangle -A OUTPUT -j MARK --set-mark 5; \
         iptables -t nat -A OUTPUT -m comment --comment 'see -j ISTIO_OUTPUT' -j OTHERS; \
         iptables -A INPUT -p udp --dport 7 -j DROP; ip rule add fwmark 5 lookup 99",
    );
    let before = namespace.state();
    succeeded(&namespace.iptables("-u 1337 -m TPROXY -i * -b * -k net1"));
    succeeded(&namespace.iptables("clean"));
    assert_eq!(namespace.state(), before);
    assert!(
        namespace
            .sh("iptables -S")
            .contains("-A INPUT -p udp -m udp --dport 7 -j DROP")
    );
}

#[test]
fn a_hundred_runs_leave_the_rules_of_one() {
    let namespace = Namespace::new();
    succeeded(&namespace.iptables("-u 1337 -i * -b *"));
    let once = namespace.state();
    for _ in 0..99 {
        succeeded(&namespace.iptables("-u 1337 -i * -b *"));
    }
    assert_eq!(namespace.state(), once);
}

#[test]
fn a_pod_without_ipv6_gets_no_ipv6_rules() {
    let namespace = Namespace::new();
    // An interface with nothing but a link-local address.
    namespace.sh("ip addr add 10.5.0.1/32 dev lo; ip addr add fe80::1/64 dev lo");
    succeeded(&namespace.iptables("-u 1337 -i * -b *"));
    assert!(!namespace.sh("ip6tables-save").contains("ISTIO"));
}

#[test]
fn a_pod_without_ipv4_gets_no_ipv4_rules() {
    let namespace = Namespace::new();
    namespace.sh("ip addr add 2001:db8::1/128 dev lo");
    succeeded(&namespace.iptables("-u 1337 -i * -b *"));
    assert!(!namespace.sh("iptables-save").contains("ISTIO"));
    assert!(
        namespace
            .sh("ip6tables-save")
            .contains("-A ISTIO_OUTPUT -j ISTIO_REDIRECT")
    );
}
