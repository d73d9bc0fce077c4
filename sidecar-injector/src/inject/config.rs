//! What the installation says: the mesh's proxy settings and the chart's values.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::annotations::InterceptionMode;

/// The settings of `MeshConfig` and its `defaultConfig` that end up on the sidecar's command line (P7.1, P7.2).
#[derive(Clone, Debug)]
pub struct ProxyDefaults {
    /// Port of the outbound capture listener (`proxyListenPort`).
    pub proxy_listen_port: u16,
    /// Port of the inbound capture listener (`-z`); `None` leaves inbound on `proxy_listen_port`.
    pub inbound_capture_port: Option<u16>,
    /// Folder for the bootstrap files.
    pub config_path: String,
    /// Envoy's executable.
    pub binary_path: String,
    /// How long a replaced Envoy drains.
    pub drain_duration: Duration,
    /// When a replaced Envoy is ended.
    pub parent_shutdown_duration: Duration,
    /// `host:port` of Pilot.
    pub discovery_address: String,
    /// Connect timeout of the control-plane clusters.
    pub connect_timeout: Duration,
    /// `host:port` of a statsd collector.
    pub statsd_udp_address: Option<String>,
    /// `host:port` of an Envoy metrics service.
    pub envoy_metrics_service_address: Option<String>,
    /// Port of Envoy's administration interface.
    pub proxy_admin_port: u16,
    /// Worker threads; 0 = derive them from the CPU resources (INJ-50).
    pub concurrency: u32,
    /// `NONE` or `MUTUAL_TLS`.
    pub control_plane_auth_policy: String,
    /// How traffic is captured unless the pod says otherwise.
    pub interception_mode: InterceptionMode,
    /// Where spans go.
    pub tracer: Option<Tracer>,
    /// Trust domain, when it is not the default.
    pub trust_domain: Option<String>,
}

/// A tracing backend of `defaultConfig.tracing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracer {
    /// Zipkin at `host:port`.
    Zipkin(String),
    /// LightStep's satellite pool.
    Lightstep(Lightstep),
    /// A Datadog agent at `host:port`.
    Datadog(String),
}

/// Access to LightStep.
#[derive(Clone, PartialEq, Eq)]
pub struct Lightstep {
    /// `host:port` of the satellites.
    pub address: String,
    /// The project's access token. Never printed.
    pub access_token: String,
    /// Use TLS.
    pub secure: bool,
    /// Certificate authorities for TLS.
    pub cacert_path: String,
}

/// `policy` of the injection configuration (INJ-31).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Pods without an annotation are injected.
    #[default]
    Enabled,
    /// Pods without an annotation are left alone.
    Disabled,
    /// Anything else: nothing is injected, and the text is worth an error in the log.
    Unknown(String),
}

/// Timing of the proxy's readiness probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Seconds before the first probe.
    pub initial_delay_seconds: u32,
    /// Seconds between probes.
    pub period_seconds: u32,
    /// Failures in a row after which the pod is no longer ready.
    pub failure_threshold: u32,
}

/// The chart's values that shape a sidecar (`global.proxy.*` and friends).
#[derive(Clone, Debug)]
pub struct Values {
    /// Identifies this configuration in the pod's status annotation: the hash of the unrendered template.
    pub version: String,
    /// Default decision.
    pub policy: Policy,
    /// Inject every namespace that does not refuse.
    pub enable_namespaces_by_default: bool,
    /// Pods that are never injected; any match counts.
    pub never_inject_selector: Vec<LabelSelector>,
    /// Pods that are injected whatever the policy; any match counts.
    pub always_inject_selector: Vec<LabelSelector>,
    /// Registry prefix of the images.
    pub hub: String,
    /// Tag of the images.
    pub tag: String,
    /// Name of the proxy image, or a full reference containing `/`.
    pub proxy_image: String,
    /// Name of the init image, or a full reference containing `/`.
    pub proxy_init_image: String,
    /// Pull policy of both images.
    pub image_pull_policy: Option<String>,
    /// Cluster domain, for `--domain`.
    pub cluster_domain: String,
    /// Agent status port; 0 switches the status server and the probes off.
    pub status_port: u16,
    /// Timing of the readiness probe.
    pub readiness: Readiness,
    /// Captured destinations; `*` = all.
    pub include_ip_ranges: String,
    /// Destinations that are not captured.
    pub exclude_ip_ranges: String,
    /// Inbound ports that are not captured.
    pub exclude_inbound_ports: String,
    /// Run init and proxy privileged.
    pub privileged: bool,
    /// Add the init container that enables core dumps.
    pub enable_core_dump: bool,
    /// An interception plug-in of the container network does what `istio-init` does.
    pub cni_enabled: bool,
    /// Log level of Envoy; empty = the agent's default.
    pub proxy_log_level: String,
    /// Name of this network in a multi-network mesh.
    pub network: Option<String>,
    /// Run the proxy as a native sidecar; `false` is the shape of 1.1.
    pub native_sidecar: bool,
}

// === impl ProxyDefaults ===

impl Default for ProxyDefaults {
    fn default() -> Self {
        Self {
            proxy_listen_port: 15001,
            inbound_capture_port: Some(15006),
            config_path: "/etc/istio/proxy".to_owned(),
            binary_path: "/usr/local/bin/envoy".to_owned(),
            drain_duration: Duration::from_secs(45),
            parent_shutdown_duration: Duration::from_secs(60),
            discovery_address: "istio-pilot.istio-system:15010".to_owned(),
            connect_timeout: Duration::from_secs(10),
            statsd_udp_address: None,
            envoy_metrics_service_address: None,
            proxy_admin_port: 15000,
            concurrency: 0,
            control_plane_auth_policy: "NONE".to_owned(),
            interception_mode: InterceptionMode::Redirect,
            tracer: None,
            trust_domain: None,
        }
    }
}

// === impl Lightstep ===

impl std::fmt::Debug for Lightstep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lightstep")
            .field("address", &self.address)
            .field("secure", &self.secure)
            .field("cacert_path", &self.cacert_path)
            .finish_non_exhaustive()
    }
}

// === impl Policy ===

impl Policy {
    /// Reads the configuration's text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "enabled" => Self::Enabled,
            "disabled" => Self::Disabled,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

// === impl Readiness ===

impl Default for Readiness {
    fn default() -> Self {
        Self {
            initial_delay_seconds: 1,
            period_seconds: 2,
            failure_threshold: 30,
        }
    }
}

// === impl Values ===

impl Default for Values {
    fn default() -> Self {
        Self {
            version: String::new(),
            policy: Policy::Enabled,
            enable_namespaces_by_default: false,
            never_inject_selector: Vec::new(),
            always_inject_selector: Vec::new(),
            hub: "docker.io/istio".to_owned(),
            tag: "1.1.17".to_owned(),
            proxy_image: "proxyv2".to_owned(),
            proxy_init_image: "proxy_init".to_owned(),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            cluster_domain: "cluster.local".to_owned(),
            status_port: 15020,
            readiness: Readiness::default(),
            include_ip_ranges: "*".to_owned(),
            exclude_ip_ranges: String::new(),
            exclude_inbound_ports: String::new(),
            privileged: false,
            enable_core_dump: false,
            cni_enabled: false,
            proxy_log_level: String::new(),
            network: None,
            native_sidecar: true,
        }
    }
}

impl Values {
    /// The full reference of an image: names are completed with hub and tag, references stay (§1.9).
    #[must_use]
    pub fn image(&self, image: &str) -> String {
        if image.contains('/') {
            image.to_owned()
        } else {
            format!("{}/{image}:{}", self.hub, self.tag)
        }
    }
}
