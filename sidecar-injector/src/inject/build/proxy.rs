//! The container `istio-proxy`: the agent and its Envoy.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector, Probe,
    ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Args, BOOTSTRAP_PATH, Inputs, net_admin};
use crate::inject::PROXY_UID;
use crate::inject::annotations::InterceptionMode;
use crate::inject::config::{Readiness, Tracer};
use crate::inject::duration::format_duration;
use crate::inject::quantity::cores_rounded_up;

/// The scrape port of every proxy and the name on which Prometheus selects it.
const PROMETHEUS_PORT: (i32, &str) = (15090, "http-envoy-prom");

// === impl Inputs ===

impl Inputs<'_> {
    pub(super) fn proxy_container(&self) -> Container {
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

// === impl Args ===

impl Args {
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

/// Cores of the CPU limit, else of the request (INJ-50).
fn cpu_cores(resources: &ResourceRequirements) -> Option<u64> {
    [&resources.limits, &resources.requests]
        .into_iter()
        .find_map(|list| cores_rounded_up(list.as_ref()?.get("cpu")?))
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
