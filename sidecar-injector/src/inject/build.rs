//! From settings, values and annotations to the description of the sidecar (§1.9).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, ObjectFieldSelector, PodSpec, Probe, ResourceRequirements,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::PROXY_UID;
use super::annotations::{InterceptionMode, PodAnnotations};
use super::apply::is_native_sidecar;
use super::config::{ProxyDefaults, Readiness, Tracer, Values};
use super::duration::format_duration;
use super::quantity::cores_rounded_up;
use super::spec::SidecarSpec;

/// Volume of the proxy's writable folder.
const ENVOY_VOLUME: &str = "istio-envoy";
/// Volume of the workload's certificates.
const CERTS_VOLUME: &str = "istio-certs";
/// Volume of a ConfigMap with a bootstrap override, and where it is mounted.
const BOOTSTRAP_VOLUME: &str = "custom-bootstrap-volume";
const BOOTSTRAP_PATH: &str = "/etc/istio/custom-bootstrap";
/// The scrape port of every proxy and the name on which Prometheus selects it.
const PROMETHEUS_PORT: (i32, &str) = (15090, "http-envoy-prom");

/// Everything the parts of a sidecar are computed from.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    metadata: &'a ObjectMeta,
    spec: &'a PodSpec,
    namespace: &'a str,
    annotations: &'a PodAnnotations,
    proxy: &'a ProxyDefaults,
    values: &'a Values,
}

/// Describes the sidecar of a pod that carries none (see [`super::strip`]).
#[must_use]
pub fn build(
    metadata: &ObjectMeta,
    spec: &PodSpec,
    namespace: &str,
    annotations: &PodAnnotations,
    proxy: &ProxyDefaults,
    values: &Values,
) -> SidecarSpec {
    let inputs = Inputs {
        metadata,
        spec,
        namespace,
        annotations,
        proxy,
        values,
    };
    let mut init_containers = Vec::new();
    let mut containers = Vec::new();
    if inputs.native() {
        init_containers.push(inputs.proxy_container());
    } else {
        containers.push(inputs.proxy_container());
    }
    if inputs.mode() != InterceptionMode::None && !values.cni_enabled {
        init_containers.push(inputs.init_container());
    }
    if values.enable_core_dump {
        init_containers.push(inputs.core_dump_container());
    }
    SidecarSpec {
        init_containers,
        containers,
        volumes: inputs.volumes(),
        dns_config: None,
        image_pull_secrets: Vec::new(),
    }
}

/// The first container of `spec` that would run as the proxy's user or group and so escape capture (IPT-31).
pub(super) fn reserved_user(spec: &PodSpec) -> Option<String> {
    let pod = spec.security_context.as_ref();
    app_containers(spec)
        .find(|container| {
            let own = container.security_context.as_ref();
            let user = own
                .and_then(|c| c.run_as_user)
                .or_else(|| pod.and_then(|c| c.run_as_user));
            let group = own
                .and_then(|c| c.run_as_group)
                .or_else(|| pod.and_then(|c| c.run_as_group));
            user == Some(PROXY_UID) || group == Some(PROXY_UID)
        })
        .map(|container| container.name.clone())
}

/// The user's containers that live as long as the pod: the containers proper and the user's native sidecars.
fn app_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_native_sidecar(c));
    spec.containers.iter().chain(sidecars)
}

// === impl Inputs: what annotations and values resolve to ===

impl Inputs<'_> {
    fn native(&self) -> bool {
        self.annotations
            .native_sidecar
            .unwrap_or(self.values.native_sidecar)
    }

    fn mode(&self) -> InterceptionMode {
        self.annotations
            .interception_mode
            .unwrap_or(self.proxy.interception_mode)
    }

    /// 0 = no status server.
    fn status_port(&self) -> u16 {
        self.annotations.status_port.unwrap_or(self.values.status_port)
    }

    fn readiness(&self) -> Readiness {
        let (own, default) = (self.annotations, self.values.readiness);
        Readiness {
            initial_delay_seconds: own.initial_delay_seconds.unwrap_or(default.initial_delay_seconds),
            period_seconds: own.period_seconds.unwrap_or(default.period_seconds),
            failure_threshold: own.failure_threshold.unwrap_or(default.failure_threshold),
        }
    }

    /// All TCP ports of the user's containers, comma separated.
    fn container_ports(&self) -> String {
        let mut ports: Vec<String> = Vec::new();
        for port in app_containers(self.spec).flat_map(|c| c.ports.iter().flatten()) {
            let text = port.container_port.to_string();
            if matches!(port.protocol.as_deref(), None | Some("TCP" | "")) && !ports.contains(&text) {
                ports.push(text);
            }
        }
        ports.join(",")
    }

    /// `*` becomes the list: the agent of 1.1 could not read the star.
    fn application_ports(&self) -> String {
        match self.annotations.application_ports.as_deref() {
            None | Some("*") => self.container_ports(),
            Some(ports) => ports.to_owned(),
        }
    }

    /// The ports that are not captured, always with the status port (INJ-35, `excludeInboundPort`).
    fn excluded_inbound_ports(&self) -> String {
        let own = self.annotations.exclude_inbound_ports.as_ref();
        let mut list = own.unwrap_or(&self.values.exclude_inbound_ports).clone();
        let status = self.status_port().to_string();
        if self.status_port() != 0 && !list.split(',').any(|port| port.trim() == status) {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&status);
        }
        list
    }

    /// `<app>.<namespace>`, so that tracing shows the application's name.
    fn service_cluster(&self) -> String {
        match self.metadata.labels.as_ref().and_then(|labels| labels.get("app")) {
            Some(app) if !app.is_empty() => format!("{app}.$(POD_NAMESPACE)"),
            _ => {
                let name = self.metadata.name.as_deref().filter(|name| !name.is_empty());
                let namespace = if self.namespace.is_empty() {
                    "default"
                } else {
                    self.namespace
                };
                format!("{}.{namespace}", name.unwrap_or("istio-proxy"))
            }
        }
    }

    /// If the pod asks for CPU or memory, exactly that; else the chart's defaults.
    fn resources(&self) -> ResourceRequirements {
        let asked: BTreeMap<String, Quantity> = [
            ("cpu", &self.annotations.proxy_cpu),
            ("memory", &self.annotations.proxy_memory),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Quantity(value.clone()?))))
        .collect();
        if asked.is_empty() {
            return resources(
                &[("cpu", "100m"), ("memory", "128Mi")],
                &[("cpu", "2000m"), ("memory", "128Mi")],
            );
        }
        ResourceRequirements {
            requests: Some(asked),
            ..ResourceRequirements::default()
        }
    }
}

// === impl Inputs: containers ===

impl Inputs<'_> {
    /// `istio-init`. It must never get a restart policy: it would become a native sidecar that never ends.
    fn init_container(&self) -> Container {
        let (own, values) = (self.annotations, self.values);
        let mut args = Args::default();
        args.pair("-p", &self.proxy.proxy_listen_port);
        if let Some(port) = self.proxy.inbound_capture_port {
            args.pair("-z", &port);
        }
        args.pair("-u", &PROXY_UID);
        args.pair("-m", self.mode().as_str());
        args.pair(
            "-i",
            own.include_outbound_ip_ranges
                .as_ref()
                .unwrap_or(&values.include_ip_ranges),
        );
        args.pair(
            "-x",
            own.exclude_outbound_ip_ranges
                .as_ref()
                .unwrap_or(&values.exclude_ip_ranges),
        );
        args.pair(
            "-b",
            &own.include_inbound_ports
                .clone()
                .unwrap_or_else(|| self.container_ports()),
        );
        args.pair("-d", &self.excluded_inbound_ports());
        if let Some(interfaces) = &own.kubevirt_interfaces {
            args.pair("-k", interfaces);
        }
        Container {
            name: "istio-init".to_owned(),
            image: Some(values.image(&values.proxy_init_image)),
            image_pull_policy: values.image_pull_policy.clone(),
            args: Some(args.0),
            resources: Some(resources(
                &[("cpu", "10m"), ("memory", "10Mi")],
                &[("cpu", "100m"), ("memory", "50Mi")],
            )),
            security_context: Some(SecurityContext {
                capabilities: Some(net_admin()),
                privileged: values.privileged.then_some(true),
                // A pod-level runAsNonRoot must not keep the rules from being set.
                run_as_user: Some(0),
                run_as_non_root: Some(false),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }

    fn core_dump_container(&self) -> Container {
        let script = "sysctl -w kernel.core_pattern=/var/lib/istio/core.proxy && ulimit -c unlimited";
        Container {
            name: "enable-core-dump".to_owned(),
            image: Some(self.values.image(&self.values.proxy_init_image)),
            image_pull_policy: self.values.image_pull_policy.clone(),
            command: Some(vec!["/bin/sh".to_owned()]),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            security_context: Some(SecurityContext {
                privileged: Some(true),
                run_as_user: Some(0),
                run_as_non_root: Some(false),
                ..SecurityContext::default()
            }),
            ..Container::default()
        }
    }

    fn proxy_container(&self) -> Container {
        let image = self
            .annotations
            .proxy_image
            .as_ref()
            .unwrap_or(&self.values.proxy_image);
        let native = self.native();
        let probed = self.status_port() != 0;
        Container {
            name: "istio-proxy".to_owned(),
            image: Some(self.values.image(image)),
            image_pull_policy: self.values.image_pull_policy.clone(),
            restart_policy: native.then(|| "Always".to_owned()),
            ports: Some(vec![ContainerPort {
                container_port: PROMETHEUS_PORT.0,
                name: Some(PROMETHEUS_PORT.1.to_owned()),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            args: Some(self.proxy_args()),
            env: Some(self.proxy_env()),
            resources: Some(self.resources()),
            startup_probe: (native && probed).then(|| self.startup_probe()),
            readiness_probe: probed.then(|| self.readiness_probe()),
            security_context: Some(self.proxy_security()),
            volume_mounts: Some(self.proxy_mounts()),
            ..Container::default()
        }
    }

    /// The order of the arguments is part of the contract (§1.9).
    fn proxy_args(&self) -> Vec<String> {
        let (own, proxy, values) = (self.annotations, self.proxy, self.values);
        let mut args = Args(vec!["proxy".to_owned(), "sidecar".to_owned()]);
        args.pair(
            "--domain",
            &format!("$(POD_NAMESPACE).svc.{}", values.cluster_domain),
        );
        args.pair("--configPath", &proxy.config_path);
        args.pair("--binaryPath", &proxy.binary_path);
        args.pair("--serviceCluster", &self.service_cluster());
        args.pair("--drainDuration", &format_duration(proxy.drain_duration));
        args.pair(
            "--parentShutdownDuration",
            &format_duration(proxy.parent_shutdown_duration),
        );
        args.pair(
            "--discoveryAddress",
            own.discovery_address.as_ref().unwrap_or(&proxy.discovery_address),
        );
        if let Some(tracer) = &proxy.tracer {
            args.tracer(tracer);
        }
        if !values.proxy_log_level.is_empty() {
            args.0.push(format!("--proxyLogLevel={}", values.proxy_log_level));
        }
        args.pair("--connectTimeout", &format_duration(proxy.connect_timeout));
        if let Some(address) = &proxy.statsd_udp_address {
            args.pair("--statsdUdpAddress", address);
        }
        if let Some(address) = &proxy.envoy_metrics_service_address {
            args.pair("--envoyMetricsServiceAddress", address);
        }
        args.pair("--proxyAdminPort", &proxy.proxy_admin_port);
        if proxy.concurrency > 0 {
            args.pair("--concurrency", &proxy.concurrency);
        }
        let policy = own
            .control_plane_auth_policy
            .as_ref()
            .unwrap_or(&proxy.control_plane_auth_policy);
        args.pair("--controlPlaneAuthPolicy", policy);
        if self.status_port() != 0 {
            args.pair("--statusPort", &self.status_port());
            args.pair("--applicationPorts", &self.application_ports());
        }
        if let Some(domain) = &proxy.trust_domain {
            args.0.push(format!("--trust-domain={domain}"));
        }
        if proxy.concurrency == 0
            && let Some(cores) = cpu_cores(&self.resources())
        {
            args.pair("--concurrency", &cores);
        }
        args.0
    }

    fn proxy_env(&self) -> Vec<EnvVar> {
        let mut env = vec![
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("INSTANCE_IP", "status.podIP"),
            field("ISTIO_META_POD_NAME", "metadata.name"),
            field("ISTIO_META_CONFIG_NAMESPACE", "metadata.namespace"),
            value("ISTIO_META_INTERCEPTION_MODE", self.mode().as_str()),
        ];
        if let Some(network) = &self.values.network {
            env.push(value("ISTIO_META_NETWORK", network));
        }
        for (name, map) in [
            ("ISTIO_METAJSON_ANNOTATIONS", &self.metadata.annotations),
            ("ISTIO_METAJSON_LABELS", &self.metadata.labels),
        ] {
            if let Some(map) = map.as_ref().filter(|map| !map.is_empty()) {
                let json: serde_json::Map<_, _> =
                    map.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
                env.push(value(name, &serde_json::Value::Object(json).to_string()));
            }
        }
        if self.annotations.bootstrap_override.is_some() {
            env.push(value(
                "ISTIO_BOOTSTRAP_OVERRIDE",
                &format!("{BOOTSTRAP_PATH}/custom_bootstrap.json"),
            ));
        }
        env
    }

    fn proxy_security(&self) -> SecurityContext {
        let tproxy = self.mode() == InterceptionMode::Tproxy;
        SecurityContext {
            read_only_root_filesystem: (!self.values.enable_core_dump).then_some(true),
            privileged: self.values.privileged.then_some(true),
            // Transparent sockets need root; capture then recognises the proxy by its group.
            capabilities: tproxy.then(net_admin),
            run_as_group: tproxy.then_some(PROXY_UID),
            run_as_user: (!tproxy).then_some(PROXY_UID),
            ..SecurityContext::default()
        }
    }

    fn readiness_probe(&self) -> Probe {
        let Readiness {
            initial_delay_seconds,
            period_seconds,
            failure_threshold,
        } = self.readiness();
        Probe {
            http_get: Some(self.ready_endpoint()),
            initial_delay_seconds: Some(saturating(initial_delay_seconds)),
            period_seconds: Some(saturating(period_seconds)),
            failure_threshold: Some(saturating(failure_threshold)),
            ..Probe::default()
        }
    }

    /// Holds the application back until the proxy can serve it; ten minutes cover a slow first configuration.
    fn startup_probe(&self) -> Probe {
        Probe {
            http_get: Some(self.ready_endpoint()),
            period_seconds: Some(1),
            timeout_seconds: Some(3),
            failure_threshold: Some(600),
            ..Probe::default()
        }
    }

    fn ready_endpoint(&self) -> HTTPGetAction {
        HTTPGetAction {
            path: Some("/healthz/ready".to_owned()),
            port: IntOrString::Int(self.status_port().into()),
            ..HTTPGetAction::default()
        }
    }
}

// === impl Inputs: volumes ===

impl Inputs<'_> {
    fn proxy_mounts(&self) -> Vec<VolumeMount> {
        let mut mounts = vec![
            VolumeMount {
                name: ENVOY_VOLUME.to_owned(),
                mount_path: self.proxy.config_path.clone(),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: CERTS_VOLUME.to_owned(),
                mount_path: "/etc/certs/".to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ];
        if self.annotations.bootstrap_override.is_some() {
            mounts.push(VolumeMount {
                name: BOOTSTRAP_VOLUME.to_owned(),
                mount_path: BOOTSTRAP_PATH.to_owned(),
                ..VolumeMount::default()
            });
        }
        mounts.extend(self.annotations.user_volume_mounts.iter().cloned());
        mounts
    }

    fn volumes(&self) -> Vec<Volume> {
        let account = self
            .spec
            .service_account_name
            .as_deref()
            .filter(|name| !name.is_empty());
        let mut volumes = vec![
            Volume {
                name: ENVOY_VOLUME.to_owned(),
                empty_dir: Some(EmptyDirVolumeSource {
                    medium: Some("Memory".to_owned()),
                    ..EmptyDirVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: CERTS_VOLUME.to_owned(),
                secret: Some(SecretVolumeSource {
                    optional: Some(true),
                    secret_name: Some(format!("istio.{}", account.unwrap_or("default"))),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ];
        if let Some(name) = &self.annotations.bootstrap_override {
            volumes.push(Volume {
                name: BOOTSTRAP_VOLUME.to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: name.clone(),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            });
        }
        volumes.extend(self.annotations.user_volumes.iter().cloned());
        volumes
    }
}

/// A command line under construction.
#[derive(Default)]
struct Args(Vec<String>);

// === impl Args ===

impl Args {
    fn pair(&mut self, flag: &str, value: &(impl ToString + ?Sized)) {
        self.0.extend([flag.to_owned(), value.to_string()]);
    }

    fn tracer(&mut self, tracer: &Tracer) {
        match tracer {
            Tracer::Zipkin(address) => self.pair("--zipkinAddress", address),
            Tracer::Datadog(address) => self.pair("--datadogAgentAddress", address),
            Tracer::Lightstep(access) => {
                self.pair("--lightstepAddress", &access.address);
                self.pair("--lightstepAccessToken", &access.access_token);
                self.0.push(format!("--lightstepSecure={}", access.secure));
                self.pair("--lightstepCacertPath", &access.cacert_path);
            }
        }
    }
}

// === small parts ===

/// Cores of the CPU limit, else of the request (INJ-50).
fn cpu_cores(resources: &ResourceRequirements) -> Option<u64> {
    [&resources.limits, &resources.requests]
        .into_iter()
        .find_map(|list| cores_rounded_up(list.as_ref()?.get("cpu")?))
}

fn resources(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> ResourceRequirements {
    let list = |items: &[(&str, &str)]| {
        Some(
            items
                .iter()
                .map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned())))
                .collect(),
        )
    };
    ResourceRequirements {
        requests: list(requests),
        limits: list(limits),
        ..ResourceRequirements::default()
    }
}

fn net_admin() -> Capabilities {
    Capabilities {
        add: Some(vec!["NET_ADMIN".to_owned()]),
        ..Capabilities::default()
    }
}

fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn value(name: &str, text: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(text.to_owned()),
        ..EnvVar::default()
    }
}

/// Kubernetes counts seconds in `int32`.
fn saturating(seconds: u32) -> i32 {
    i32::try_from(seconds).unwrap_or(i32::MAX)
}
