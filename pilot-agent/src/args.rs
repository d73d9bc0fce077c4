//! The flags of `pilot-agent proxy` (spec 05 §3.2), as text. [`crate::config`] gives them meaning.

use std::path::PathBuf;

use clap::ArgAction;
use mesh_runtime::args::{GoDuration, HostPort};
use mesh_runtime::log::LogArgs;

/// What Envoy is started for, and how.
#[derive(Clone, Debug, clap::Args)]
// The last of several equal flags counts, as in Go.
#[command(args_override_self = true)]
pub struct ProxyArgs {
    /// What the proxy is for: sidecar, router or ingress.
    #[arg(value_name = "ROLE", default_value = "sidecar")]
    pub role: String,

    /// Where services are registered: Kubernetes, Consul or Mock.
    #[arg(
        long = "serviceregistry",
        value_name = "REGISTRY",
        default_value = "Kubernetes"
    )]
    pub service_registry: String,

    /// Address of the proxy; the addresses of the interfaces follow behind it.
    #[arg(long, value_name = "ADDRESS", env = "INSTANCE_IP")]
    pub ip: Option<String>,

    /// Name of the proxy [default: $POD_NAME.$POD_NAMESPACE].
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,

    /// DNS suffix of the proxy's services [default: $POD_NAMESPACE.svc.cluster.local].
    #[arg(long, value_name = "SUFFIX")]
    pub domain: Option<String>,

    /// Trust domain of the mesh [default: from --domain].
    #[arg(long = "trust-domain", value_name = "DOMAIN")]
    pub trust_domain: Option<String>,

    /// Port of the status server; 0 switches it off.
    #[arg(long = "statusPort", value_name = "PORT", default_value_t = 0)]
    pub status_port: u16,

    /// Ports of the application that readiness looks for.
    #[arg(long = "applicationPorts", value_name = "PORTS")]
    pub application_ports: Vec<String>,

    /// Folder for the files that Envoy is started with.
    #[arg(long = "configPath", value_name = "DIR", default_value = "/etc/istio/proxy")]
    pub config_path: PathBuf,

    /// The Envoy program.
    #[arg(
        long = "binaryPath",
        value_name = "FILE",
        default_value = "/usr/local/bin/envoy"
    )]
    pub binary_path: PathBuf,

    /// Name of the service that the proxy belongs to.
    #[arg(long = "serviceCluster", value_name = "NAME", default_value = "istio-proxy")]
    pub service_cluster: String,

    /// How long connections may take to leave during a hot restart.
    #[arg(long = "drainDuration", value_name = "DURATION", default_value = "45s")]
    pub drain_duration: GoDuration,

    /// How long the old process lives after a hot restart.
    #[arg(
        long = "parentShutdownDuration",
        value_name = "DURATION",
        default_value = "1m0s"
    )]
    pub parent_shutdown_duration: GoDuration,

    /// Address of Pilot.
    #[arg(
        long = "discoveryAddress",
        value_name = "HOST:PORT",
        default_value = "istio-pilot:15010"
    )]
    pub discovery_address: HostPort,

    /// Ask Pilot for changes only instead of whole states.
    #[arg(long = "xdsDelta", env = "PILOT_AGENT_XDS_DELTA", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    pub xds_delta: bool,

    /// Address of the Zipkin collector.
    #[arg(long = "zipkinAddress", value_name = "HOST:PORT", default_value = "")]
    pub zipkin_address: String,

    /// Address of the LightStep satellite.
    #[arg(long = "lightstepAddress", value_name = "HOST:PORT", default_value = "")]
    pub lightstep_address: String,

    /// Access token for LightStep.
    #[arg(long = "lightstepAccessToken", value_name = "TOKEN", default_value = "")]
    pub lightstep_access_token: String,

    /// Speak TLS with LightStep.
    #[arg(long = "lightstepSecure", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    pub lightstep_secure: bool,

    /// Certificates that LightStep is checked against.
    #[arg(long = "lightstepCacertPath", value_name = "FILE", default_value = "")]
    pub lightstep_cacert_path: String,

    /// Address of the Datadog agent.
    #[arg(long = "datadogAgentAddress", value_name = "HOST:PORT", default_value = "")]
    pub datadog_agent_address: String,

    /// How long a connection to Pilot may take to open.
    #[arg(long = "connectTimeout", value_name = "DURATION", default_value = "1s")]
    pub connect_timeout: GoDuration,

    /// Address of a statsd server (UDP); resolved once at start.
    #[arg(long = "statsdUdpAddress", value_name = "HOST:PORT", default_value = "")]
    pub statsd_udp_address: String,

    /// Address of an Envoy metrics service.
    #[arg(
        long = "envoyMetricsServiceAddress",
        value_name = "HOST:PORT",
        default_value = ""
    )]
    pub envoy_metrics_service_address: String,

    /// Port of Envoy's admin interface on the loopback.
    #[arg(long = "proxyAdminPort", value_name = "PORT", default_value_t = 15000)]
    pub proxy_admin_port: u16,

    /// Port on which Envoy shows its metrics to Prometheus; 0 switches it off.
    #[arg(
        long = "prometheusPort",
        env = "ENVOY_PROMETHEUS_PORT",
        value_name = "PORT",
        default_value_t = 15090
    )]
    pub prometheus_port: u16,

    /// How Envoy and Pilot identify each other: NONE or MUTUAL_TLS.
    #[arg(
        long = "controlPlaneAuthPolicy",
        value_name = "POLICY",
        default_value = "NONE"
    )]
    pub control_plane_auth_policy: String,

    /// A complete bootstrap file to use instead of a generated one.
    #[arg(long = "customConfigFile", value_name = "FILE")]
    pub custom_config_file: Option<PathBuf>,

    /// Envoy's log level: trace, debug, info, warning, error, critical or off.
    #[arg(long = "proxyLogLevel", value_name = "LEVEL", default_value = "warning")]
    pub proxy_log_level: String,

    /// Number of Envoy's worker threads; 0 for one on each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub concurrency: u32,

    /// A template of the bootstrap file.
    #[arg(long = "templateFile", value_name = "FILE")]
    pub template_file: Option<PathBuf>,

    /// Whether the template is that of a control-plane pod.
    #[arg(long = "controlPlaneBootstrap", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    pub control_plane_bootstrap: bool,

    /// Tell the template of a control-plane pod to leave out Mixer reports.
    #[arg(long = "disableInternalTelemetry", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    pub disable_internal_telemetry: bool,

    /// Number that separates the hot restarts of several Envoys on one machine [default: Envoy finds a
    /// free one].
    #[arg(long = "baseId", value_name = "N", conflicts_with = "disable_hot_restart")]
    pub base_id: Option<u32>,

    /// Replace Envoy when its configuration changes instead of starting the new one beside it.
    #[arg(long = "disableHotRestart", alias = "disable-hot-restart", value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    pub disable_hot_restart: bool,

    /// Folder of the proxy's certificate, key and root certificate.
    #[arg(long = "certificatePath", value_name = "DIR", default_value = "/etc/certs")]
    pub certificate_path: PathBuf,

    /// How long certificate changes are collected before Envoy is restarted.
    #[arg(long = "certificateDelay", value_name = "DURATION", default_value = "10s")]
    pub certificate_delay: GoDuration,

    /// Flags of the logs.
    #[command(flatten)]
    pub log: LogArgs,
}
