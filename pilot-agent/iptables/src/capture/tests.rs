//! Flags, their fallbacks and what is refused.

use std::collections::BTreeMap;

use super::{Addresses, Capture, Flags, Mode, Ports};

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn resolve(flags: &Flags, variables: &[(&str, &str)]) -> Result<Capture, String> {
    let uid_of = |name: &str| (name == "istio-proxy").then_some(999);
    Capture::resolve(flags, &env(variables), uid_of).map_err(|error| error.to_string())
}

#[test]
fn without_flags_the_defaults_hold() {
    let capture = resolve(&Flags::default(), &[]).unwrap();
    let want = Capture {
        outbound_port: 15001,
        inbound_port: 15006,
        uids: vec!["999".into(), "0".into()],
        gids: vec!["999".into(), "0".into()],
        mode: Mode::Redirect,
        include_addresses: Addresses::These(vec![]),
        exclude_addresses: vec![],
        include_ports: Ports::These(vec![]),
        exclude_ports: vec![15020],
        virtual_interfaces: vec![],
        capture_own_address: true,
        tproxy_mark: 1337,
        tproxy_table: 133,
    };
    assert_eq!(capture, want);
}

#[test]
fn every_variable_stands_in_for_its_absent_flag() {
    let variables = [
        ("ENVOY_PORT", "1"),
        ("INBOUND_CAPTURE_PORT", "2"),
        ("ENVOY_USER", "nobody-knows"),
        ("ISTIO_INBOUND_INTERCEPTION_MODE", "TPROXY"),
        ("ISTIO_SERVICE_CIDR", "10.1.2.3/8"),
        ("ISTIO_SERVICE_EXCLUDE_CIDR", "10.9.0.0/16"),
        ("ISTIO_INBOUND_PORTS", "*"),
        ("ISTIO_LOCAL_EXCLUDE_PORTS", "7,8"),
        ("DISABLE_REDIRECTION_ON_LOCAL_LOOPBACK", "1"),
        ("ISTIO_INBOUND_TPROXY_MARK", "3"),
        ("ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "4"),
    ];
    let capture = resolve(&Flags::default(), &variables).unwrap();
    let want = Capture {
        outbound_port: 1,
        inbound_port: 2,
        uids: vec!["1337".into(), "0".into()],
        gids: vec!["1337".into(), "0".into()],
        mode: Mode::Tproxy,
        include_addresses: Addresses::These(vec!["10.0.0.0/8".parse().unwrap()]),
        exclude_addresses: vec!["10.9.0.0/16".parse().unwrap()],
        include_ports: Ports::All,
        exclude_ports: vec![7, 8],
        virtual_interfaces: vec![],
        capture_own_address: false,
        tproxy_mark: 3,
        tproxy_table: 4,
    };
    assert_eq!(capture, want);
}

#[test]
fn an_empty_flag_wins_over_its_variable() {
    let flags = Flags {
        include_ports: some(""),
        exclude_ports: some(""),
        include_addresses: some(""),
        ..Flags::default()
    };
    let variables = [
        ("ISTIO_INBOUND_PORTS", "*"),
        ("ISTIO_SERVICE_CIDR", "*"),
        ("ISTIO_LOCAL_EXCLUDE_PORTS", "9"),
    ];
    let capture = resolve(&flags, &variables).unwrap();
    assert_eq!(capture.include_ports, Ports::These(vec![]));
    assert_eq!(capture.include_addresses, Addresses::These(vec![]));
    assert!(capture.exclude_ports.is_empty());
}

#[test]
fn groups_follow_the_users_unless_given() {
    let flags = Flags {
        uids: some("1337,istio-proxy"),
        ..Flags::default()
    };
    let capture = resolve(&flags, &[]).unwrap();
    assert_eq!(capture.gids, ["1337", "istio-proxy"]);
    let flags = Flags {
        gids: some("12"),
        ..flags
    };
    assert_eq!(resolve(&flags, &[]).unwrap().gids, ["12"]);
}

#[test]
fn what_cannot_be_used_is_named() {
    let refused = |set: fn(&mut Flags, Option<String>), value: &str| {
        let mut flags = Flags::default();
        set(&mut flags, some(value));
        resolve(&flags, &[]).unwrap_err()
    };
    let cases = [
        (
            refused(|f, v| f.outbound_port = v, "0"),
            r#"-p: "0" is not a port (1 to 65535)"#,
        ),
        (
            refused(|f, v| f.inbound_port = v, "65536"),
            r#"-z: "65536" is not a port (1 to 65535)"#,
        ),
        (
            refused(|f, v| f.uids = v, "1337, -j"),
            r#"-u: "-j" is neither a number nor a name"#,
        ),
        (
            refused(|f, v| f.gids = v, "a b"),
            r#"-g: "a b" is neither a number nor a name"#,
        ),
        (
            refused(|f, v| f.mode = v, "redirect"),
            r#"-m: "redirect" is none of REDIRECT, TPROXY, NONE"#,
        ),
        (
            refused(|f, v| f.include_addresses = v, "10.0.0.0/33"),
            r#"-i: "10.0.0.0/33" is not an address range such as 10.0.0.0/8"#,
        ),
        (
            refused(|f, v| f.exclude_addresses = v, "10.0.0.1,*"),
            r#"-x: "*" must stand alone"#,
        ),
        (
            refused(|f, v| f.include_ports = v, "80,*"),
            r#"-b: "*" must stand alone"#,
        ),
        (
            refused(|f, v| f.exclude_ports = v, "http"),
            r#"-d: "http" is not a port (1 to 65535)"#,
        ),
        (
            refused(|f, v| f.virtual_interfaces = v, "vnet0\n-X"),
            r#"-k: "vnet0\n-X" is not the name of an interface"#,
        ),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
    let error = resolve(&Flags::default(), &[("ISTIO_INBOUND_TPROXY_MARK", "x")]).unwrap_err();
    assert_eq!(error, r#"ISTIO_INBOUND_TPROXY_MARK: "x" is not a number above 0"#);
}
