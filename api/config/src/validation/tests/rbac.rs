use super::*;

#[test]
fn v8_the_configuration_is_named_default() {
    for kind in ["ClusterRbacConfig", "RbacConfig"] {
        assert_eq!(problems_of(kind, "default", "mode: 'ON'"), [""; 0], "{kind}");
        // Nothing else is said of an object that nobody reads.
        assert_eq!(
            problems_of(kind, "other", "mode: ON_WITH_INCLUSION"),
            ["metadata.name: only the object named \"default\" is followed"],
            "{kind}"
        );
    }
}

#[test]
fn v8_modes_with_a_list_need_it() {
    for valid in [
        "{}",
        "mode: 'OFF'",
        "mode: ON_WITH_INCLUSION\ninclusion: {}",
        "mode: ON_WITH_INCLUSION\ninclusion: {namespaces: [weather]}",
        "mode: ON_WITH_EXCLUSION\nexclusion: {services: [a.weather.svc.cluster.local]}",
    ] {
        assert_eq!(
            problems_of("ClusterRbacConfig", "default", valid),
            [""; 0],
            "{valid}"
        );
    }
    for (invalid, problem) in [
        (
            "mode: ON_WITH_INCLUSION",
            "inclusion: mode ON_WITH_INCLUSION needs it",
        ),
        (
            "mode: ON_WITH_EXCLUSION\ninclusion: {}",
            "exclusion: mode ON_WITH_EXCLUSION needs it",
        ),
    ] {
        assert_eq!(
            problems_of("ClusterRbacConfig", "default", invalid),
            [problem],
            "{invalid}"
        );
    }
}

#[test]
fn v8_roles() {
    check_table(
        "ServiceRole",
        &[
            ("rules: [{services: ['*']}]", &[]),
            (
                "rules: [{services: [a.weather.svc.cluster.local], methods: [GET], paths: ['/a*']}]",
                &[],
            ),
            ("{}", &["rules: a role needs at least one rule"]),
            (
                "rules: [{services: ['*']}, {methods: [GET]}]",
                &["rules[1].services: a rule needs at least one service"],
            ),
        ],
    );
}

#[test]
fn v8_constraints() {
    let constraint = |constraint: &str| {
        problems(
            "ServiceRole",
            &format!("rules: [{{services: ['*'], constraints: [{{{constraint}}}]}}]"),
        )
    };
    for valid in [
        "key: 'destination.labels[version]', values: [v1]",
        "key: 'request.headers[x-user]', values: [a, 'b*']",
        "key: destination.ip, values: [10.0.0.0/8]",
        "key: destination.port, values: ['80']",
        "key: connection.sni, values: [a.com]",
        "key: 'experimental.envoy.filters.network.mysql_proxy[db.table]', values: ['[v]']",
    ] {
        assert_eq!(constraint(valid), [""; 0], "{valid}");
    }
    let path = "rules[0].constraints[0]";
    assert_eq!(
        constraint(""),
        [
            format!("{path}.key: missing"),
            format!("{path}.values: a constraint needs at least one value")
        ]
    );
    // 1.1 dropped the constraint, and let more callers in.
    for unknown in [
        "destination.label[version]",
        "request.headers",
        "request.headers[]",
        "source.ip",
    ] {
        assert_eq!(
            constraint(&format!("key: '{unknown}', values: [a]")),
            [format!("{path}.key: unknown constraint {unknown:?}")]
        );
    }
}

#[test]
fn v8_bindings() {
    const ROLE: &str = "roleRef: {kind: ServiceRole, name: a}";
    let binding = |fields: &str| problems("ServiceRoleBinding", fields);
    for subject in [
        "{user: '*'}",
        "{group: a}",
        "{properties: {source.namespace: weather}}",
    ] {
        assert_eq!(
            binding(&format!("subjects: [{subject}]\n{ROLE}")),
            [""; 0],
            "{subject}"
        );
    }
    for (invalid, expected) in [
        (
            "{}",
            &[
                "subjects: a binding needs at least one subject",
                "roleRef: missing",
            ][..],
        ),
        (
            "subjects: [{user: a}, {}]\nroleRef: {kind: ServiceRole, name: a}",
            &["subjects[1]: one of user, group and properties is needed"],
        ),
        (
            // Fields that 1.1 has and does not read.
            "subjects: [{names: [a]}]\nroleRef: {kind: ServiceRole, name: a}",
            &["subjects[0]: one of user, group and properties is needed"],
        ),
        (
            "subjects: [{user: a}]\nroleRef: {kind: Role}",
            &[
                "roleRef.kind: \"Role\" is not \"ServiceRole\"",
                "roleRef.name: missing",
            ],
        ),
    ] {
        assert_eq!(binding(invalid), expected, "{invalid}");
    }
}
