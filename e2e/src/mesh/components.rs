//! The control plane: which processes, with which flags, behind which services (pure).
//!
//! Components are pods like all others, with their ports and names of Istio 1.1, so that everything that talks to
//! them finds them as it would in a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use serde_json::{Value, json};

use super::kubernetes::{AUTHORITIES, CERTIFICATE, CONFIGURATION, KEY, KUBECONFIG};
use super::objects::{Key, Objects};

/// The namespace of the control plane.
pub(crate) const NAMESPACE: &str = "istio-system";

/// The name of the port of Galley's webhook.
pub(crate) const VALIDATION: &str = "https-validation";

/// Where Galley finds its configuration.
const GALLEY_CONFIG: &str = "/etc/istio/config";

/// Where components find the file that leads to the API server.
const KUBERNETES: &str = "/etc/istio/kubernetes";

/// The images of Istio itself; applications' images are in `e2e/images.yaml`.
pub(crate) const IMAGES: &str = "\
- image: \"*/istio/galley\"
  entrypoint: [galley]
- image: \"*/istio/pilot\"
  entrypoint: [pilot-discovery]
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
}

/// All components, in the order in which they depend on each other.
pub(crate) const ALL: [Component; 2] = [Component::Galley, Component::Pilot];

// === impl Component ===

impl Component {
    /// Its name on the command line and in `state.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Galley => "galley",
            Self::Pilot => "pilot",
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
        }
    }

    /// Its ports.
    pub(crate) fn ports(self) -> &'static [(&'static str, u16)] {
        match self {
            Self::Galley => &[("grpc-mcp", 9901), ("http-monitoring", 15014), (VALIDATION, 443)],
            Self::Pilot => &[
                ("grpc-xds", 15010),
                ("http-legacy-discovery", 8080),
                ("http-monitoring", 15014),
            ],
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
        }
    }

    /// The volumes, by the folders where they are seen.
    fn volumes(self, home: &Home) -> BTreeMap<&'static str, Value> {
        let config_map = json!({"configMap": {"name": "istio"}});
        match (self, home) {
            (Self::Galley, Home::Folder(path)) => {
                BTreeMap::from([(GALLEY_CONFIG, json!({"hostPath": {"path": path}}))])
            }
            (Self::Pilot, Home::Folder(_)) => BTreeMap::from([(GALLEY_CONFIG, config_map)]),
            (_, Home::Kubernetes(path)) => BTreeMap::from([
                (GALLEY_CONFIG, config_map),
                (KUBERNETES, json!({"hostPath": {"path": path}})),
            ]),
        }
    }

    fn labels(self) -> Value {
        json!({"app": self.name(), "istio": self.name()})
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
        let mut variables = vec![
            json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            json!({"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}),
        ];
        variables.extend(
            env.iter()
                .map(|(name, value)| json!({"name": name, "value": value})),
        );
        let ready = match self {
            Self::Galley => 15014,
            Self::Pilot => 8080,
        };
        build(json!({
            "metadata": {
                "name": name, "namespace": namespace, "labels": self.labels(),
                "annotations": {"sidecar.istio.io/inject": "false"}
            },
            "spec": {
                "serviceAccountName": format!("istio-{}-service-account", self.name()),
                "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": self.container(),
                    "image": format!("docker.io/istio/{}:1.1.17", self.name()),
                    "args": self.args(home),
                    "env": variables,
                    "ports": self.ports().iter().map(|(_, port)| json!({"containerPort": port})).collect::<Vec<_>>(),
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": ready}, "periodSeconds": 1},
                    "volumeMounts": mounts
                }],
                "volumes": volumes
            }
        }))
    }

    fn service(self) -> Service {
        build(json!({
            "metadata": {"name": format!("istio-{}", self.name()), "namespace": NAMESPACE, "labels": self.labels()},
            "spec": {
                "selector": {"istio": self.name()},
                "ports": self.ports().iter().map(|(name, port)| json!({"name": name, "port": port})).collect::<Vec<_>>()
            }
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
        .entry((NAMESPACE.to_owned(), "istio".to_owned()))
        .or_insert_with(config_map);
}

fn config_map() -> ConfigMap {
    let mesh = serde_saphyr::to_string(&mesh_config()).unwrap_or_default();
    build(json!({"metadata": {"name": "istio", "namespace": NAMESPACE}, "data": {"mesh": mesh}}))
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

/// The mesh configuration of an installation without policy, telemetry and citadel.
fn mesh_config() -> Value {
    json!({
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
            Err("unknown component mixer: one of galley, pilot".to_owned())
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
        assert_eq!(objects.services.len(), 2);
        let mut fresh = Objects::default();
        complete(&mut fresh);
        let map = &fresh.config_maps[&(NAMESPACE.to_owned(), "istio".to_owned())];
        assert!(map.data.as_ref().unwrap()["mesh"].contains("istio-galley.istio-system.svc:9901"));
    }

    #[test]
    fn the_images_of_istio_are_an_image_table() {
        crate::images::Images::parse(IMAGES).unwrap();
    }
}
