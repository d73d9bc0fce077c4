//! From a pod's specification to what is run for it (pure).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ContainerPort, Pod, PodSecurityContext, Probe, Secret,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::env::{self, Sources};
use super::host_ports::is_on_host;
use super::resolver::resolv_conf;
use super::volumes::{self, Content};
use crate::images::Images;
use crate::mesh::endpoints::NODE_NAME;
use crate::mesh::helper::VOLUMES;
use crate::mesh::helper::protocol::{Bind, ProcessSpec};
use crate::mesh::ipam;
use crate::mesh::objects::Key;

/// Name of the container with the agent and Envoy, in sidecars and gateways.
const PROXY: &str = "istio-proxy";

/// The kernel's limit.
const MAX_HOSTNAME: usize = 63;

/// Everything a plan depends on besides the pod.
#[derive(Clone, Copy)]
pub(crate) struct PlanInputs<'a> {
    pub(crate) address: Ipv4Addr,
    pub(crate) images: &'a Images,
    pub(crate) config_maps: &'a BTreeMap<Key, ConfigMap>,
    pub(crate) secrets: &'a BTreeMap<Key, Secret>,
}

/// What to run for a pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodPlan {
    /// In the order in which they start.
    pub(crate) containers: Vec<ContainerPlan>,
    /// By name.
    pub(crate) volumes: BTreeMap<String, Content>,
    /// The pod is in the network of the node.
    pub(crate) on_host: bool,
    pub(crate) hostname: String,
    /// What stands in its `/etc/resolv.conf`.
    pub(crate) resolv_conf: String,
    pub(crate) restart: Restart,
    /// How long the pod may take to end.
    pub(crate) grace: Duration,
}

/// What to run for a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContainerPlan {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) process: ProcessSpec,
    pub(crate) mounts: Vec<Bind>,
    pub(crate) startup: Option<ProbePlan>,
    pub(crate) readiness: Option<ProbePlan>,
    pub(crate) liveness: Option<ProbePlan>,
}

/// When a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Before the next one, to its end.
    Init,
    /// From here on as long as the pod lives.
    Sidecar,
    /// The application.
    App,
}

/// `restartPolicy`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// A probe with all defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbePlan {
    pub(crate) check: Check,
    pub(crate) initial_delay: Duration,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) success_threshold: u32,
    pub(crate) failure_threshold: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Check {
    /// A request that must be answered with 200 to 399.
    Http {
        port: u16,
        path: String,
        headers: Vec<(String, String)>,
    },
    /// A connection that must be accepted.
    Tcp { port: u16 },
    /// A command that must exit with 0.
    Exec { argv: Vec<String> },
}

/// Plans `pod`, which has been injected.
///
/// # Errors
/// What cannot be run on this machine, naming the container.
pub(crate) fn plan(pod: &Pod, inputs: PlanInputs<'_>) -> Result<PodPlan, String> {
    let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
    let on_host = is_on_host(pod);
    let name = match on_host {
        true => NODE_NAME,
        false => pod.metadata.name.as_deref().unwrap_or_default(),
    };
    let hostname: String = name.chars().take(MAX_HOSTNAME).collect();
    let sources = Sources {
        pod,
        address: inputs.address,
        hostname: &hostname,
        node_address: ipam::NODE,
        node_name: NODE_NAME,
        config_maps: inputs.config_maps,
        secrets: inputs.secrets,
    };
    let mut contents = BTreeMap::new();
    for volume in spec.volumes.iter().flatten() {
        let content =
            volumes::content(volume, sources).map_err(|e| format!("volume {}: {e}", volume.name))?;
        contents.insert(volume.name.clone(), content);
    }
    let security = spec.security_context.as_ref();
    let mut containers = Vec::new();
    let inits = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (container, if sidecar { Role::Sidecar } else { Role::Init })
    });
    for (container, role) in inits.chain(spec.containers.iter().map(|container| (container, Role::App))) {
        let plan = plan_container(container, role, security, &contents, inputs.images, sources)
            .map_err(|reason| format!("container {}: {reason}", container.name))?;
        containers.push(plan);
    }
    Ok(PodPlan {
        containers,
        volumes: contents,
        on_host,
        resolv_conf: resolv_conf(spec, pod.metadata.namespace.as_deref().unwrap_or_default())?,
        restart: match spec.restart_policy.as_deref() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        },
        grace: seconds(spec.termination_grace_period_seconds.unwrap_or(30)),
        hostname,
    })
}

fn plan_container(
    container: &Container,
    role: Role,
    pod_security: Option<&PodSecurityContext>,
    volumes: &BTreeMap<String, Content>,
    images: &Images,
    sources: Sources<'_>,
) -> Result<ContainerPlan, String> {
    let image = container.image.as_deref().ok_or("the image is missing")?;
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    let resolved = images
        .resolve(image, command, args)
        .ok_or_else(|| format!("image {image} matches no entry of the image table e2e/images.yaml"))?;
    let environment = env::environment(container, &resolved.env, sources)?;
    let argv = resolved
        .argv
        .iter()
        .map(|word| environment.expand(word))
        .collect();
    let own = container.security_context.as_ref();
    let uid = own
        .and_then(|c| c.run_as_user)
        .or_else(|| pod_security.and_then(|c| c.run_as_user))
        .unwrap_or(0);
    let gid = own
        .and_then(|c| c.run_as_group)
        .or_else(|| pod_security.and_then(|c| c.run_as_group));
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        if !volumes.contains_key(&mount.name) {
            return Err(format!("volumeMount {}: the pod has no such volume", mount.name));
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        if !Path::new(sub_path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(format!(
                "volumeMount {}: subPath {sub_path} leaves the volume",
                mount.name
            ));
        }
        mounts.push(Bind {
            source: Path::new(VOLUMES).join(&mount.name).join(sub_path),
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only.unwrap_or_default(),
        });
    }
    let ports = container.ports.as_deref().unwrap_or_default();
    let probe = |probe: &Option<Probe>, what: &str| {
        probe
            .as_ref()
            .map(|p| plan_probe(p, ports))
            .transpose()
            .map_err(|e| format!("{what}: {e}"))
    };
    Ok(ContainerPlan {
        name: container.name.clone(),
        role,
        process: ProcessSpec {
            argv,
            env: environment.into_pairs(),
            cwd: container.working_dir.as_deref().unwrap_or("/").into(),
            uid: id(uid)?,
            // The image's own group, where it has one, is that of its user.
            gid: id(gid.unwrap_or(uid))?,
        },
        mounts,
        startup: probe(&container.startup_probe, "startupProbe")?,
        readiness: probe(&container.readiness_probe, "readinessProbe")?,
        liveness: probe(&container.liveness_probe, "livenessProbe")?,
    })
}

fn plan_probe(probe: &Probe, ports: &[ContainerPort]) -> Result<ProbePlan, String> {
    let check = if let Some(http) = &probe.http_get {
        if http.scheme.as_deref() == Some("HTTPS") {
            return Err("scheme HTTPS is not supported".to_owned());
        }
        let path = http
            .path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/");
        let headers = http.http_headers.iter().flatten();
        Check::Http {
            port: resolve_port(&http.port, ports)?,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            headers: headers
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
        }
    } else if let Some(tcp) = &probe.tcp_socket {
        Check::Tcp {
            port: resolve_port(&tcp.port, ports)?,
        }
    } else if let Some(grpc) = &probe.grpc {
        // Close enough for a machine-local mesh: the server accepts connections.
        Check::Tcp {
            port: resolve_port(&IntOrString::Int(grpc.port), ports)?,
        }
    } else if let Some(exec) = &probe.exec {
        let argv = exec.command.clone().unwrap_or_default();
        if argv.is_empty() {
            return Err("the command is empty".to_owned());
        }
        Check::Exec { argv }
    } else {
        return Err("no action".to_owned());
    };
    let positive = |value: Option<i32>, default: i32| value.filter(|v| *v > 0).unwrap_or(default);
    Ok(ProbePlan {
        check,
        initial_delay: seconds(probe.initial_delay_seconds.unwrap_or(0).into()),
        period: seconds(positive(probe.period_seconds, 10).into()),
        timeout: seconds(positive(probe.timeout_seconds, 1).into()),
        success_threshold: positive(probe.success_threshold, 1).unsigned_abs(),
        failure_threshold: positive(probe.failure_threshold, 3).unsigned_abs(),
    })
}

fn resolve_port(port: &IntOrString, ports: &[ContainerPort]) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = ports
                .iter()
                .find(|port| port.name.as_deref() == Some(name.as_str()));
            match named {
                Some(port) => port.container_port,
                None => name
                    .parse()
                    .map_err(|_| format!("the container has no port {name}"))?,
            }
        }
    };
    u16::try_from(number).map_err(|_| format!("{number} is no port"))
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn id(id: i64) -> Result<u32, String> {
    u32::try_from(id).map_err(|_| format!("{id} is no user or group"))
}

// === impl ContainerPlan ===

impl ContainerPlan {
    /// The agent with its Envoy. A pod without it has lost its place in the mesh.
    pub(crate) fn is_proxy(&self) -> bool {
        self.name == PROXY
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMAGES: &str = "- {image: 'app:{version}', entrypoint: [server], env: {VERSION: '{version}'}}\n";

    fn plan_of(spec: &serde_json::Value) -> Result<PodPlan, String> {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "a-0", "namespace": "n"}, "spec": spec}))
                .unwrap();
        let images = Images::parse(IMAGES).unwrap();
        plan(
            &pod,
            PlanInputs {
                address: Ipv4Addr::new(10, 44, 0, 2),
                images: &images,
                config_maps: &BTreeMap::new(),
                secrets: &BTreeMap::new(),
            },
        )
    }

    #[test]
    fn containers_start_in_the_order_of_kubernetes() {
        let plan = plan_of(&json!({
            "initContainers": [
                {"name": "istio-proxy", "image": "app:1", "restartPolicy": "Always"},
                {"name": "istio-init", "image": "app:1"}
            ],
            "containers": [{"name": "app", "image": "app:1", "args": ["--ip", "$(IP)"], "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
            ]}]
        }))
        .unwrap();
        let roles: Vec<_> = plan
            .containers
            .iter()
            .map(|c| (c.name.as_str(), c.role, c.is_proxy()))
            .collect();
        assert_eq!(
            roles,
            [
                ("istio-proxy", Role::Sidecar, true),
                ("istio-init", Role::Init, false),
                ("app", Role::App, false)
            ]
        );
        assert_eq!(plan.containers[2].process.argv, ["server", "--ip", "10.44.0.2"]);
    }

    #[test]
    fn a_pod_in_the_network_of_the_node_is_called_like_it() {
        let hostname = |on_host: bool| {
            let plan = plan_of(&json!({
                "hostNetwork": on_host, "containers": [{"name": "a", "image": "app:1", "args": ["$(HOSTNAME)"]}]
            }))
            .unwrap();
            assert_eq!(plan.on_host, on_host);
            assert_eq!(plan.containers[0].process.argv[1], plan.hostname);
            plan.hostname
        };
        assert_eq!([hostname(false), hostname(true)], ["a-0", "node-1"]);
    }

    #[test]
    fn users_come_from_the_container_then_the_pod() {
        let plan = plan_of(&json!({
            "securityContext": {"runAsUser": 1000},
            "containers": [
                {"name": "a", "image": "app:1"},
                {"name": "b", "image": "app:1", "securityContext": {"runAsUser": 1337, "runAsGroup": 5}}
            ]
        }))
        .unwrap();
        let ids: Vec<_> = plan
            .containers
            .iter()
            .map(|c| (c.process.uid, c.process.gid))
            .collect();
        assert_eq!(ids, [(1000, 1000), (1337, 5)]);
    }

    #[test]
    fn probes_have_kubernetes_defaults_and_named_ports() {
        let plan = plan_of(&json!({"containers": [{
            "name": "a", "image": "app:1",
            "ports": [{"name": "web", "containerPort": 8000}],
            "readinessProbe": {"httpGet": {"path": "ready", "port": "web"}},
            "livenessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 3}
        }]}))
        .unwrap();
        let readiness = plan.containers[0].readiness.as_ref().unwrap();
        assert_eq!(
            readiness.check,
            Check::Http {
                port: 8000,
                path: "/ready".to_owned(),
                headers: Vec::new()
            }
        );
        assert_eq!((readiness.period.as_secs(), readiness.timeout.as_secs()), (10, 1));
        assert_eq!(plan.containers[0].liveness.as_ref().unwrap().period.as_secs(), 3);
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let container = |extra: serde_json::Value| {
            let mut container = json!({"name": "a", "image": "app:1"});
            container
                .as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        for (spec, want) in [
            (
                container(json!({"image": "nginx"})),
                "container a: image nginx matches no entry of the image table e2e/images.yaml",
            ),
            (
                container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
                "container a: volumeMount v: the pod has no such volume",
            ),
            (
                container(json!({"readinessProbe": {"httpGet": {"port": "web"}}})),
                "container a: readinessProbe: the container has no port web",
            ),
            (
                json!({"containers": [], "volumes": [{"name": "v", "nfs": {"path": "/", "server": "s"}}]}),
                "volume v: a volume of this type is not supported",
            ),
        ] {
            assert_eq!(plan_of(&spec).unwrap_err(), want);
        }
    }
}
