use super::*;

const TO_A: &str = "route: [{destination: {host: a}}]";

fn service(more: &str) -> Vec<String> {
    problems("VirtualService", &format!("hosts: [a]\n{more}"))
}

/// The problems of an HTTP route to `a` with these fields, relative to the route.
fn http(fields: &str) -> Vec<String> {
    problems("VirtualService", &format!("hosts: [a]\nhttp: [{{{fields}}}]"))
        .into_iter()
        .map(|problem| {
            problem
                .strip_prefix("http[0]")
                .map(str::to_owned)
                .unwrap_or(problem)
        })
        .map(|problem| problem.trim_start_matches('.').to_owned())
        .collect()
}

fn route(fields: &str) -> Vec<String> {
    http(&format!("{TO_A}, {fields}"))
}

#[test]
fn v6_gateways_and_export_to() {
    let more = |more: &str| service(&format!("http: [{{{TO_A}}}]\n{more}"));
    for valid in [
        "gateways: [mesh]",
        "gateways: [weather-gateway, weather/gateway, ./gateway, gateway.weather.svc.cluster.local]",
        "exportTo: [.]",
    ] {
        assert_eq!(more(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        // 1.1 stopped at the first entry of the legacy form.
        (
            "gateways: [mesh, a_b]",
            "gateways[1]: \"a_b\" is not a domain name",
        ),
        ("gateways: [a/b/c]", "gateways[0]: \"b/c\" is not a DNS label"),
        ("gateways: ['*/a']", "gateways[0]: \"*\" is not a DNS label"),
        (
            "exportTo: [weather]",
            "exportTo: \"weather\" is neither \".\" nor \"*\"",
        ),
    ] {
        assert_eq!(more(invalid), [problem], "{invalid}");
    }
}

#[test]
fn v6_hosts() {
    let hosts = |hosts: &str, gateways: &str| {
        problems(
            "VirtualService",
            &format!("hosts: [{hosts}]\ngateways: [{gateways}]\nhttp: [{{{TO_A}}}]"),
        )
    };
    for (valid, gateways) in [
        ("a, b.com, '*.c.com'", ""),
        ("10.0.0.1", ""),
        ("'::1'", ""),
        ("'*'", "g"),
        ("foo.com, '*.foo.com'", ""),
    ] {
        assert_eq!(hosts(valid, gateways), [""; 0], "{valid}");
    }
    for (invalid, gateways, problem) in [
        ("", "", "hosts: a virtual service needs at least one host"),
        ("'*'", "", "hosts[0]: \"*\" needs gateways without the word mesh"),
        (
            "'*'",
            "g, mesh",
            "hosts[0]: \"*\" needs gateways without the word mesh",
        ),
        ("a_b", "", "hosts[0]: \"a_b\" is not a domain name"),
        ("'*.foo.com', '*.com'", "", "hosts[1]: overlaps with *.foo.com"),
        ("a, a", "", "hosts[1]: overlaps with a"),
    ] {
        assert_eq!(hosts(invalid, gateways), [problem], "{invalid}");
    }
    assert_eq!(service(""), [": one of http, tcp and tls is needed"]);
}

#[test]
fn v6_a_route_forwards_or_redirects() {
    for valid in [
        TO_A,
        "redirect: {uri: /a}",
        "redirect: {authority: b.com}",
        "route: [{destination: {host: a}}], rewrite: {uri: /}",
    ] {
        assert_eq!(http(valid), [""; 0], "{valid}");
    }
    assert_eq!(http("timeout: 1s"), [": one of route and redirect is needed"]);
    assert_eq!(
        route("rewrite: {}"),
        ["rewrite: one of uri and authority is needed"]
    );
    assert_eq!(
        http("redirect: {}"),
        ["redirect: one of uri and authority is needed"]
    );
    assert_eq!(
        route(
            "redirect: {uri: /a}, fault: {abort: {httpStatus: 500}}, rewrite: {uri: /}, websocketUpgrade: true"
        ),
        [
            "route: not together with redirect",
            "fault: not together with redirect",
            "rewrite: not together with redirect",
            "websocketUpgrade: not together with redirect"
        ]
    );
}

#[test]
fn v6_header_names_are_there() {
    for valid in [
        "headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {remove: [f]}}",
        "appendHeaders: {a: b}, removeRequestHeaders: [c]",
    ] {
        assert_eq!(route(valid), [""; 0], "{valid}");
    }
    for (invalid, place) in [
        ("headers: {request: {set: {'': b}}}", "headers.request.set[]"),
        ("headers: {request: {add: {'': b}}}", "headers.request.add[]"),
        (
            "headers: {response: {remove: ['']}}",
            "headers.response.remove[0]",
        ),
        ("appendHeaders: {'': b}", "appendHeaders[]"),
        ("appendRequestHeaders: {'': b}", "appendRequestHeaders[]"),
        ("appendResponseHeaders: {'': b}", "appendResponseHeaders[]"),
        ("removeRequestHeaders: ['']", "removeRequestHeaders[0]"),
        ("removeResponseHeaders: ['']", "removeResponseHeaders[0]"),
        ("match: [{headers: {'': {exact: b}}}]", "match[0].headers[]"),
    ] {
        assert_eq!(
            route(invalid),
            [format!("{place}: a header name is empty")],
            "{invalid}"
        );
    }
    assert_eq!(
        http(
            "route: [{destination: {host: a}, headers: {request: {add: {'': b}}}, removeRequestHeaders: ['']}]"
        ),
        [
            "route[0].removeRequestHeaders[0]: a header name is empty",
            "route[0].headers.request.add[]: a header name is empty"
        ]
    );
}

#[test]
fn v6_matches() {
    for valid in [
        "match: [{uri: {regex: '^/a.*'}, port: 80, sourceLabels: {app: a}, gateways: [mesh]}]",
        "match: [{headers: {cookie: {regex: '^(.*?;)?(local=north)(;.*)?'}}}, {uri: {prefix: /data}}]",
        "match: [{}]",
    ] {
        assert_eq!(route(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("port: 70000", "port: 70000 is not a port (1 to 65535)"),
        (
            "sourceLabels: {app: a b}",
            "sourceLabels[app]: \"a b\" is not a label",
        ),
        ("gateways: [a_b]", "gateways[0]: \"a_b\" is not a domain name"),
        (
            "uri: {regex: '('}",
            "uri.regex: \"(\" is not a regular expression: unclosed group",
        ),
        (
            "headers: {a: {regex: '(?!b)'}}",
            "headers[a].regex: \"(?!b)\" is not a regular expression: look-around, including look-ahead and look-behind, \
             is not supported",
        ),
    ] {
        assert_eq!(
            route(&format!("match: [{{{invalid}}}]")),
            [format!("match[0].{problem}")],
            "{invalid}"
        );
    }
}

/// `R-VS-28`.
#[test]
fn v6_faults() {
    for valid in [
        "delay: {fixedDelay: 1ms, percentage: {value: 0.0001}}",
        "delay: {fixedDelay: 5s, percent: 10}, abort: {httpStatus: 500}",
        "abort: {httpStatus: 500, percentage: {value: 100}}",
    ] {
        assert_eq!(route(&format!("fault: {{{valid}}}")), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("", ": one of delay and abort is needed"),
        ("delay: {}", ".delay.fixedDelay: missing"),
        (
            "delay: {fixedDelay: 0s}",
            ".delay.fixedDelay: a duration must be at least 1ms",
        ),
        (
            "delay: {exponentialDelay: 1s}",
            ".delay.exponentialDelay: not supported",
        ),
        (
            "delay: {fixedDelay: 1s, percent: 101}",
            ".delay.percent: 101 is not a percentage (0 to 100)",
        ),
        ("abort: {}", ".abort.httpStatus: missing"),
        (
            "abort: {httpStatus: 601}",
            ".abort.httpStatus: 601 is not an HTTP status",
        ),
        ("abort: {grpcStatus: X}", ".abort.grpcStatus: not supported"),
        ("abort: {http2Error: X}", ".abort.http2Error: not supported"),
        (
            "abort: {httpStatus: 500, percentage: {value: 0.00001}}",
            ".abort.percentage.value: 0.00001 is not a percentage (0, or 0.0001 to 100)",
        ),
    ] {
        assert_eq!(
            route(&format!("fault: {{{invalid}}}")),
            [format!("fault{problem}")],
            "{invalid}"
        );
    }
}

#[test]
fn v6_cors() {
    assert_eq!(
        route("corsPolicy: {allowOrigin: ['*'], allowMethods: [GET], allowHeaders: [a], maxAge: 24h}"),
        [""; 0]
    );
    assert_eq!(
        route("corsPolicy: {allowMethods: [FETCH], allowHeaders: [''], exposeHeaders: [''], maxAge: 1.5s}"),
        [
            "corsPolicy.allowMethods[0]: unknown HTTP method \"FETCH\"",
            "corsPolicy.allowHeaders[0]: a header name is empty",
            "corsPolicy.exposeHeaders[0]: a header name is empty",
            "corsPolicy.maxAge: 1.5s is not a whole number of seconds"
        ]
    );
}

#[test]
fn v6_mirror_timeout_and_retries() {
    for valid in [
        "mirror: {host: a, subset: v2}",
        "timeout: 1ms",
        // R-VS-19: 1.1 refused 0.
        "retries: {attempts: 0}",
        "retries: {attempts: 3, perTryTimeout: 2s, retryOn: 'gateway-error,503,418'}",
    ] {
        assert_eq!(route(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("mirror: {host: a_b}", "mirror.host: \"a_b\" is not a domain name"),
        ("timeout: 0s", "timeout: a duration must be at least 1ms"),
        ("retries: {attempts: -1}", "retries.attempts: -1 is negative"),
        (
            "retries: {attempts: 1, perTryTimeout: 1us}",
            "retries.perTryTimeout: a duration must be at least 1ms",
        ),
        (
            "retries: {attempts: 1, retryOn: 5xxx}",
            "retries.retryOn: unknown condition \"5xxx\"",
        ),
        (
            "retries: {attempts: 1, retryOn: '5xx,'}",
            "retries.retryOn: unknown condition \"\"",
        ),
        (
            "retries: {attempts: 1, retryOn: '5xx, 503'}",
            "retries.retryOn: unknown condition \" 503\"",
        ),
        (
            "retries: {attempts: 1, retryOn: '599'}",
            "retries.retryOn: unknown condition \"599\"",
        ),
    ] {
        assert_eq!(route(invalid), [problem], "{invalid}");
    }
}

#[test]
fn r_vs_11_weights() {
    let weights = |weights: &[i32]| {
        let route: Vec<String> = weights
            .iter()
            .map(|weight| format!("{{destination: {{host: a}}, weight: {weight}}}"))
            .collect();
        http(&format!("route: [{}]", route.join(", ")))
    };
    for valid in [&[100][..], &[0], &[5], &[20, 80], &[0, 100], &[33, 33, 34]] {
        assert_eq!(weights(valid), [""; 0], "{valid:?}");
    }
    assert_eq!(
        weights(&[20, 70]),
        ["route: the weights add up to 90 instead of 100"]
    );
    assert_eq!(
        weights(&[-20, 120]),
        [
            "route[0].weight: -20 is not a percentage (0 to 100)",
            "route[1].weight: 120 is not a percentage (0 to 100)"
        ]
    );
    assert_eq!(
        weights(&[i32::MAX, i32::MAX]).last().map(String::as_str),
        Some("route: the weights add up to 4294967294 instead of 100")
    );
}

#[test]
fn v6_destinations() {
    let destination = |destination: &str| http(&format!("route: [{{destination: {destination}}}]"));
    for valid in [
        "{host: a}",
        "{host: a.b.svc.cluster.local, subset: v1, port: {number: 80}}",
    ] {
        assert_eq!(destination(valid), [""; 0], "{valid}");
    }
    assert_eq!(http("route: [{weight: 100}]"), ["route[0].destination: missing"]);
    for (invalid, problem) in [
        ("{}", "host: \"\" is not a domain name"),
        ("{host: '*'}", "host: \"*\" is no destination"),
        ("{host: a, subset: a_b}", "subset: \"a_b\" is not a DNS label"),
        ("{host: a, port: {}}", "port.number: missing"),
        (
            "{host: a, port: {number: 0}}",
            "port.number: 0 is not a port (1 to 65535)",
        ),
        (
            "{host: a, port: {name: http}}",
            "port.name: only numbers are supported",
        ),
    ] {
        assert_eq!(
            destination(invalid),
            [format!("route[0].destination.{problem}")],
            "{invalid}"
        );
    }
}

#[test]
fn v6_tls_routes() {
    let tls = |fields: &str| {
        problems(
            "VirtualService",
            &format!("hosts: ['*.a.com', 10.0.0.1]\ngateways: [g]\ntls: [{{{fields}, {TO_A}}}]"),
        )
    };
    for valid in [
        "match: [{sniHosts: [x.a.com], destinationSubnets: [10.0.0.0/8], port: 443, sourceLabels: {a: b}, gateways: [g]}]",
        "match: [{sniHosts: ['*.x.a.com', 10.0.0.1]}]",
    ] {
        assert_eq!(tls(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("match: []", "match: a TLS route needs at least one match"),
        ("match: [{}]", "match[0].sniHosts: a TLS match needs at least one"),
        (
            "match: [{sniHosts: [b.com]}]",
            "match[0].sniHosts[0]: \"b.com\" is not covered by any host of the virtual service",
        ),
        (
            "match: [{sniHosts: [x.a.com], destinationSubnets: [a]}]",
            "match[0].destinationSubnets[0]: \"a\" is neither an IP address nor a CIDR block",
        ),
        (
            "match: [{sniHosts: [x.a.com], port: 65536}]",
            "match[0].port: 65536 is not a port (1 to 65535)",
        ),
    ] {
        assert_eq!(tls(invalid), [format!("tls[0].{problem}")], "{invalid}");
    }
    let without_route = "hosts: ['a.com']\ntls: [{match: [{sniHosts: [a.com]}]}]";
    assert_eq!(
        problems("VirtualService", without_route),
        ["tls[0].route: a route needs at least one destination"]
    );
}

#[test]
fn v6_tcp_routes() {
    let tcp = |fields: &str| service(&format!("tcp: [{{{fields}}}]"));
    for valid in [
        TO_A,
        "match: [{destinationSubnets: ['2001:db8::/32'], sourceSubnet: 10.0.0.1, port: 1}], route: [{destination: {host: a}}]",
    ] {
        assert_eq!(tcp(valid), [""; 0], "{valid}");
    }
    assert_eq!(
        tcp(
            "match: [{sourceSubnet: a, sourceLabels: {'ä': b}}], route: [{destination: {host: a}, weight: 1}, {weight: 1}]"
        ),
        [
            "tcp[0].match[0].sourceSubnet: \"a\" is neither an IP address nor a CIDR block",
            "tcp[0].match[0].sourceLabels[ä]: \"ä\" is not a label",
            "tcp[0].route[1].destination: missing",
            "tcp[0].route: the weights add up to 2 instead of 100"
        ]
    );
    assert_eq!(
        tcp("match: [{}]"),
        ["tcp[0].route: a route needs at least one destination"]
    );
}
