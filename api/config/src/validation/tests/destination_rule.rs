use super::*;

#[test]
fn v3_host_policy_and_subsets() {
    check_table(
        "DestinationRule",
        &[
            ("host: forecast", &[]),
            ("host: '*.local'\nexportTo: [.]", &[]),
            ("host: ''", &["host: \"\" is not a domain name"]),
            (
                "host: a\nexportTo: [b]",
                &["exportTo: \"b\" is neither \".\" nor \"*\""],
            ),
            (
                "host: a\ntrafficPolicy: {}",
                &["trafficPolicy: a policy needs at least one setting"],
            ),
            (
                "host: a\nsubsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {}}]",
                &[],
            ),
            (
                "host: a\nsubsets: [{name: '', labels: {version: a b}, trafficPolicy: {}}]",
                &[
                    "subsets[0].name: \"\" is not a DNS label",
                    "subsets[0].labels[version]: \"a b\" is not a label",
                    "subsets[0].trafficPolicy: a policy needs at least one setting",
                ],
            ),
        ],
    );
}

#[test]
fn v3_load_balancer() {
    let load_balancer = |settings: &str| {
        problems(
            "DestinationRule",
            &format!("host: a\ntrafficPolicy: {{loadBalancer: {settings}}}"),
        )
    };
    for valid in [
        "{}",
        "{simple: LEAST_CONN}",
        "{consistentHash: {httpHeaderName: x}}",
        "{consistentHash: {useSourceIp: true}}",
        "{consistentHash: {httpCookie: {name: c, ttl: 0s}}}",
    ] {
        assert_eq!(load_balancer(valid), [""; 0], "{valid}");
    }
    assert_eq!(
        load_balancer("{consistentHash: {}}"),
        [
            "trafficPolicy.loadBalancer.consistentHash: one of httpHeaderName, httpCookie and useSourceIp is needed"
        ]
    );
    assert_eq!(
        load_balancer("{consistentHash: {httpCookie: {}}}"),
        [
            "trafficPolicy.loadBalancer.consistentHash.httpCookie.name: missing",
            "trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl: missing"
        ]
    );
}

/// `R-DR-17`.
/// R-DR-17.
#[test]
fn v3_connection_pool() {
    check_table(
        "DestinationRule",
        &[
            (
                "
host: a
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: 80, connectTimeout: 25ms, tcpKeepalive: {}}
    http: {http1MaxPendingRequests: 0, http2MaxRequests: 1, maxRequestsPerConnection: 1, maxRetries: 1, idleTimeout: 1s}
",
                &[],
            ),
            (
                "host: a\ntrafficPolicy: {connectionPool: {}}",
                &["trafficPolicy.connectionPool: one of tcp and http is needed"],
            ),
            (
                "
host: a
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: -1, connectTimeout: 0s}
    http: {http1MaxPendingRequests: -1, http2MaxRequests: -2, maxRequestsPerConnection: -3, maxRetries: -4, idleTimeout: 1us}
",
                &[
                    "trafficPolicy.connectionPool.tcp.maxConnections: -1 is negative",
                    "trafficPolicy.connectionPool.tcp.connectTimeout: a duration must be at least 1ms",
                    "trafficPolicy.connectionPool.http.http1MaxPendingRequests: -1 is negative",
                    "trafficPolicy.connectionPool.http.http2MaxRequests: -2 is negative",
                    "trafficPolicy.connectionPool.http.maxRequestsPerConnection: -3 is negative",
                    "trafficPolicy.connectionPool.http.maxRetries: -4 is negative",
                    "trafficPolicy.connectionPool.http.idleTimeout: a duration must be at least 1ms",
                ],
            ),
        ],
    );
}

/// `R-DR-28`.
/// R-DR-28.
#[test]
fn v3_outlier_detection() {
    check_table(
        "DestinationRule",
        &[
            ("host: a\ntrafficPolicy: {outlierDetection: {}}", &[]),
            (
                "
host: a
trafficPolicy:
  outlierDetection: {consecutiveErrors: 5, interval: 4m, baseEjectionTime: 10m, maxEjectionPercent: 30, minHealthPercent: 100}
",
                &[],
            ),
            (
                "
host: a
trafficPolicy:
  outlierDetection: {consecutiveErrors: -1, interval: 0s, baseEjectionTime: -1s, maxEjectionPercent: 101, minHealthPercent: -1}
",
                &[
                    "trafficPolicy.outlierDetection.consecutiveErrors: -1 is negative",
                    "trafficPolicy.outlierDetection.interval: a duration must be at least 1ms",
                    "trafficPolicy.outlierDetection.baseEjectionTime: a duration must not be negative",
                    "trafficPolicy.outlierDetection.maxEjectionPercent: 101 is not a percentage (0 to 100)",
                    "trafficPolicy.outlierDetection.minHealthPercent: -1 is not a percentage (0 to 100)",
                ],
            ),
        ],
    );
}

#[test]
fn v3_tls() {
    check_table(
        "DestinationRule",
        &[
            ("host: a\ntrafficPolicy: {tls: {mode: SIMPLE}}", &[]),
            ("host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL}}", &[]),
            (
                "host: a\ntrafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}}",
                &[],
            ),
            (
                "host: a\ntrafficPolicy: {tls: {mode: MUTUAL}}",
                &[
                    "trafficPolicy.tls.clientCertificate: mode MUTUAL needs it",
                    "trafficPolicy.tls.privateKey: mode MUTUAL needs it",
                ],
            ),
            (
                "host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL, privateKey: /k}}",
                &["trafficPolicy.tls.privateKey: mode ISTIO_MUTUAL takes none: the mesh provides it"],
            ),
        ],
    );
}

#[test]
fn v3_port_level_settings() {
    let settings = |settings: &str| {
        problems(
            "DestinationRule",
            &format!("host: a\ntrafficPolicy: {{portLevelSettings: [{settings}]}}"),
        )
    };
    for valid in [
        "{port: {number: 80}, tls: {}}",
        "{port: {name: http}, loadBalancer: {}}",
    ] {
        assert_eq!(settings(valid), [""; 0], "{valid}");
    }
    let path = "trafficPolicy.portLevelSettings[0]";
    for (invalid, problem) in [
        ("{tls: {}}", ".port: missing"),
        ("{port: {}, tls: {}}", ".port: missing"),
        (
            "{port: {number: 0}, tls: {}}",
            ".port.number: 0 is not a port (1 to 65535)",
        ),
        (
            "{port: {name: a_b}, tls: {}}",
            ".port.name: \"a_b\" is not a DNS label",
        ),
        ("{port: {number: 80}}", ": a policy needs at least one setting"),
        (
            "{port: {number: 80}, connectionPool: {}}",
            ".connectionPool: one of tcp and http is needed",
        ),
    ] {
        assert_eq!(settings(invalid), [format!("{path}{problem}")], "{invalid}");
    }
}
