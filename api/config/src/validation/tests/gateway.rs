use super::*;

#[test]
fn v2_servers() {
    check_table(
        "Gateway",
        &[
            (
                "servers: [{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}}]",
                &[],
            ),
            (
                "selector: {istio: ingressgateway}",
                &["servers: a gateway needs at least one server"],
            ),
            (
                "servers: [{}]",
                &[
                    "servers[0].hosts: a server needs at least one host",
                    "servers[0].port: missing",
                ],
            ),
            (
                "servers: [{hosts: ['*'], port: {number: 70000}}]",
                &[
                    "servers[0].port.number: 70000 is not a port (1 to 65535)",
                    "servers[0].port.name: missing",
                    "servers[0].port.protocol: missing",
                ],
            ),
            (
                "servers: [{hosts: ['*'], port: {number: 0, name: a, protocol: SCTP}, bind: unix:///a}]",
                &["servers[0].port.protocol: unsupported protocol \"SCTP\""],
            ),
            (
                "
servers:
- {hosts: [a.com], port: {number: 80, name: http, protocol: HTTP}}
- {hosts: [b.com], port: {number: 81, name: http, protocol: HTTP2}}
",
                &["servers[1].port.name: another server has the port name \"http\""],
            ),
        ],
    );
}

#[test]
fn v2_hosts() {
    let hosts = |hosts: &str| {
        problems(
            "Gateway",
            &format!("servers: [{{hosts: [{hosts}], port: {{number: 80, name: http, protocol: HTTP}}}}]"),
        )
    };
    // `ns/*` is accepted.
    for valid in [
        "'*'",
        "a.com",
        "'*.a.com'",
        "10.0.0.1",
        "'::1'",
        "weather/a.com",
        "'weather/*'",
        "./a.com",
        "'*/a.com'",
    ] {
        assert_eq!(hosts(valid), [""; 0], "{valid}");
    }
    for (invalid, reason) in [
        ("frontend", "short names such as \"frontend\" are not allowed"),
        (
            "weather/frontend",
            "short names such as \"frontend\" are not allowed",
        ),
        ("~/a.com", "\"~\" is not a DNS label"),
        ("a.b/a.com", "\"a.b\" is not a DNS label"),
        ("a.*.com", "\"a.*.com\" is not a domain name"),
        ("weather/", "\"\" is not a domain name"),
    ] {
        assert_eq!(
            hosts(invalid),
            [format!("servers[0].hosts[0]: {reason}")],
            "{invalid}"
        );
    }
}

#[test]
fn v2_tls() {
    let server = |protocol: &str, tls: &str| {
        let tls = if tls.is_empty() {
            String::new()
        } else {
            format!(", tls: {{{tls}}}")
        };
        problems(
            "Gateway",
            &format!(
                "servers: [{{hosts: ['*'], port: {{number: 443, name: a, protocol: {protocol}}}{tls}}}]"
            ),
        )
    };
    for (protocol, tls) in [
        ("HTTPS", "mode: SIMPLE, serverCertificate: /c, privateKey: /k"),
        (
            "HTTPS",
            "mode: MUTUAL, serverCertificate: /c, privateKey: /k, caCertificates: /a",
        ),
        ("TLS", "mode: MUTUAL, credentialName: c"),
        ("TLS", "mode: PASSTHROUGH"),
        ("TLS", "mode: AUTO_PASSTHROUGH"),
        ("HTTP", "httpsRedirect: true"),
        ("HTTP", ""),
        ("TCP", ""),
    ] {
        assert_eq!(server(protocol, tls), [""; 0], "{protocol} {tls}");
    }
    for (protocol, tls, expected) in [
        (
            "HTTPS",
            "mode: SIMPLE, serverCertificate: /c",
            &["tls.privateKey: mode SIMPLE needs it"][..],
        ),
        (
            "HTTPS",
            "mode: MUTUAL",
            &[
                "tls.serverCertificate: mode MUTUAL needs it",
                "tls.privateKey: mode MUTUAL needs it",
                "tls.caCertificates: mode MUTUAL needs it",
            ],
        ),
        ("HTTPS", "", &["tls: protocol HTTPS needs it"]),
        ("TLS", "", &["tls: protocol TLS needs it"]),
        (
            "HTTP",
            "mode: SIMPLE, credentialName: c",
            &["tls: on protocol HTTP it may only hold httpsRedirect"],
        ),
        (
            "GRPC",
            "serverCertificate: /c",
            &["tls: on protocol GRPC it may only hold httpsRedirect"],
        ),
        ("MONGO", "mode: PASSTHROUGH", &["tls: protocol Mongo takes none"]),
    ] {
        let expected: Vec<String> = expected
            .iter()
            .map(|problem| format!("servers[0].{problem}"))
            .collect();
        assert_eq!(server(protocol, tls), expected, "{protocol} {tls}");
    }
}

#[test]
fn v2_the_name_is_a_label() {
    let text = "{apiVersion: networking.istio.io/v1alpha3, kind: Gateway, metadata: {name: a.b},
        spec: {servers: [{hosts: ['*'], port: {number: 80, name: http, protocol: HTTP}}]}}";
    let config = decode::object(yaml::documents("f", text)[0].as_ref().unwrap()).unwrap();
    let expected = Problem {
        field: "metadata.name".to_owned(),
        reason: "\"a.b\" is not a DNS label".to_owned(),
    };
    assert_eq!(validate(&config), [expected]);
}

/// `A-15`: hosts without a dot, with a namespace or without.
#[test]
fn v2_a_15_all_hosts_of_a_namespace() {
    for host in ["'*'", "'ns1/*'", "'./*'", "'*/*'"] {
        let spec =
            format!("servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [{host}]}}]");
        assert_eq!(problems("Gateway", &spec), [""; 0], "{host}");
    }
}
