//! The control plane: which processes, with which flags, behind which services (pure).
//!
//! Components are pods like all others, with their ports and names of Istio 1.1, so that everything that talks to
//! them finds them as it would in a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use mesh_config::mesh;
use serde_json::{Value, json};
use sidecar_injector::inject::ProxyDefaults;

use super::kubernetes::{AUTHORITIES, CERTIFICATE, CONFIGURATION, KEY, KUBECONFIG};
use super::objects::{Key, Objects};
use super::reconcile::Injection;

/// The namespace of the control plane.
pub(crate) const NAMESPACE: &str = "istio-system";

/// The name of the port of Galley's webhook.
pub(crate) const VALIDATION: &str = "https-validation";

/// Where Galley finds its configuration.
const GALLEY_CONFIG: &str = "/etc/istio/config";

/// Where components find the file that leads to the API server.
const KUBERNETES: &str = "/etc/istio/kubernetes";

/// The ConfigMap that holds the mesh configuration.
const CONFIG_MAP: &str = "istio";

/// The images of Istio itself; applications' images are in `e2e/images.yaml`.
pub(crate) const IMAGES: &str = "\
- image: \"*/istio/galley\"
  entrypoint: [galley]
- image: \"*/istio/pilot\"
  entrypoint: [pilot-discovery]
- image: \"*/istio/mixer\"
  entrypoint: [mixs]
- image: \"*/istio/proxyv2\"
  entrypoint: [pilot-agent]
- image: \"*/istio/proxy_init\"
  entrypoint: [istio-iptables]
";

/// Where the objects of the mesh are, and with them what Galley reads.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// In files below this folder.
    Folder(PathBuf),
    /// In an API server. This folder holds the file that leads to it.
    Kubernetes(PathBuf),
}

/// A part of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Reads the configuration and serves it.
    Galley,
    /// Turns it into configuration of proxies.
    Pilot,
    /// The Mixer that decides about requests.
    Policy,
    /// The Mixer that is told of requests.
    Telemetry,
}

/// All components, in the order in which they depend on each other.
pub(crate) const ALL: [Component; 4] = [
    Component::Galley,
    Component::Pilot,
    Component::Policy,
    Component::Telemetry,
];

/// A port of a component's service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) number: u16,
    /// The port of the pod.
    pub(crate) target: u16,
}

const fn port(name: &'static str, number: u16) -> Port {
    Port {
        name,
        number,
        target: number,
    }
}

/// Where Mixer is called. Without a secured control plane 15004 is as plain as 9091.
const MIXER: Port = port("grpc-mixer", 9091);
const MIXER_SECURED: Port = Port {
    name: "grpc-mixer-mtls",
    number: 15004,
    target: MIXER.target,
};
const MONITORING: Port = port("http-monitoring", 15014);

// === impl Component ===

impl Component {
    /// Its name on the command line and in `state.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Galley => "galley",
            Self::Pilot => "pilot",
            Self::Policy => "policy",
            Self::Telemetry => "telemetry",
        }
    }

    /// The name of its image and of its service account.
    fn program(self) -> &'static str {
        match self {
            Self::Galley => "galley",
            Self::Pilot => "pilot",
            Self::Policy | Self::Telemetry => "mixer",
        }
    }

    /// Its pod.
    pub(crate) fn key(self) -> Key {
        (NAMESPACE.to_owned(), format!("istio-{}-0", self.name()))
    }

    /// Its container in that pod.
    pub(crate) fn container(self) -> &'static str {
        match self {
            Self::Galley => "galley",
            Self::Pilot => "discovery",
            Self::Policy | Self::Telemetry => "mixer",
        }
    }

    /// The ports of its service.
    pub(crate) fn ports(self) -> &'static [Port] {
        const PROMETHEUS: Port = port("prometheus", 42422);
        match self {
            Self::Galley => const { &[port("grpc-mcp", 9901), MONITORING, port(VALIDATION, 443)] },
            Self::Pilot => {
                const {
                    &[
                        port("grpc-xds", 15010),
                        port("http-legacy-discovery", 8080),
                        MONITORING,
                    ]
                }
            }
            Self::Policy => const { &[MIXER, MIXER_SECURED, MONITORING] },
            Self::Telemetry => const { &[MIXER, MIXER_SECURED, MONITORING, PROMETHEUS] },
        }
    }

    fn args(self, home: &Home) -> Vec<String> {
        let kubeconfig = format!("--kubeconfig={KUBERNETES}/{KUBECONFIG}");
        let mut args: Vec<String> = self.common_args().iter().map(ToString::to_string).collect();
        args.extend(match (self, home) {
            (Self::Galley, Home::Folder(_)) => vec![
                format!("--configPath={GALLEY_CONFIG}"),
                "--enable-validation=false".to_owned(),
            ],
            (Self::Pilot, Home::Folder(_)) => vec!["--registries=MCP".to_owned()],
            (Self::Galley, Home::Kubernetes(_)) => vec![
                kubeconfig,
                format!("--tlsCertFile={KUBERNETES}/{CERTIFICATE}"),
                format!("--tlsKeyFile={KUBERNETES}/{KEY}"),
                format!("--caCertFile={KUBERNETES}/{AUTHORITIES}"),
                format!("--validation-webhook-config-file={KUBERNETES}/{CONFIGURATION}"),
            ],
            (Self::Pilot, Home::Kubernetes(_)) => vec!["--registries=Kubernetes".to_owned(), kubeconfig],
            (Self::Policy | Self::Telemetry, _) => vec![
                format!("--configStoreURL=mcp://istio-galley.{NAMESPACE}.svc:9901"),
                format!("--configDefaultNamespace={NAMESPACE}"),
            ],
        });
        args
    }

    fn common_args(self) -> &'static [&'static str] {
        match self {
            Self::Galley => &[
                "server",
                "--insecure=true",
                "--server-address=tcp://0.0.0.0:9901",
                "--monitoringPort=15014",
                "--log_output_level=default:info",
            ],
            Self::Pilot => &[
                "discovery",
                "--meshConfig=/etc/istio/config/mesh",
                "--networksConfig=",
                "--httpAddr=:8080",
                "--grpcAddr=:15010",
                "--secureGrpcAddr=",
                "--monitoringAddr=:15014",
                "--log_output_level=default:info",
            ],
            // Loads are not shed: how long a call takes here says how busy the machine is.
            Self::Policy | Self::Telemetry => &[
                "server",
                "--address=tcp://0.0.0.0:9091",
                "--monitoringPort=15014",
                "--log_output_level=default:info",
            ],
        }
    }

    /// Variables in its environment.
    fn variables(self, home: &Home) -> Vec<Value> {
        let mut variables = vec![
            json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            json!({"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}),
        ];
        if let (Self::Policy | Self::Telemetry, Home::Kubernetes(_)) = (self, home) {
            // Where adapter kubernetesenv looks.
            variables.push(json!({"name": "KUBECONFIG", "value": format!("{KUBERNETES}/{KUBECONFIG}")}));
        }
        variables
    }

    /// The volumes, by the folders where they are seen.
    fn volumes(self, home: &Home) -> BTreeMap<&'static str, Value> {
        let config_map = json!({"configMap": {"name": CONFIG_MAP}});
        match (self, home) {
            (Self::Galley, Home::Folder(path)) => {
                BTreeMap::from([(GALLEY_CONFIG, json!({"hostPath": {"path": path}}))])
            }
            (Self::Pilot, Home::Folder(_)) => BTreeMap::from([(GALLEY_CONFIG, config_map)]),
            (Self::Policy | Self::Telemetry, Home::Folder(_)) => BTreeMap::new(),
            (_, Home::Kubernetes(path)) => BTreeMap::from([
                (GALLEY_CONFIG, config_map),
                (KUBERNETES, json!({"hostPath": {"path": path}})),
            ]),
        }
    }

    fn labels(self) -> Value {
        match self {
            Self::Galley | Self::Pilot => json!({"app": self.name(), "istio": self.name()}),
            Self::Policy | Self::Telemetry => {
                json!({"app": self.name(), "istio": "mixer", "istio-mixer-type": self.name()})
            }
        }
    }

    /// The labels by which its service finds it.
    fn selector(self) -> Value {
        match self {
            Self::Galley | Self::Pilot => json!({"istio": self.name()}),
            Self::Policy | Self::Telemetry => json!({"istio": "mixer", "istio-mixer-type": self.name()}),
        }
    }

    /// The pod, with more variables in its environment.
    pub(crate) fn pod(self, home: &Home, env: &BTreeMap<String, String>) -> Pod {
        let (namespace, name) = self.key();
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        for (number, (path, mut volume)) in self.volumes(home).into_iter().enumerate() {
            let name = format!("volume-{number}");
            mounts.push(json!({"name": name, "mountPath": path}));
            volume["name"] = name.into();
            volumes.push(volume);
        }
        let mut variables = self.variables(home);
        variables.extend(
            env.iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        let ready = match self {
            Self::Galley | Self::Policy | Self::Telemetry => MONITORING.number,
            Self::Pilot => 8080,
        };
        let ports: BTreeSet<u16> = self.ports().iter().map(|port| port.target).collect();
        let ports = ports.into_iter().map(|port| json!({ "containerPort": port }));
        build(json!({
            "metadata": {
                "name": name, "namespace": namespace, "labels": self.labels(),
                "annotations": {"sidecar.istio.io/inject": "false"}
            },
            "spec": {
                "serviceAccountName": format!("istio-{}-service-account", self.program()),
                "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": self.container(),
                    "image": format!("docker.io/istio/{}:1.1.17", self.program()),
                    "args": self.args(home),
                    "env": variables,
                    "ports": ports.collect::<Vec<_>>(),
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": ready}, "periodSeconds": 1},
                    "volumeMounts": mounts
                }],
                "volumes": volumes
            }
        }))
    }

    fn service(self) -> Service {
        let ports = self.ports().iter();
        let ports =
            ports.map(|port| json!({"name": port.name, "port": port.number, "targetPort": port.target}));
        build(json!({
            "metadata": {"name": format!("istio-{}", self.name()), "namespace": NAMESPACE, "labels": self.labels()},
            "spec": {"selector": self.selector(), "ports": ports.collect::<Vec<_>>()}
        }))
    }
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ALL.into_iter()
            .find(|component| component.name() == text)
            .ok_or_else(|| {
                let names: Vec<_> = ALL.iter().map(|component| component.name()).collect();
                format!("unknown component {text}: one of {}", names.join(", "))
            })
    }
}

/// Adds what the control plane needs and the user has not brought along: services and the mesh configuration.
pub(crate) fn complete(objects: &mut Objects) {
    for component in ALL {
        let service = component.service();
        let name = service.metadata.name.clone().unwrap_or_default();
        objects
            .services
            .entry((NAMESPACE.to_owned(), name))
            .or_insert(service);
    }
    objects
        .config_maps
        .entry((NAMESPACE.to_owned(), CONFIG_MAP.to_owned()))
        .or_insert_with(config_map);
}

/// What the mesh configuration has sidecars started with; nothing while there is none, and why it cannot be read.
pub(crate) fn injection(objects: &Objects) -> Result<Option<Injection>, String> {
    let key = (NAMESPACE.to_owned(), CONFIG_MAP.to_owned());
    let data = objects.config_maps.get(&key).and_then(|map| map.data.as_ref());
    let Some(text) = data.and_then(|data| data.get("mesh")) else {
        return Ok(None);
    };
    let mesh = mesh::parse(text)
        .map_err(|error| format!("ConfigMap {NAMESPACE}/{CONFIG_MAP}: sidecars have defaults: {error}"))?;
    Ok(Some(Injection {
        proxy: ProxyDefaults::from(&mesh),
        ..Injection::default()
    }))
}

fn config_map() -> ConfigMap {
    let mesh = serde_saphyr::to_string(&mesh_config()).unwrap_or_default();
    build(json!({"metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}, "data": {"mesh": mesh}}))
}

/// What [`complete`] adds, as it is applied to an API server.
pub(crate) fn manifests() -> Vec<Value> {
    let services = ALL.iter().map(|component| json!(component.service()));
    services.chain([json!(config_map())]).collect()
}

/// The pods of all components but `without`.
pub(crate) fn pods(
    without: &BTreeSet<Component>,
    home: &Home,
    env: &BTreeMap<Component, BTreeMap<String, String>>,
) -> BTreeMap<Key, Pod> {
    let none = BTreeMap::new();
    ALL.into_iter()
        .filter(|component| !without.contains(component))
        .map(|component| {
            (
                component.key(),
                component.pod(home, env.get(&component).unwrap_or(&none)),
            )
        })
        .collect()
}

/// The mesh configuration of an installation without citadel. As in 1.1, requests are checked when somebody asks for it.
fn mesh_config() -> Value {
    let mixer = |name: &str| format!("istio-{name}.{NAMESPACE}.svc.cluster.local:{}", MIXER.number);
    json!({
        "mixerCheckServer": mixer(Component::Policy.name()),
        "mixerReportServer": mixer(Component::Telemetry.name()),
        "disablePolicyChecks": true,
        "enableTracing": false,
        "accessLogFile": "/dev/stdout",
        "ingressService": "istio-ingressgateway",
        "rootNamespace": NAMESPACE,
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY"},
        "connectTimeout": "10s",
        "dnsRefreshRate": "5s",
        "configSources": [{"address": format!("istio-galley.{NAMESPACE}.svc:9901")}],
        "defaultConfig": {
            "configPath": "/etc/istio/proxy",
            "binaryPath": "/usr/local/bin/envoy",
            "serviceCluster": "istio-proxy",
            "drainDuration": "45s",
            "parentShutdownDuration": "60s",
            "proxyAdminPort": 15000,
            "controlPlaneAuthPolicy": "NONE",
            "connectTimeout": "10s",
            "discoveryAddress": format!("istio-pilot.{NAMESPACE}:15010")
        }
    })
}

/// Objects written in this file have the right shape: every one of them is built by a test.
fn build<T: serde::de::DeserializeOwned + Default>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use sidecar_injector::inject::Tracer;

    use super::*;

    #[test]
    fn every_component_has_a_pod_that_its_service_selects() {
        for component in ALL {
            let pod = component.pod(
                &Home::Folder("/x".into()),
                &BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            );
            let service = component.service();
            let selector = service.spec.unwrap().selector.unwrap();
            let labels = pod.metadata.labels.unwrap();
            assert!(selector.iter().all(|(k, v)| labels.get(k) == Some(v)) && !selector.is_empty());
            let container = &pod.spec.unwrap().containers[0];
            assert!(container.env.as_ref().unwrap().iter().any(|e| e.name == "A"));
            assert_eq!(component.name().parse(), Ok(component));
        }
        assert_eq!(
            "mixer".parse::<Component>(),
            Err("unknown component mixer: one of galley, pilot, policy, telemetry".to_owned())
        );
    }

    #[test]
    fn what_the_user_brings_along_is_kept() {
        let mut objects = Objects::default();
        objects
            .insert(&json!({"apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": {"name": "istio", "namespace": NAMESPACE}, "data": {"mesh": "own"}}))
            .unwrap();
        complete(&mut objects);
        let map = &objects.config_maps[&(NAMESPACE.to_owned(), "istio".to_owned())];
        assert_eq!(map.data.as_ref().unwrap()["mesh"], "own");
        assert_eq!(objects.services.len(), ALL.len());
        let mut fresh = Objects::default();
        complete(&mut fresh);
        let map = &fresh.config_maps[&(NAMESPACE.to_owned(), "istio".to_owned())];
        assert!(map.data.as_ref().unwrap()["mesh"].contains("istio-galley.istio-system.svc:9901"));
    }

    #[test]
    fn sidecars_are_started_as_the_mesh_configuration_says() {
        let mut objects = Objects::default();
        assert!(injection(&objects).unwrap().is_none());
        complete(&mut objects);
        let built_in = injection(&objects).unwrap().unwrap().proxy;
        assert_eq!(format!("{built_in:?}"), format!("{:?}", ProxyDefaults::default()));
        let mut say = |mesh: &str| {
            let key = (NAMESPACE.to_owned(), CONFIG_MAP.to_owned());
            let map = objects.config_maps.get_mut(&key).unwrap();
            map.data = Some(BTreeMap::from([("mesh".to_owned(), mesh.to_owned())]));
            injection(&objects)
        };
        let zipkin = "defaultConfig: {tracing: {zipkin: {address: 'zipkin:9411'}}}";
        let tracer = say(zipkin).unwrap().unwrap().proxy.tracer;
        assert_eq!(tracer, Some(Tracer::Zipkin("zipkin:9411".to_owned())));
        let reason = say("- a").unwrap_err();
        assert!(
            reason.starts_with("ConfigMap istio-system/istio: sidecars have defaults: "),
            "{reason}"
        );
    }

    #[test]
    fn the_images_of_istio_are_an_image_table() {
        crate::images::Images::parse(IMAGES).unwrap();
    }
}
