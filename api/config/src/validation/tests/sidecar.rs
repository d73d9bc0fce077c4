use super::*;

const PORT: &str = "port: {number: 3002, protocol: HTTP, name: http}";

fn ingress(listener: &str) -> Vec<String> {
    problems("Sidecar", &format!("ingress: [{{{listener}}}]"))
}

fn egress(listener: &str) -> Vec<String> {
    problems("Sidecar", &format!("egress: [{{{listener}}}]"))
}

#[test]
fn v5_listeners() {
    check_table(
        "Sidecar",
        &[
            // egress is optional.
            ("{}", &[]),
            ("workloadSelector: {labels: {app: forecast}}", &[]),
            (
                "workloadSelector: {labels: {app: a b}}",
                &["workloadSelector.labels[app]: \"a b\" is not a label"],
            ),
            // the listener without port may come first.
            (
                "egress: [{hosts: [istio-system/*]}, {port: {number: 3002, protocol: HTTP}, hosts: [weather/*]}]",
                &[],
            ),
            (
                "egress: [{hosts: [istio-system/*]}, {hosts: [weather/*]}]",
                &["egress[1].port: only one listener may have no port"],
            ),
            (
                "
egress:
- {port: {number: 80, protocol: HTTP}, hosts: [./*]}
- {port: {number: 80, protocol: HTTP}, bind: 127.0.0.1, hosts: [./*]}
",
                &["egress[1].port.number: another listener has port 80"],
            ),
            (
                "
ingress:
- {port: {protocol: HTTP}, bind: 'unix:///a', defaultEndpoint: ':1'}
- {port: {protocol: HTTP}, bind: 'unix:///b', defaultEndpoint: ':1'}
- {port: {protocol: HTTP}, bind: 'unix:///a', defaultEndpoint: ':1'}
",
                &["ingress[2].bind: another listener has \"unix:///a\""],
            ),
        ],
    );
}

#[test]
fn v5_ports_and_binds() {
    let endpoint = "defaultEndpoint: 127.0.0.1:80";
    for valid in [
        format!("{PORT}, {endpoint}"),
        format!("{PORT}, bind: 10.0.0.1, captureMode: IPTABLES, {endpoint}"),
        format!("port: {{protocol: TCP}}, bind: 'unix://@a', captureMode: NONE, {endpoint}"),
    ] {
        assert_eq!(ingress(&valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("bind: a", "port: missing"),
        (
            "port: {number: 80, protocol: HTTP, name: a_b}",
            "port.name: \"a_b\" is not a DNS label",
        ),
        ("port: {number: 80}", "port.protocol: missing"),
        (
            "port: {number: 70000, protocol: HTTP}",
            "port.number: 70000 is not a port (1 to 65535)",
        ),
        (
            "port: {number: 80, protocol: HTTP}, bind: a",
            "bind: \"a\" is not an IP address",
        ),
        (
            "port: {protocol: HTTP}",
            "bind: port 0 needs a unix:// path as bind",
        ),
        (
            "port: {protocol: HTTP}, bind: 'unix://a'",
            "bind: \"a\" is not the path of a Unix socket",
        ),
        (
            "port: {protocol: HTTP}, bind: 'unix:///a', captureMode: IPTABLES",
            "captureMode: a Unix socket cannot be captured by iptables",
        ),
    ] {
        assert_eq!(
            ingress(&format!("{invalid}, {endpoint}")),
            [format!("ingress[0].{problem}")],
            "{invalid}"
        );
    }
    assert_eq!(
        egress("hosts: ['*/*'], bind: a"),
        ["egress[0].bind: \"a\" is not an IP address"]
    );
}

#[test]
fn v5_default_endpoints() {
    for valid in ["127.0.0.1:3012", ":1", "unix:///a", "unix://@a"] {
        assert_eq!(
            ingress(&format!("{PORT}, defaultEndpoint: '{valid}'")),
            [""; 0],
            "{valid}"
        );
    }
    let shape = |text: &str| format!("{text:?} is neither 127.0.0.1:PORT, :PORT nor unix://PATH");
    for (invalid, reason) in [
        ("", "missing".to_owned()),
        ("10.0.0.1:80", shape("10.0.0.1:80")),
        ("127.0.0.1", shape("127.0.0.1")),
        ("127.0.0.1:a", shape("127.0.0.1:a")),
        (":0", "0 is not a port (1 to 65535)".to_owned()),
        ("unix://a", "\"a\" is not the path of a Unix socket".to_owned()),
    ] {
        let expected = [format!("ingress[0].defaultEndpoint: {reason}")];
        assert_eq!(
            ingress(&format!("{PORT}, defaultEndpoint: '{invalid}'")),
            expected,
            "{invalid}"
        );
    }
}

#[test]
fn v5_egress_hosts() {
    for valid in [
        "'*/*'",
        "./*",
        "~/*",
        "weather/*.weather.svc.cluster.local",
        "weather/a.com",
    ] {
        assert_eq!(egress(&format!("hosts: [{valid}]")), [""; 0], "{valid}");
    }
    assert_eq!(
        egress("hosts: []"),
        ["egress[0].hosts: a listener needs at least one host"]
    );
    for (invalid, reason) in [
        ("a.com", "\"a.com\" is not of the form namespace/name"),
        (
            "weather/forecast",
            "short names such as \"forecast\" are not allowed",
        ),
        ("a_b/*", "\"a_b\" is not a DNS label"),
        ("/*", "\"\" is not a DNS label"),
    ] {
        assert_eq!(
            egress(&format!("hosts: [{invalid}]")),
            [format!("egress[0].hosts[0]: {reason}")],
            "{invalid}"
        );
    }
}

#[test]
fn v5_a_selector_has_labels() {
    for selector in ["{}", "{labels: {}}"] {
        assert_eq!(
            problems("Sidecar", &format!("workloadSelector: {selector}")),
            [
                "workloadSelector.labels: a selector needs labels; without it a sidecar is for the whole namespace"
            ]
        );
    }
    assert_eq!(
        problems("Sidecar", "workloadSelector: {labels: {app: web}}"),
        [""; 0]
    );
}

/// `A-16`: without `egress` everything stays visible.
#[test]
fn v5_a_16_egress_may_be_absent() {
    assert_eq!(problems("Sidecar", "{}"), [""; 0]);
}

/// `A-14`: the listener without port need not be the last one, but there is only one.
#[test]
fn v5_a_14_the_listener_without_port_stands_anywhere() {
    let with_port = "{port: {number: 80, protocol: HTTP, name: http}, hosts: ['./*']}";
    let without = "{hosts: ['*/*']}";
    assert_eq!(
        problems("Sidecar", &format!("egress: [{without}, {with_port}]")),
        [""; 0]
    );
    assert_eq!(
        problems("Sidecar", &format!("egress: [{without}, {with_port}, {without}]")),
        ["egress[2].port: only one listener may have no port"]
    );
}
