//! What a mesh configuration says about its sidecars (P7.1, P7.2).

use mesh_api::istio::mesh::v1alpha1::proxy_config::InboundInterceptionMode;
use mesh_api::istio::mesh::v1alpha1::tracing::Tracer as Collector;
use mesh_api::istio::mesh::v1alpha1::{AuthenticationPolicy, MeshConfig};
use mesh_config::mesh::{default_proxy, duration};

use super::annotations::InterceptionMode;
use super::config::{Lightstep, ProxyDefaults, Tracer};

// === impl ProxyDefaults ===

impl From<&MeshConfig> for ProxyDefaults {
    /// What the mesh configuration leaves out or cannot say is as in [`ProxyDefaults::default`].
    fn from(mesh: &MeshConfig) -> Self {
        let own = Self::default();
        let proxy = mesh.default_config.clone().unwrap_or_else(default_proxy);
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let port = |port: i32| u16::try_from(port).ok().filter(|port| *port != 0);
        let mode = match proxy.interception_mode() {
            InboundInterceptionMode::Redirect => InterceptionMode::Redirect,
            InboundInterceptionMode::Tproxy => InterceptionMode::Tproxy,
        };
        let policy = match proxy.control_plane_auth_policy() {
            AuthenticationPolicy::Inherit => own.control_plane_auth_policy,
            policy => policy.as_str_name().to_owned(),
        };
        Self {
            proxy_listen_port: port(mesh.proxy_listen_port).unwrap_or(own.proxy_listen_port),
            inbound_capture_port: own.inbound_capture_port,
            config_path: said(&proxy.config_path).unwrap_or(own.config_path),
            binary_path: said(&proxy.binary_path).unwrap_or(own.binary_path),
            drain_duration: duration(proxy.drain_duration.as_ref()).unwrap_or(own.drain_duration),
            parent_shutdown_duration: duration(proxy.parent_shutdown_duration.as_ref())
                .unwrap_or(own.parent_shutdown_duration),
            discovery_address: said(&proxy.discovery_address).unwrap_or(own.discovery_address),
            connect_timeout: duration(proxy.connect_timeout.as_ref()).unwrap_or(own.connect_timeout),
            statsd_udp_address: said(&proxy.statsd_udp_address),
            envoy_metrics_service_address: said(&proxy.envoy_metrics_service_address),
            proxy_admin_port: port(proxy.proxy_admin_port).unwrap_or(own.proxy_admin_port),
            concurrency: u32::try_from(proxy.concurrency).unwrap_or(own.concurrency),
            control_plane_auth_policy: policy,
            interception_mode: mode,
            tracer: proxy.tracing.and_then(|tracing| tracing.tracer).map(Tracer::from),
            trust_domain: own.trust_domain,
        }
    }
}

// === impl Tracer ===

impl From<Collector> for Tracer {
    fn from(collector: Collector) -> Self {
        match collector {
            Collector::Zipkin(zipkin) => Self::Zipkin(zipkin.address),
            Collector::Datadog(datadog) => Self::Datadog(datadog.address),
            Collector::Lightstep(access) => Self::Lightstep(Lightstep {
                address: access.address,
                access_token: access.access_token,
                secure: access.secure,
                cacert_path: access.cacert_path,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_config::mesh;

    use super::*;

    #[test]
    fn p7_2_sidecars_are_as_the_mesh_says() {
        let text = "\
proxyListenPort: 15009
defaultConfig:
  discoveryAddress: pilot.mesh:15011
  drainDuration: 7s
  concurrency: 2
  controlPlaneAuthPolicy: MUTUAL_TLS
  interceptionMode: TPROXY
  tracing: {zipkin: {address: 'zipkin.istio-system:9411'}}
";
        let proxy = ProxyDefaults::from(&mesh::parse(text).unwrap());
        assert_eq!(proxy.proxy_listen_port, 15009);
        assert_eq!(proxy.discovery_address, "pilot.mesh:15011");
        assert_eq!(proxy.drain_duration.as_secs(), 7);
        // Not said: the default of mesh configurations.
        assert_eq!(proxy.parent_shutdown_duration.as_secs(), 60);
        assert_eq!(proxy.connect_timeout.as_secs(), 1);
        assert_eq!(proxy.concurrency, 2);
        assert_eq!(proxy.control_plane_auth_policy, "MUTUAL_TLS");
        assert_eq!(proxy.interception_mode, InterceptionMode::Tproxy);
        let zipkin = Tracer::Zipkin("zipkin.istio-system:9411".to_owned());
        assert_eq!(proxy.tracer, Some(zipkin));
    }

    #[test]
    fn tel_12_every_collector_of_a_mesh_is_known() {
        let tracer = |text: &str| {
            let text = format!("defaultConfig: {{tracing: {text}}}");
            ProxyDefaults::from(&mesh::parse(&text).unwrap()).tracer
        };
        let datadog = tracer("{datadog: {address: 'agent:8126'}}");
        assert_eq!(datadog, Some(Tracer::Datadog("agent:8126".to_owned())));
        let lightstep = tracer("{lightstep: {address: 'satellite:8080', accessToken: secret}}");
        assert!(matches!(
            lightstep,
            Some(Tracer::Lightstep(access)) if access.address == "satellite:8080" && access.access_token == "secret"
        ));
        assert_eq!(tracer("null"), None);
    }
}
