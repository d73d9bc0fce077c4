//! From settings, values and annotations to the description of the sidecar (§1.9).

mod proxy;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Capabilities, Container, PodSpec, ResourceRequirements, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::PROXY_UID;
use super::annotations::{InterceptionMode, PodAnnotations};
use super::apply::is_native_sidecar;
use super::config::{ProxyDefaults, Readiness, Values};
use super::spec::SidecarSpec;

/// Where a bootstrap override is mounted.
const BOOTSTRAP_PATH: &str = "/etc/istio/custom-bootstrap";

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
}

/// A command line under construction.
#[derive(Default)]
struct Args(Vec<String>);

// === impl Args ===

impl Args {
    fn pair(&mut self, flag: &str, value: &(impl ToString + ?Sized)) {
        self.0.extend([flag.to_owned(), value.to_string()]);
    }
}

// === small parts ===

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
