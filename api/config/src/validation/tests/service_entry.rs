use super::*;

const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

#[test]
fn v7_hosts_and_addresses() {
    let entry = |more: &str| problems("ServiceEntry", &format!("{more}\n{HTTP}"));
    for valid in [
        "hosts: [api.weather.com, '*.weather.com']",
        "hosts: [a.com]\naddresses: [10.0.0.1, 10.1.0.0/16, '::1']",
        "hosts: [a.com]\naddresses: [10.0.0.1]\nresolution: DNS",
        "hosts: [a.com]\nexportTo: ['*']",
    ] {
        assert_eq!(entry(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        (
            "{}".trim_matches(['{', '}']),
            "hosts: a service entry needs at least one host",
        ),
        (
            "hosts: ['*']",
            "hosts[0]: \"*\" stands for every host and is not allowed",
        ),
        ("hosts: [a_b]", "hosts[0]: \"a_b\" is not a domain name"),
        (
            "hosts: [a]\naddresses: [b]",
            "addresses[0]: \"b\" is neither an IP address nor a CIDR block",
        ),
        (
            "hosts: [a]\naddresses: [10.0.0.0/8]\nresolution: DNS",
            "addresses[0]: a CIDR block needs resolution NONE or STATIC",
        ),
        (
            "hosts: [a]\nexportTo: [a, b]",
            "exportTo: only one entry is supported, \".\" or \"*\"",
        ),
    ] {
        assert_eq!(entry(invalid), [problem], "{invalid}");
    }
}

#[test]
fn v7_ports() {
    check_table(
        "ServiceEntry",
        &[
            (
                "hosts: [a]\nports: [{number: 1, name: a, protocol: TCP}, {number: 2, name: b, protocol: tls}]",
                &[],
            ),
            (
                "hosts: [a]\nports: [{number: 1, name: a, protocol: TCP}, {number: 1, name: a, protocol: TCP}]",
                &[
                    "ports[1].name: another port is named \"a\"",
                    "ports[1].number: another port has number 1",
                ],
            ),
            (
                "hosts: [a]\nports: [{}]",
                &[
                    "ports[0].name: \"\" is not a DNS label",
                    "ports[0].number: 0 is not a port (1 to 65535)",
                    "ports[0].protocol: missing",
                ],
            ),
        ],
    );
}

#[test]
fn v7_several_hosts_must_be_told_apart() {
    let entry = |protocol: &str, resolution: &str| {
        problems(
            "ServiceEntry",
            &format!(
                "hosts: [a.com, b.com]\nresolution: {resolution}\nports: [{{number: 1, name: a, protocol: {protocol}}}]"
            ),
        )
    };
    for (protocol, resolution) in [("TCP", "NONE"), ("HTTP", "DNS"), ("TLS", "DNS")] {
        assert_eq!(entry(protocol, resolution), [""; 0], "{protocol} {resolution}");
    }
    assert_eq!(
        entry("TCP", "DNS"),
        [
            "ports[0].protocol: several hosts need an HTTP or TLS protocol or resolution NONE: nothing else tells them apart"
        ]
    );
}

/// `R-SE-3`.
#[test]
fn v7_endpoints_by_resolution() {
    let entry = |more: &str| problems("ServiceEntry", &format!("hosts: [a.com]\n{HTTP}\n{more}"));
    for valid in [
        "resolution: NONE",
        "resolution: STATIC\nendpoints: [{address: 10.0.0.1, ports: {http: 8080}, labels: {a: b}}]",
        "resolution: STATIC\nendpoints: [{address: 'unix:///a'}]",
        "resolution: DNS",
        "resolution: DNS\nendpoints: [{address: b.com}, {address: 10.0.0.1}]",
    ] {
        assert_eq!(entry(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        (
            "resolution: NONE\nendpoints: [{address: 10.0.0.1}]",
            "endpoints: resolution NONE takes none",
        ),
        (
            "resolution: STATIC",
            "endpoints: resolution STATIC needs at least one",
        ),
        (
            "resolution: STATIC\nendpoints: [{address: b.com}]",
            "endpoints[0].address: \"b.com\" is not an IP address",
        ),
        (
            "resolution: STATIC\nendpoints: [{address: 10.0.0.1, ports: {x: 1}}]",
            "endpoints[0].ports[x]: the service entry has no port of this name",
        ),
        (
            "resolution: STATIC\nendpoints: [{address: 10.0.0.1, ports: {http: 0}}]",
            "endpoints[0].ports[http]: 0 is not a port (1 to 65535)",
        ),
        (
            "resolution: STATIC\nendpoints: [{address: 'unix:///a', ports: {http: 1}}]",
            "endpoints[0].ports: a Unix socket has no ports",
        ),
        (
            "resolution: STATIC\nendpoints: [{address: 'unix://a'}]",
            "endpoints[0].address: \"a\" is not the path of a Unix socket",
        ),
        (
            "resolution: DNS\nendpoints: [{address: '*.b.com'}]",
            "endpoints[0].address: \"*.b.com\" is not a domain name",
        ),
        (
            "resolution: DNS\nendpoints: [{address: b.com, labels: {a: b c}}]",
            "endpoints[0].labels[a]: \"b c\" is not a label",
        ),
    ] {
        assert_eq!(entry(invalid), [problem], "{invalid}");
    }
    assert_eq!(
        problems(
            "ServiceEntry",
            &format!("hosts: ['*.a.com']\nresolution: DNS\n{HTTP}")
        ),
        ["hosts[0]: resolution DNS without endpoints resolves the hosts: no wildcards (R-SE-3)"]
    );
    assert_eq!(
        problems(
            "ServiceEntry",
            "
hosts: [a]
resolution: STATIC
ports: [{number: 1, name: a, protocol: TCP}, {number: 2, name: b, protocol: TCP}]
endpoints: [{address: 'unix:///a'}]
"
        ),
        ["endpoints[0].address: a Unix socket needs a service entry with exactly one port"]
    );
}
