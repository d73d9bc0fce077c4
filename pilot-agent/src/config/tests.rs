//! Flags and environment, and what becomes of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{BootstrapSource, Config, HotRestart, Locality, Tracer};
use crate::cli::{Cli, Task};
use crate::env::Environment;

/// Reads a command line behind `proxy` with the environment and the addresses of interfaces.
pub(crate) fn resolve(line: &str, env: &[(&str, &str)], interfaces: &[&str]) -> Result<Config, String> {
    let words = ["pilot-agent", "proxy"]
        .into_iter()
        .chain(line.split_whitespace());
    let Task::Proxy(args) = Cli::read(words.map(Into::into)).unwrap().cli.command else {
        unreachable!()
    };
    let interfaces: Vec<IpAddr> = interfaces.iter().map(|ip| ip.parse().unwrap()).collect();
    let env: Environment = env.iter().copied().collect();
    Config::resolve(*args, &env, &interfaces).map_err(|error| error.to_string())
}

const POD: [(&str, &str); 2] = [("POD_NAME", "frontend-v1-abc"), ("POD_NAMESPACE", "weather")];

#[test]
fn agt_11_the_node_id_has_role_address_name_and_domain() {
    let id = |line: &str, env: &[(&str, &str)], ips: &[&str]| resolve(line, env, ips).unwrap().node.id();
    let want = "sidecar~10.1.2.3~frontend-v1-abc.weather~weather.svc.cluster.local";
    assert_eq!(id("--ip 10.1.2.3", &POD, &["10.9.9.9"]), want);
    assert_eq!(id("", &POD, &["10.1.2.3"]), want);
    assert_eq!(
        id("router --id a --domain b --ip [2001:db8::1]", &[], &[]),
        "router~2001:db8::1~a~b"
    );
    let consul = "sidecar~10.1.2.3~10.1.2.3.service.consul~service.consul";
    assert_eq!(id("--serviceregistry Consul", &[], &["10.1.2.3"]), consul);
    assert_eq!(
        id("", &[], &[]),
        "sidecar~127.0.0.1~127.0.0.1~default.svc.cluster.local"
    );
}

#[test]
fn the_given_address_comes_first_and_each_address_once() {
    let config = resolve("--ip 10.0.0.2", &[], &["10.0.0.1", "10.0.0.2", "2001:db8::1"]).unwrap();
    assert_eq!(
        config.node.metadata["INSTANCE_IPS"],
        "10.0.0.2,10.0.0.1,2001:db8::1"
    );
}

#[test]
fn metadata_is_flattened_and_bad_json_is_left_out() {
    let env = [
        ("ISTIO_META_POD_NAME", "frontend-v1-abc"),
        (
            "ISTIO_METAJSON_LABELS",
            r#"{"app":"frontend","version":"v1","istio-locality":"r.z.s"}"#,
        ),
        (
            "ISTIO_METAJSON_ANNOTATIONS",
            r#"{"sidecar.istio.io/statsInclusionPrefixes":"cluster.outbound, http"}"#,
        ),
        ("ISTIO_METAJSON_BAD", "{"),
        ("ISTIO_METAJSON_LIST", "[1]"),
    ];
    let config = resolve("--ip 10.0.0.1", &env, &[]).unwrap();
    let want = json!({
        "INSTANCE_IPS": "10.0.0.1",
        "ISTIO_PROXY_VERSION": "1.1.17",
        "POD_NAME": "frontend-v1-abc",
        "app": "frontend",
        "istio": "sidecar",
        "istio-locality": "r.z.s",
        "sidecar.istio.io/statsInclusionPrefixes": "cluster.outbound, http",
        "version": "v1",
    });
    assert_eq!(json!(config.node.metadata), want);
    assert_eq!(config.stats_prefixes, ["cluster.outbound", "http"]);
    let locality = Locality {
        region: "r".into(),
        zone: "z".into(),
        sub_zone: "s".into(),
    };
    assert_eq!(config.node.locality, Some(locality));
}

#[test]
fn a_gateway_keeps_the_label_that_selects_it() {
    let env = [("ISTIO_METAJSON_LABELS", r#"{"istio":"ingressgateway"}"#)];
    let config = resolve("router", &env, &[]).unwrap();
    assert_eq!(config.node.metadata["istio"], Value::from("ingressgateway"));
}

#[test]
fn agt_12_the_identity_of_pilot_follows_from_the_way_it_is_called() {
    for (line, env, want) in [
        (
            "istio-pilot:15011",
            &POD[..],
            "spiffe://cluster.local/ns/weather/sa",
        ),
        (
            "istio-pilot.mesh:15011",
            &POD[..],
            "spiffe://cluster.local/ns/mesh/sa",
        ),
        (
            "istio-pilot.mesh.svc.cluster.local:15011",
            &POD[..],
            "spiffe://cluster.local/ns/istio-system/sa",
        ),
        (
            "10.0.0.1:15011",
            &[("ISTIO_NAMESPACE", "mine")],
            "spiffe://cluster.local/ns/mine/sa",
        ),
        (
            "[2001:db8::1]:15011 --trust-domain other",
            &[],
            "spiffe://other/ns/istio-system/sa",
        ),
        (
            "istio-pilot.a:15011 --domain b.svc.example.org",
            &[],
            "spiffe://example.org/ns/a/sa",
        ),
    ] {
        let line = format!("--controlPlaneAuthPolicy MUTUAL_TLS --discoveryAddress {line}");
        let san = resolve(&line, env, &[])
            .unwrap()
            .discovery
            .mutual_tls
            .unwrap()
            .san;
        assert_eq!(san, format!("{want}/istio-pilot-service-account"), "{line}");
    }
    assert_eq!(resolve("", &POD, &[]).unwrap().discovery.mutual_tls, None);
}

#[test]
fn agt_20_the_bootstrap_comes_from_the_first_source_that_is_given() {
    let source = |line: &str, env: &[(&str, &str)]| resolve(line, env, &[]).unwrap().envoy.bootstrap;
    let everything = "--customConfigFile c.json --templateFile t.tmpl";
    let bootstrap = [("ISTIO_BOOTSTRAP", "b.tmpl")];
    assert_eq!(
        source(everything, &bootstrap),
        BootstrapSource::Template("b.tmpl".into())
    );
    assert_eq!(source(everything, &[]), BootstrapSource::File("c.json".into()));
    let pod = BootstrapSource::ControlPlane {
        template: "t.tmpl".into(),
        disable_reports: true,
    };
    assert_eq!(
        source("--templateFile t.tmpl --disableInternalTelemetry", &[]),
        pod
    );
    let own = BootstrapSource::Template("t.tmpl".into());
    assert_eq!(
        source("--templateFile t.tmpl --controlPlaneBootstrap=false", &[]),
        own
    );
    assert_eq!(source("", &[]), BootstrapSource::Generated);
}

#[test]
fn agt_52_certificates_of_both_directions_and_of_an_ingress_are_watched() {
    let names = |line: &str, env: &[(&str, &str)]| {
        let files = resolve(line, env, &[]).unwrap().certificates.files;
        files
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
    };
    let usual = [
        "/etc/certs/cert-chain.pem",
        "/etc/certs/key.pem",
        "/etc/certs/root-cert.pem",
    ];
    assert_eq!(names("", &[]), usual);
    assert_eq!(
        names("ingress", &[])[3..],
        [
            "/etc/istio/ingress-certs/tls.crt",
            "/etc/istio/ingress-certs/tls.key"
        ]
    );
    let env = [("ISTIO_META_TLS_SERVER_KEY", "/other/key.pem")];
    assert_eq!(names("--certificatePath /c", &env)[3..], ["/other/key.pem"]);
    assert!(resolve("", &[], &[]).unwrap().certificates.required.is_empty());
    let required = resolve("--controlPlaneAuthPolicy MUTUAL_TLS", &[], &[])
        .unwrap()
        .certificates
        .required;
    assert_eq!(required, usual.map(PathBuf::from));
}

#[test]
fn agt_62_the_drain_is_limited_by_the_environment() {
    let limits = |env: &[(&str, &str)]| {
        let drain = resolve("", env, &[]).unwrap().drain;
        (drain.min.as_millis(), drain.max.as_secs())
    };
    assert_eq!(limits(&[]), (0, 5));
    assert_eq!(
        limits(&[
            ("TERMINATION_DRAIN_DURATION_SECONDS", "30"),
            ("MINIMUM_DRAIN_DURATION", "1.5s")
        ]),
        (1500, 30)
    );
    assert_eq!(
        limits(&[
            ("TERMINATION_DRAIN_DURATION_SECONDS", "soon"),
            ("MINIMUM_DRAIN_DURATION", "x")
        ]),
        (0, 5)
    );
    assert_eq!(
        limits(&[
            ("TERMINATION_DRAIN_DURATION_SECONDS", "1"),
            ("MINIMUM_DRAIN_DURATION", "1m")
        ]),
        (1000, 1)
    );
}

#[test]
fn numbers_of_zero_switch_things_off() {
    let config = resolve("--statusPort 0 --concurrency 0 --prometheusPort 0", &[], &[]).unwrap();
    assert_eq!(
        (
            config.status.port,
            config.envoy.concurrency,
            config.prometheus_port
        ),
        (None, None, None)
    );
    let config = resolve(
        "--statusPort 15020 --concurrency 2 --applicationPorts 80,443,80",
        &[],
        &[],
    )
    .unwrap();
    assert_eq!(config.status.port, Some(15020));
    assert_eq!(config.status.application_ports, [80, 443]);
    assert_eq!(config.envoy.concurrency.map(u32::from), Some(2));
}

#[test]
fn hot_restart_has_three_forms() {
    let form = |line: &str| resolve(line, &[], &[]).unwrap().envoy.hot_restart;
    assert_eq!(form(""), HotRestart::Dynamic);
    assert_eq!(form("--baseId 7"), HotRestart::BaseId(7));
    assert_eq!(form("--disableHotRestart"), HotRestart::Disabled);
}

#[test]
fn the_arguments_of_the_injection_template_are_understood() {
    let line = "sidecar --domain weather.svc.cluster.local --configPath /etc/istio/proxy \
        --binaryPath /usr/local/bin/envoy --serviceCluster frontend.weather --drainDuration 45s \
        --parentShutdownDuration 1m0s --discoveryAddress istio-pilot.istio-system:15010 \
        --zipkinAddress zipkin.istio-system:9411 --proxyLogLevel=info --connectTimeout 10s \
        --statsdUdpAddress 10.0.0.9:9125 --proxyAdminPort 15000 --concurrency 2 \
        --controlPlaneAuthPolicy NONE --statusPort 15020 --applicationPorts 80";
    let config = resolve(line, &POD, &["10.1.2.3"]).unwrap();
    assert_eq!(config.node.cluster, "frontend.weather");
    assert_eq!(
        (config.envoy.drain_seconds, config.envoy.parent_shutdown_seconds),
        (45, 60)
    );
    assert_eq!(config.discovery.connect_timeout, Duration::from_secs(10));
    assert_eq!(
        config.discovery.address.to_string(),
        "istio-pilot.istio-system:15010"
    );
    assert!(matches!(config.tracer, Some(Tracer::Zipkin(_))));
}

#[test]
fn what_cannot_be_used_is_named() {
    for (line, env, want) in [
        (
            "gateway",
            &[][..],
            r#"role: "gateway" is none of sidecar, router, ingress"#,
        ),
        (
            "--serviceregistry Eureka",
            &[],
            r#"--serviceregistry: "Eureka" is none of Kubernetes, Consul, Mock"#,
        ),
        ("--ip here", &[], r#"--ip: "here" is not an address"#),
        (
            "--id a~b",
            &[],
            r#"--id: "a~b" contains '~', which separates the parts of a node id"#,
        ),
        (
            "--discoveryAddress :15010",
            &[],
            r#"--discoveryAddress: ":15010" is not a host and a port"#,
        ),
        (
            "--zipkinAddress zipkin",
            &[],
            "--zipkinAddress: invalid address \"zipkin\": the port is missing",
        ),
        (
            "--drainDuration 1500ms",
            &[],
            "--drainDuration: 1.5s is not a number of whole seconds",
        ),
        (
            "--drainDuration 60s",
            &[],
            "--parentShutdownDuration: 1m0s is not longer than --drainDuration 1m0s",
        ),
        (
            "--connectTimeout 0s",
            &[],
            "--connectTimeout: 0s is not a time from 1ms on",
        ),
        ("--proxyAdminPort 0", &[], "--proxyAdminPort: 0 is not a port"),
        (
            "--applicationPorts 80,http",
            &[],
            r#"--applicationPorts: "http" is not a port"#,
        ),
        (
            "--proxyLogLevel loud",
            &[],
            r#"--proxyLogLevel: "loud" is not a level of Envoy"#,
        ),
        (
            "--controlPlaneAuthPolicy TLS",
            &[],
            r#"--controlPlaneAuthPolicy: "TLS" is neither NONE nor MUTUAL_TLS"#,
        ),
        (
            "",
            &[("ISTIO_KUBE_APP_PROBERS", r#"{"/x":{"port":1}}"#)],
            r#"ISTIO_KUBE_APP_PROBERS: path "/x" is not /app-health/<container>/livez or /app-health/<container>/readyz"#,
        ),
    ] {
        assert_eq!(resolve(line, env, &[]).unwrap_err(), want, "{line}");
    }
}
