use crate::mesh::{parse, parse_networks};

/// The first problem of a mesh configuration, without its place in the file.
fn problem(text: &str) -> Option<String> {
    parse(text)
        .err()
        .map(|error| format!("{}: {}", error.field, error.reason))
}

#[test]
fn v9_mesh_configuration() {
    for valid in [
        "mixerCheckServer: istio-policy.istio-system.svc.cluster.local:9091",
        "connectTimeout: 30s",
        "defaultConfig: {drainDuration: 10s, parentShutdownDuration: 1h}",
        "defaultConfig: {statsdUdpAddress: 'statsd:9125', controlPlaneAuthPolicy: MUTUAL_TLS}",
        "defaultConfig: {tracing: {lightstep: {address: 'a:1', accessToken: x}}}",
        "defaultConfig: {tracing: {datadog: {address: '$(HOST_IP):8126'}}}",
        "localityLbSetting: {distribute: [{from: us-west/*, to: {us-west/z1: 80, us-west/z2: 20}}]}",
        "localityLbSetting: {failover: [{from: us-east, to: us-west}]}",
    ] {
        assert_eq!(problem(valid), None, "{valid}");
    }
    for (invalid, expected) in [
        (
            "mixerReportServer: a",
            "mixerReportServer: \"a\" is not host:port",
        ),
        (
            "proxyListenPort: 0",
            "proxyListenPort: 0 is not a port (1 to 65535)",
        ),
        (
            "proxyHttpPort: -1",
            "proxyHttpPort: -1 is not a port (1 to 65535)",
        ),
        (
            "connectTimeout: 31s",
            "connectTimeout: 31s is not between 1ms and 30s",
        ),
        (
            "dnsRefreshRate: 0s",
            "dnsRefreshRate: a duration must be at least 1ms",
        ),
        (
            "defaultServiceExportTo: [a]",
            "defaultServiceExportTo: \"a\" is neither \".\" nor \"*\"",
        ),
        (
            "defaultConfig: {configPath: ''}",
            "defaultConfig.configPath: missing",
        ),
        (
            "defaultConfig: {drainDuration: 1.5s}",
            "defaultConfig.drainDuration: 1.5s is not a whole number of seconds",
        ),
        (
            "defaultConfig: {parentShutdownDuration: 45s}",
            "defaultConfig.parentShutdownDuration: 45s is not longer than draining (45s)",
        ),
        (
            "defaultConfig: {parentShutdownDuration: 2h}",
            "defaultConfig.parentShutdownDuration: 7200s is longer than 1h",
        ),
        (
            "defaultConfig: {discoveryAddress: ''}",
            "defaultConfig.discoveryAddress: \"\" is not host:port",
        ),
        (
            "defaultConfig: {statsdUdpAddress: a}",
            "defaultConfig.statsdUdpAddress: \"a\" is not host:port",
        ),
        (
            "defaultConfig: {proxyAdminPort: 0}",
            "defaultConfig.proxyAdminPort: 0 is not a port (1 to 65535)",
        ),
        (
            "defaultConfig: {controlPlaneAuthPolicy: INHERIT}",
            "defaultConfig.controlPlaneAuthPolicy: expected NONE or MUTUAL_TLS",
        ),
        (
            "defaultConfig: {tracing: {zipkin: {}}}",
            "defaultConfig.tracing.zipkin.address: \"\" is not host:port",
        ),
        (
            "defaultConfig: {tracing: {lightstep: {address: 'a:1'}}}",
            "defaultConfig.tracing.lightstep.accessToken: missing",
        ),
        (
            "defaultConfig: {tracing: {lightstep: {address: 'a:1', accessToken: x, secure: true}}}",
            "defaultConfig.tracing.lightstep.cacertPath: secure needs it",
        ),
    ] {
        assert_eq!(problem(invalid).as_deref(), Some(expected), "{invalid}");
    }
}

#[test]
fn v9_locality_load_balancing() {
    let distribute = |from: &str, to: &str| {
        problem(&format!(
            "localityLbSetting: {{distribute: [{{from: {from}, to: {to}}}]}}"
        ))
    };
    for (from, to, expected) in [
        ("us", "{us: 99}", "to: the weights add up to 99 instead of 100"),
        (
            "us",
            "{us: 0, eu: 100}",
            "to[us]: 0 is not a percentage (1 to 100)",
        ),
        (
            "us",
            "{us/z1: 50, us: 50}",
            "to[us/z1]: \"us/z1\" overlaps with \"us\"",
        ),
        (
            "us",
            "{us/*: 50, us/z1: 50}",
            "to[us/z1]: \"us/z1\" overlaps with \"us\"",
        ),
        (
            "us//a",
            "{us: 100}",
            "from: \"us//a\" is not a locality such as region/zone/subzone",
        ),
        (
            "a/b/c/d",
            "{us: 100}",
            "from: \"a/b/c/d\" is not a locality such as region/zone/subzone",
        ),
        (
            "us/*/a",
            "{us: 100}",
            "from: \"us/*/a\": a wildcard stands alone and last",
        ),
        (
            "us/z*",
            "{us: 100}",
            "from: \"us/z*\": a wildcard stands alone and last",
        ),
    ] {
        let expected = format!("localityLbSetting.distribute[0].{expected}");
        assert_eq!(distribute(from, to), Some(expected), "{from} {to}");
    }
    for (setting, expected) in [
        (
            "{distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}",
            "localityLbSetting: distribute and failover exclude one another",
        ),
        (
            "{distribute: [{from: a, to: {a: 100}}, {from: a/b, to: {a: 100}}]}",
            "localityLbSetting.distribute[1].from: \"a/b\" overlaps with \"a\"",
        ),
        (
            "{failover: [{from: a, to: a}]}",
            "localityLbSetting.failover[0]: from and to are the same region",
        ),
        (
            "{failover: [{from: a, to: '*'}]}",
            "localityLbSetting.failover[0].to: no wildcard here",
        ),
    ] {
        assert_eq!(
            problem(&format!("localityLbSetting: {setting}")).as_deref(),
            Some(expected),
            "{setting}"
        );
    }
}

#[test]
fn networks() {
    for (invalid, expected) in [
        (
            "endpoints: [{}]",
            "networks[n].endpoints[0]: one of fromCidr and fromRegistry is needed",
        ),
        (
            "endpoints: [{fromCidr: a}]",
            "networks[n].endpoints[0].fromCidr: \"a\" is neither an IP address nor a CIDR block",
        ),
        (
            "endpoints: [{fromRegistry: ''}]",
            "networks[n].endpoints[0].fromRegistry: missing",
        ),
        (
            "gateways: [{port: 1}]",
            "networks[n].gateways[0]: one of registryServiceName and address is needed",
        ),
        (
            "gateways: [{address: a}]",
            "networks[n].gateways[0].port: 0 is not a port (1 to 65535)",
        ),
        (
            "gateways: [{registryServiceName: a_b, port: 1}]",
            "networks[n].gateways[0].registryServiceName: \"a_b\" is not a domain name",
        ),
    ] {
        let error = parse_networks(&format!("networks: {{n: {{{invalid}}}}}")).unwrap_err();
        assert_eq!(
            format!("{}: {}", error.field, error.reason),
            expected,
            "{invalid}"
        );
    }
}
