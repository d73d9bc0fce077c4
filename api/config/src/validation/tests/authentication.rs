use super::*;

fn jwt(fields: &str) -> Vec<String> {
    problems_of("Policy", "default", &format!("origins: [{{jwt: {{{fields}}}}}]"))
}

#[test]
fn v8_a_policy_without_targets_is_named_default_and_the_other_way_round() {
    for (name, spec) in [
        ("default", "peers: [{mtls: {}}]"),
        ("forecast", "targets: [{name: forecast}]\npeers: [{mtls: {}}]"),
    ] {
        assert_eq!(problems_of("Policy", name, spec), [""; 0], "{name}");
    }
    assert_eq!(
        problems_of("Policy", "default", "targets: [{name: forecast}]"),
        ["targets: the policy named \"default\" is for the whole namespace and takes none"]
    );
    assert_eq!(
        problems_of("Policy", "forecast", "peers: [{mtls: {}}]"),
        ["targets: only the policy named \"default\" has none"]
    );
}

#[test]
fn v8_the_policy_of_the_mesh_is_named_default_and_has_no_targets() {
    assert_eq!(
        problems_of("MeshPolicy", "default", "peers: [{mtls: {mode: PERMISSIVE}}]"),
        [""; 0]
    );
    assert_eq!(
        problems_of("MeshPolicy", "mesh", "targets: [{name: forecast}]"),
        [
            "metadata.name: the policy of the mesh is named \"default\"",
            "targets: the policy of the mesh takes none"
        ]
    );
}

#[test]
fn v8_targets_are_short_names_and_ports() {
    let target = |target: &str| problems_of("Policy", "a", &format!("targets: [{{{target}}}]"));
    for valid in [
        "name: forecast",
        "name: forecast, ports: [{number: 65535}, {name: http}]",
    ] {
        assert_eq!(target(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("name: ''", "name: \"\" is not a DNS label"),
        (
            "name: forecast.weather",
            "name: \"forecast.weather\" is not a DNS label",
        ),
        (
            "name: a, ports: [{}]",
            "ports[0]: one of number and name is needed",
        ),
        (
            "name: a, ports: [{number: 0}]",
            "ports[0].number: 0 is not a port (1 to 65535)",
        ),
        (
            "name: a, ports: [{name: a_b}]",
            "ports[0].name: \"a_b\" is not a DNS label",
        ),
    ] {
        assert_eq!(target(invalid), [format!("targets[0].{problem}")], "{invalid}");
    }
}

/// `mtls:` with nothing behind it is a peer like the others.
#[test]
fn v8_peers() {
    for valid in ["[{mtls: {}}]", "[{mtls: }]", "[{jwt: {issuer: a}}]", "[]"] {
        assert_eq!(
            problems_of("Policy", "default", &format!("peers: {valid}")),
            [""; 0],
            "{valid}"
        );
    }
    assert_eq!(
        problems_of("Policy", "default", "peers: [{mtls: {}}, {jwt: {}}]"),
        ["peers[1].jwt.issuer: missing"]
    );
}

#[test]
fn v8_issuers_are_unique_over_peers_and_origins() {
    let spec = "
peers: [{jwt: {issuer: a}}]
origins: [{jwt: {issuer: b}}, {jwt: {issuer: a}}, {jwt: {issuer: b}}]
";
    assert_eq!(
        problems_of("Policy", "default", spec),
        [
            "origins[1].jwt.issuer: another entry is for \"a\"",
            "origins[2].jwt.issuer: another entry is for \"b\""
        ]
    );
}

#[test]
fn v8_tokens() {
    for valid in [
        "issuer: a",
        "issuer: a, audiences: [b], jwtHeaders: [x-token], jwtParams: [token]",
        "issuer: a, jwksUri: 'https://example.com/jwks.json'",
        "issuer: a, jwksUri: 'http://10.0.0.1:8080'",
        "issuer: a, jwksUri: 'https://[::1]:443/a?b=c'",
        "issuer: a, jwksUri: 'https://[::1]/a'",
    ] {
        assert_eq!(jwt(valid), [""; 0], "{valid}");
    }
    assert_eq!(
        jwt("audiences: [''], jwtHeaders: [''], jwtParams: [a, '']"),
        [
            "origins[0].jwt.issuer: missing",
            "origins[0].jwt.audiences[0]: must not be empty",
            "origins[0].jwt.jwtHeaders[0]: must not be empty",
            "origins[0].jwt.jwtParams[1]: must not be empty"
        ]
    );
    for (uri, reason) in [
        ("example.com", "\"example.com\" is not an HTTP URL: no scheme"),
        (
            "ftp://example.com",
            "\"ftp://example.com\" is not an HTTP URL: the scheme is neither http nor https",
        ),
        ("https:///a", "\"https:///a\" is not an HTTP URL: no host"),
        (
            "https://a:b",
            "\"https://a:b\" is not an HTTP URL: the port is not a number",
        ),
        ("https://a:70000/", "70000 is not a port (1 to 65535)"),
    ] {
        assert_eq!(
            jwt(&format!("issuer: a, jwksUri: '{uri}'")),
            [format!("origins[0].jwt.jwksUri: {reason}")],
            "{uri}"
        );
    }
}
