//! Mesh configuration and networks (V9).

use std::collections::BTreeSet;
use std::time::Duration;

use mesh_api::istio::mesh::v1alpha1::network::istio_network_gateway::Gw;
use mesh_api::istio::mesh::v1alpha1::network::network_endpoints::Ne;
use mesh_api::istio::mesh::v1alpha1::tracing::Tracer;
use mesh_api::istio::mesh::v1alpha1::{
    AuthenticationPolicy, LocalityLoadBalancerSetting, MeshConfig, MeshNetworks, ProxyConfig, Tracing,
};

use super::Problem;
use super::primitive::{self, Checked};
use super::problems::Problems;

/// Longest drain and parent shutdown.
const HOUR: Duration = Duration::from_secs(3600);

/// The rules that a mesh configuration breaks.
pub fn config(mesh: &MeshConfig) -> Vec<Problem> {
    let mut problems = Problems::default();
    for (name, address) in [
        ("mixerCheckServer", &mesh.mixer_check_server),
        ("mixerReportServer", &mesh.mixer_report_server),
    ] {
        if !address.is_empty() {
            problems.check_field(name, primitive::proxy_address(address));
        }
    }
    problems.check_field("proxyListenPort", primitive::port(mesh.proxy_listen_port));
    if mesh.proxy_http_port != 0 {
        problems.check_field("proxyHttpPort", primitive::port(mesh.proxy_http_port));
    }
    problems.check_field(
        "connectTimeout",
        required(mesh.connect_timeout.as_ref(), primitive::connect_timeout),
    );
    if let Some(rate) = &mesh.dns_refresh_rate {
        problems.check_field("dnsRefreshRate", primitive::duration(rate));
    }
    for (name, namespaces) in [
        ("defaultServiceExportTo", &mesh.default_service_export_to),
        (
            "defaultVirtualServiceExportTo",
            &mesh.default_virtual_service_export_to,
        ),
        (
            "defaultDestinationRuleExportTo",
            &mesh.default_destination_rule_export_to,
        ),
    ] {
        problems.check_field(name, primitive::export_to(namespaces));
    }
    match &mesh.default_config {
        None => problems.report_field("defaultConfig", "missing"),
        Some(proxy) => problems.field("defaultConfig", |problems| check_proxy(proxy, problems)),
    }
    if let Some(setting) = &mesh.locality_lb_setting {
        problems.field("localityLbSetting", |problems| check_locality(setting, problems));
    }
    problems.into_vec()
}

/// The rules that a proxy configuration breaks.
pub fn proxy_config(proxy: &ProxyConfig) -> Vec<Problem> {
    let mut problems = Problems::default();
    check_proxy(proxy, &mut problems);
    problems.into_vec()
}

/// The rules that mesh networks break.
pub fn networks(networks: &MeshNetworks) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.each_entry("networks", &networks.networks, |problems, _, network| {
        problems.each(
            "endpoints",
            &network.endpoints,
            |problems, endpoints| match &endpoints.ne {
                None => problems.report("one of fromCidr and fromRegistry is needed"),
                Some(Ne::FromCidr(cidr)) => problems.check_field("fromCidr", primitive::subnet(cidr)),
                Some(Ne::FromRegistry(name)) if name.is_empty() => {
                    problems.report_field("fromRegistry", "missing")
                }
                Some(Ne::FromRegistry(_)) => {}
            },
        );
        problems.each("gateways", &network.gateways, |problems, gateway| {
            match &gateway.gw {
                None => problems.report("one of registryServiceName and address is needed"),
                Some(Gw::RegistryServiceName(name)) => {
                    problems.check_field("registryServiceName", primitive::fqdn(name));
                }
                Some(Gw::Address(address)) if primitive::is_ip(address) => {}
                Some(Gw::Address(address)) => problems.check_field("address", primitive::fqdn(address)),
            }
            problems.check_field("port", primitive::port(gateway.port));
        });
    });
    problems.into_vec()
}

fn check_proxy(proxy: &ProxyConfig, problems: &mut Problems) {
    for (name, text) in [
        ("configPath", &proxy.config_path),
        ("binaryPath", &proxy.binary_path),
        ("serviceCluster", &proxy.service_cluster),
    ] {
        if text.is_empty() {
            problems.report_field(name, "missing");
        }
    }
    let (drain, shutdown) = (
        proxy.drain_duration.as_ref(),
        proxy.parent_shutdown_duration.as_ref(),
    );
    problems.check_field("drainDuration", required(drain, within_an_hour));
    problems.check_field("parentShutdownDuration", required(shutdown, within_an_hour));
    if let (Some(drain), Some(shutdown)) = (drain, shutdown)
        && (shutdown.seconds, shutdown.nanos) <= (drain.seconds, drain.nanos)
    {
        problems.report_field(
            "parentShutdownDuration",
            format!("{shutdown} is not longer than draining ({drain})"),
        );
    }
    problems.check_field(
        "discoveryAddress",
        primitive::proxy_address(&proxy.discovery_address),
    );
    problems.check_field(
        "connectTimeout",
        required(proxy.connect_timeout.as_ref(), primitive::connect_timeout),
    );
    for (name, address) in [
        ("statsdUdpAddress", &proxy.statsd_udp_address),
        ("envoyMetricsServiceAddress", &proxy.envoy_metrics_service_address),
    ] {
        if !address.is_empty() {
            problems.check_field(name, primitive::proxy_address(address));
        }
    }
    problems.check_field("proxyAdminPort", primitive::port(proxy.proxy_admin_port));
    if proxy.control_plane_auth_policy() == AuthenticationPolicy::Inherit {
        problems.report_field("controlPlaneAuthPolicy", "expected NONE or MUTUAL_TLS");
    }
    if let Some(tracing) = &proxy.tracing {
        problems.field("tracing", |problems| check_tracing(tracing, problems));
    }
}

fn check_tracing(tracing: &Tracing, problems: &mut Problems) {
    match &tracing.tracer {
        None => {}
        Some(Tracer::Zipkin(zipkin)) => {
            problems.check_field("zipkin.address", primitive::proxy_address(&zipkin.address));
        }
        Some(Tracer::Lightstep(lightstep)) => problems.field("lightstep", |problems| {
            problems.check_field("address", primitive::proxy_address(&lightstep.address));
            if lightstep.access_token.is_empty() {
                problems.report_field("accessToken", "missing");
            }
            if lightstep.secure && lightstep.cacert_path.is_empty() {
                problems.report_field("cacertPath", "secure needs it");
            }
        }),
        Some(Tracer::Datadog(datadog)) => {
            // The agent of the own node, filled in at the proxy.
            let address = datadog.address.replace("$(HOST_IP)", "127.0.0.1");
            problems.check_field("datadog.address", primitive::proxy_address(&address));
        }
    }
}

fn check_locality(setting: &LocalityLoadBalancerSetting, problems: &mut Problems) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        problems.report("distribute and failover exclude one another");
    }
    let mut from = BTreeSet::new();
    problems.each("distribute", &setting.distribute, |problems, distribute| {
        problems.check_field(
            "from",
            locality(&distribute.from).and_then(|()| no_overlap(&distribute.from, &mut from)),
        );
        let mut to = BTreeSet::new();
        problems.each_entry("to", &distribute.to, |problems, name, weight| {
            problems.check(locality(name).and_then(|()| no_overlap(name, &mut to)));
            if !(1..=100).contains(weight) {
                problems.report(format!("{weight} is not a percentage (1 to 100)"));
            }
        });
        let sum: u64 = distribute.to.values().map(|weight| u64::from(*weight)).sum();
        if sum != 100 {
            problems.report_field("to", format!("the weights add up to {sum} instead of 100"));
        }
    });
    problems.each("failover", &setting.failover, |problems, failover| {
        if failover.from == failover.to {
            problems.report("from and to are the same region");
        }
        if failover.to.contains('*') {
            problems.report_field("to", "no wildcard here");
        }
    });
}

/// `region/zone/subzone`, of which the last that is given may be `*`.
fn locality(text: &str) -> Checked {
    let segments: Vec<&str> = text.split('/').collect();
    let (last, others) = segments
        .split_last()
        .map_or(("", &[][..]), |(last, others)| (*last, others));
    if segments.len() > 3 || segments.iter().any(|segment| segment.is_empty()) {
        return Err(format!("{text:?} is not a locality such as region/zone/subzone"));
    }
    if others.iter().any(|segment| segment.contains('*')) || last.contains('*') && last != "*" {
        return Err(format!("{text:?}: a wildcard stands alone and last"));
    }
    Ok(())
}

/// Whether the locality is inside of, or contains, one that was seen before.
fn no_overlap(text: &str, seen: &mut BTreeSet<String>) -> Checked {
    let inside = |a: &str, b: &str| a == b || b.is_empty() || a.starts_with(&format!("{b}/"));
    let area = text.trim_end_matches('*').trim_end_matches('/').to_owned();
    if let Some(other) = seen
        .iter()
        .find(|other| inside(&area, other) || inside(other, &area))
    {
        return Err(format!("{text:?} overlaps with {other:?}"));
    }
    seen.insert(area);
    Ok(())
}

fn within_an_hour(value: &prost_types::Duration) -> Checked {
    primitive::whole_seconds(value)?;
    let duration = primitive::std_duration(value)?;
    if duration <= HOUR {
        Ok(())
    } else {
        Err(format!("{duration:?} is longer than 1h"))
    }
}

fn required(
    duration: Option<&prost_types::Duration>,
    check: impl FnOnce(&prost_types::Duration) -> Checked,
) -> Checked {
    duration.map_or_else(|| Err("missing".to_owned()), check)
}
