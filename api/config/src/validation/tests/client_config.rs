use super::*;

const PATTERN: &str = "patterns: [{httpMethod: GET, uriTemplate: /a}]";

#[test]
fn v9_api_specs() {
    check_table(
        "HTTPAPISpec",
        &[
            (PATTERN, &[]),
            (
                "patterns: [{httpMethod: GET, regex: '/a.*', attributes: {attributes: {api.operation: {stringValue: a}}}}]",
                &[],
            ),
            ("{}", &["patterns: at least one is needed"]),
            (
                "patterns: [{}, {httpMethod: GET, uriTemplate: ''}, {httpMethod: GET, regex: ''}]",
                &[
                    "patterns[0].httpMethod: must not be empty",
                    "patterns[0]: one of uriTemplate and regex is needed",
                    "patterns[1].uriTemplate: must not be empty",
                    "patterns[2].regex: must not be empty",
                ],
            ),
            // Not the attributes of the whole spec, as in 1.1.
            (
                "patterns: [{httpMethod: GET, uriTemplate: /a, attributes: {}}]",
                &["patterns[0].attributes.attributes: must not be empty where they are given"],
            ),
        ],
    );
}

#[test]
fn v9_attributes() {
    let attribute = |value: &str| {
        problems(
            "HTTPAPISpec",
            &format!("attributes: {{attributes: {{a: {{{value}}}}}}}\n{PATTERN}"),
        )
    };
    for valid in [
        "stringValue: a",
        "int64Value: 0",
        "doubleValue: 0",
        "boolValue: false",
        "bytesValue: YQ==",
        "timestampValue: '2019-01-01T00:00:00Z'",
        "durationValue: 1ms",
        "stringMapValue: {entries: {a: b}}",
    ] {
        assert_eq!(attribute(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("", ": a value is needed"),
        ("stringValue: ''", ".stringValue: must not be empty"),
        ("bytesValue: ''", ".bytesValue: must not be empty"),
        (
            "durationValue: 0s",
            ".durationValue: a duration must be at least 1ms",
        ),
        ("stringMapValue: {}", ".stringMapValue.entries: must not be empty"),
    ] {
        assert_eq!(
            attribute(invalid),
            [format!("attributes.attributes[a]{problem}")],
            "{invalid}"
        );
    }
    assert_eq!(
        problems("HTTPAPISpec", &format!("attributes: {{}}\n{PATTERN}")),
        ["attributes.attributes: must not be empty where they are given"]
    );
    for (seconds, nanos, valid) in [
        (0, 0, true),
        (-62_135_596_800, 0, true),
        (253_402_300_799, 999_999_999, true),
        (253_402_300_800, 0, false),
        (i64::MIN, 0, false),
        (0, -1, false),
        (0, 1_000_000_000, false),
    ] {
        let value = prost_types::Timestamp { seconds, nanos };
        assert_eq!(primitive::timestamp(&value).is_ok(), valid, "{seconds} {nanos}");
    }
}

#[test]
fn v9_api_keys() {
    let keys = |keys: &str| problems("HTTPAPISpec", &format!("{PATTERN}\napiKeys: [{keys}]"));
    assert_eq!(keys("{query: key}, {header: x-api-key}, {cookie: key}"), [""; 0]);
    assert_eq!(
        keys("{query: ''}, {header: ''}, {cookie: ''}, {}"),
        [
            "apiKeys[0].query: must not be empty",
            "apiKeys[1].header: must not be empty",
            "apiKeys[2].cookie: must not be empty",
            "apiKeys[3]: one of query, header and cookie is needed"
        ]
    );
}

#[test]
fn v9_quota_specs() {
    check_table(
        "QuotaSpec",
        &[
            ("rules: [{quotas: [{quota: requestcount, charge: 1}]}]", &[]),
            (
                "
rules:
- match: [{clause: {a: {exact: b}, c: {prefix: d}, e: {regex: f}, g: {}}}]
  quotas: [{quota: a, charge: 5}]
",
                &[],
            ),
            ("{}", &["rules: at least one is needed"]),
            ("rules: [{}]", &["rules[0].quotas: a rule needs at least one"]),
            (
                "rules: [{quotas: [{}, {quota: a, charge: -1}]}]",
                &[
                    "rules[0].quotas[0].quota: must not be empty",
                    "rules[0].quotas[0].charge: 0 is not more than 0",
                    "rules[0].quotas[1].charge: -1 is not more than 0",
                ],
            ),
            (
                "rules: [{match: [{clause: {a: {exact: ''}, b: {prefix: ''}, c: {regex: ''}}}], quotas: [{quota: a, charge: 1}]}]",
                &[
                    "rules[0].match[0].clause[a].exact: must not be empty",
                    "rules[0].match[0].clause[b].prefix: must not be empty",
                    "rules[0].match[0].clause[c].regex: must not be empty",
                ],
            ),
        ],
    );
}

/// Kind, its list of references, and what both bindings have in common.
#[test]
fn v9_bindings() {
    for (kind, specs) in [
        ("HTTPAPISpecBinding", "apiSpecs"),
        ("QuotaSpecBinding", "quotaSpecs"),
    ] {
        let services = "services: [{name: advertisement, namespace: weather}]";
        let valid = format!("{services}\n{specs}: [{{name: a}}, {{name: b, namespace: istio-system}}]");
        assert_eq!(problems(kind, &valid), [""; 0]);
        assert_eq!(
            problems(kind, "{}"),
            [
                "services: a binding needs at least one".to_owned(),
                format!("{specs}: a binding needs at least one")
            ]
        );
        assert_eq!(
            problems(
                kind,
                &format!("{services}\n{specs}: [{{}}, {{name: a, namespace: a_b}}]")
            ),
            [
                format!("{specs}[0].name: must not be empty"),
                format!("{specs}[1].namespace: \"a_b\" is not a DNS label")
            ]
        );
    }
}

#[test]
fn v9_services_of_bindings() {
    let service = |service: &str| {
        problems(
            "QuotaSpecBinding",
            &format!("services: [{{{service}}}]\nquotaSpecs: [{{name: a}}]"),
        )
    };
    for valid in [
        "name: a",
        "name: a, namespace: b, domain: cluster.local, labels: {version: v1}",
        "service: '*'",
        "service: a.weather.svc.cluster.local, labels: {}",
    ] {
        assert_eq!(service(valid), [""; 0], "{valid}");
    }
    for (invalid, problem) in [
        ("", ": one of name and service is needed"),
        (
            "name: a, service: b",
            ": only one of name and service may be given",
        ),
        (
            "service: a, namespace: b",
            ".namespace: not together with service, which is a full name",
        ),
        (
            "service: a, domain: b",
            ".domain: not together with service, which is a full name",
        ),
        ("name: a.b", ".name: \"a.b\" is not a DNS label"),
        (
            "name: a, namespace: b.c",
            ".namespace: \"b.c\" is not a DNS label",
        ),
        ("name: a, domain: '*.b'", ".domain: \"*.b\" is not a domain name"),
        ("name: a, labels: {b: c d}", ".labels[b]: \"c d\" is not a label"),
    ] {
        assert_eq!(service(invalid), [format!("services[0]{problem}")], "{invalid}");
    }
}
