//! The mesh configuration that values make, as Pilot reads it.

use mesh_api::istio::mesh::v1alpha1::mesh_config::AccessLogEncoding;
use mesh_api::istio::mesh::v1alpha1::mesh_config::outbound_traffic_policy::Mode;
use mesh_api::istio::mesh::v1alpha1::{AuthenticationPolicy, MeshConfig, tracing::Tracer};
use mesh_config::mesh;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;

use super::{Release, parsed};

/// The text of a key of ConfigMap `istio`, as the book reads it.
async fn text(release: &Release, key: &str) -> String {
    let line = format!("get configmap istio -o jsonpath={{.data.{key}}}");
    release.kubectl(&line, "").await
}

async fn config(release: &Release) -> MeshConfig {
    let text = text(release, "mesh").await;
    every_field_exists(
        &parsed("mesh", &text),
        &descriptor("istio.mesh.v1alpha1.MeshConfig"),
        "mesh",
    );
    mesh::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn descriptor(name: &str) -> MessageDescriptor {
    mesh_api::descriptors()
        .get_message_by_name(name)
        .expect("a message")
}

/// Pilot passes over what it does not know: here nothing may be passed over.
fn every_field_exists(value: &Value, message: &MessageDescriptor, path: &str) {
    let (Some(fields), false) = (value.as_object(), message.full_name().starts_with("google.")) else {
        return;
    };
    for (name, value) in fields {
        let field = message
            .get_field_by_json_name(name)
            .unwrap_or_else(|| panic!("{path}.{name} is no field"));
        let Kind::Message(inner) = field.kind() else {
            continue;
        };
        let elements = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        if !field.is_map() {
            for element in elements {
                every_field_exists(element, &inner, &format!("{path}.{name}"));
            }
        }
    }
}

/// M75: the mesh configuration says whether policies are checked, and an upgrade changes it.
#[tokio::test]
async fn m75_an_upgrade_switches_policy_checks_on() {
    let release = Release::install("checks", &[]).await;
    let shown = async || {
        let text = text(&release, "mesh").await;
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("disablePolicyChecks:"));
        (
            lines.next().map(str::to_owned),
            config(&release).await.disable_policy_checks,
        )
    };
    assert_eq!(
        shown().await,
        (Some("disablePolicyChecks: true".to_owned()), true)
    );
    release.upgrade(&["global.disablePolicyChecks=false"]).await;
    assert_eq!(
        shown().await,
        (Some("disablePolicyChecks: false".to_owned()), false)
    );
    // Another upgrade leaves it so, and without a Mixer nobody is asked.
    release.upgrade(&["kiali.enabled=true"]).await;
    assert_eq!(
        shown().await,
        (Some("disablePolicyChecks: false".to_owned()), false)
    );
    release.upgrade(&["mixer.policy.enabled=false"]).await;
    assert_eq!(
        shown().await,
        (Some("disablePolicyChecks: true".to_owned()), true)
    );
    assert_eq!(config(&release).await.mixer_check_server, "");
    release.uninstall().await;
}

/// Spec 05 §4.5, §4.6: without any value the mesh is configured as in 1.1.
#[tokio::test]
async fn spec_05_4_5_the_defaults_are_those_of_1_1() {
    let release = Release::install("defaults", &[]).await;
    let namespace = &release.namespace;
    let mesh = config(&release).await;
    assert!(mesh.disable_policy_checks && mesh.enable_tracing && !mesh.policy_check_fail_open);
    let service = |name: &str, port: u16| format!("{name}.{namespace}.svc.cluster.local:{port}");
    assert_eq!(mesh.mixer_check_server, service("istio-policy", 9091));
    assert_eq!(mesh.mixer_report_server, service("istio-telemetry", 9091));
    assert_eq!((&*mesh.access_log_file, &*mesh.access_log_format), ("", ""));
    assert_eq!(mesh.access_log_encoding(), AccessLogEncoding::Text);
    assert_eq!(mesh.ingress_service, "istio-ingressgateway");
    assert_eq!(
        mesh.outbound_traffic_policy.map(|policy| policy.mode()),
        Some(Mode::AllowAny)
    );
    assert_eq!(mesh.root_namespace, *namespace);
    let seconds = |duration: Option<prost_types::Duration>| duration.map(|duration| duration.seconds);
    assert_eq!(
        (seconds(mesh.connect_timeout), seconds(mesh.dns_refresh_rate)),
        (Some(10), Some(5))
    );
    let sources: Vec<_> = mesh
        .config_sources
        .iter()
        .map(|source| &*source.address)
        .collect();
    assert_eq!(sources, [format!("istio-galley.{namespace}.svc:9901")]);
    assert!(mesh.config_sources[0].tls_settings.is_none());

    let proxy = mesh.default_config.expect("how proxies start");
    assert_eq!(proxy.discovery_address, format!("istio-pilot.{namespace}:15010"));
    assert_eq!((proxy.concurrency, proxy.proxy_admin_port), (2, 15000));
    assert_eq!(proxy.control_plane_auth_policy(), AuthenticationPolicy::None);
    assert_eq!(
        (
            seconds(proxy.drain_duration),
            seconds(proxy.parent_shutdown_duration)
        ),
        (Some(45), Some(60))
    );
    let Some(Tracer::Zipkin(zipkin)) = proxy.tracing.and_then(|tracing| tracing.tracer) else {
        panic!("spans do not go to Zipkin");
    };
    assert_eq!(zipkin.address, format!("zipkin.{namespace}:9411"));
    assert!(
        mesh::parse_networks(&text(&release, "meshNetworks").await)
            .expect("networks")
            .networks
            .is_empty()
    );
    release.uninstall().await;
}

/// Spec 05 §4.5, §4.6: each value has its effect.
#[tokio::test]
async fn spec_05_4_6_values_become_the_mesh_configuration() {
    let values = [
        "global.controlPlaneSecurityEnabled=true",
        "global.policyCheckFailOpen=true",
        "global.enableTracing=false",
        "global.proxy.accessLogFile=/dev/stdout",
        "global.proxy.accessLogFormat=%START_TIME% \"%PROTOCOL%\"\n",
        "global.proxy.accessLogEncoding=JSON",
        "global.proxy.clusterDomain=cluster.example",
        "global.proxy.concurrency=0",
        "global.proxy.dnsRefreshRate=60s",
        "global.proxy.tracer=lightstep",
        "global.tracer.lightstep.address=satellite:443",
        "global.tracer.lightstep.accessToken=token",
        "global.tracer.lightstep.cacertPath=/etc/lightstep/cacert.pem",
        "global.proxy.envoyStatsd.enabled=true",
        "global.proxy.envoyStatsd.host=statsd",
        "global.proxy.envoyStatsd.port=9125",
        "global.outboundTrafficPolicy.mode=REGISTRY_ONLY",
        "global.trustDomain=example.org",
        "global.configRootNamespace=config",
        "global.defaultConfigVisibilitySettings={.}",
        "global.localityLbSetting.failover[0].from=eu",
        "global.localityLbSetting.failover[0].to=us",
        "global.meshNetworks.network1.endpoints[0].fromRegistry=cluster1",
        "global.meshNetworks.network1.gateways[0].address=192.0.2.1",
        "global.meshNetworks.network1.gateways[0].port=443",
        "gateways.enabled=false",
        "mixer.telemetry.enabled=false",
        "prometheus.enabled=false",
    ];
    let release = Release::install("mesh", &values).await;
    let namespace = &release.namespace;
    let mesh = config(&release).await;
    assert!(mesh.policy_check_fail_open && !mesh.enable_tracing);
    assert_eq!(
        mesh.mixer_check_server,
        format!("istio-policy.{namespace}.svc.cluster.example:15004")
    );
    assert_eq!(mesh.mixer_report_server, "");
    assert_eq!(mesh.access_log_file, "/dev/stdout");
    assert_eq!(mesh.access_log_format, "%START_TIME% \"%PROTOCOL%\"\n");
    assert!(mesh::access_log_is_json(&mesh) && !mesh::allows_any_outbound(&mesh));
    assert_eq!(mesh::dns_refresh_rate(&mesh).as_secs(), 60);
    assert_eq!(
        (&*mesh.trust_domain, &*mesh.root_namespace),
        ("example.org", "config")
    );
    for list in [
        &mesh.default_service_export_to,
        &mesh.default_virtual_service_export_to,
        &mesh.default_destination_rule_export_to,
    ] {
        assert_eq!(*list, ["."]);
    }
    assert_eq!(mesh.locality_lb_setting.expect("localities").failover[0].to, "us");
    assert!(mesh.config_sources[0].tls_settings.is_some());
    let proxy = mesh.default_config.expect("how proxies start");
    assert_eq!(proxy.discovery_address, format!("istio-pilot.{namespace}:15011"));
    assert_eq!(proxy.control_plane_auth_policy(), AuthenticationPolicy::MutualTls);
    assert_eq!(
        (proxy.concurrency, &*proxy.statsd_udp_address),
        (0, "statsd:9125")
    );
    let networks = mesh::parse_networks(&text(&release, "meshNetworks").await).expect("networks");
    assert_eq!(networks.networks["network1"].gateways[0].port, 443);

    let refused = release.helm("upgrade", &["global.proxy.tracer=jaeger"]).await;
    let said = refused.expect_err("no tracer of proxies");
    assert!(
        said.contains("global.proxy.tracer is \"jaeger\": it is zipkin or lightstep"),
        "{said}"
    );
    release.uninstall().await;
}
