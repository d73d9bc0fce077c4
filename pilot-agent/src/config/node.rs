//! Who the proxy is: role, addresses, names, and what else Pilot is told about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use mesh_runtime::args::HostPort;
use serde_json::Value;
use tracing::warn;

use super::ConfigError;
use super::values::invalid;
use crate::args::ProxyArgs;
use crate::env::Environment;

/// The release of Istio whose interface this agent offers to Pilot.
const ISTIO_VERSION: &str = "1.1.17";

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
    /// A Kubernetes ingress.
    Ingress,
}

/// Where services are registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// Names from the pod and its namespace.
    Kubernetes,
    /// Names from the address.
    Consul,
    /// For tests.
    Mock,
}

/// Where a proxy runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// The region.
    pub region: String,
    /// The zone within the region.
    pub zone: String,
    /// The part of the zone.
    pub sub_zone: String,
}

/// Who the proxy is.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it is for.
    pub role: Role,
    /// Its addresses; the first one stands in its id. Never empty.
    pub ips: Vec<IpAddr>,
    /// Its name, without role, address and domain.
    pub name: String,
    /// DNS suffix of its services.
    pub domain: String,
    /// The service that it belongs to.
    pub cluster: String,
    /// Where it runs, if that is known.
    pub locality: Option<Locality>,
    /// Everything else that Pilot is told.
    pub metadata: BTreeMap<String, Value>,
    /// Trust domain of the mesh.
    pub trust_domain: String,
    /// Its pod's name.
    pub pod_name: String,
    /// Its pod's namespace.
    pub pod_namespace: String,
}

// === impl Role ===

impl Role {
    /// The first part of a node id.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Sidecar => "sidecar",
            Role::Router => "router",
            Role::Ingress => "ingress",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sidecar" => Ok(Role::Sidecar),
            "router" => Ok(Role::Router),
            "ingress" => Ok(Role::Ingress),
            _ => Err(format!("{text:?} is none of sidecar, router, ingress")),
        }
    }
}

// === impl Registry ===

impl FromStr for Registry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Kubernetes" => Ok(Registry::Kubernetes),
            "Consul" => Ok(Registry::Consul),
            "Mock" => Ok(Registry::Mock),
            _ => Err(format!("{text:?} is none of Kubernetes, Consul, Mock")),
        }
    }
}

// === impl Locality ===

impl Locality {
    /// Reads `region/zone/sub_zone`; in a label, where slashes are not allowed, dots stand for them.
    fn parse(text: &str) -> Option<Locality> {
        let separator = if text.contains('/') { '/' } else { '.' };
        let mut parts = text.splitn(3, separator).map(str::to_owned);
        let region = parts.next().filter(|region| !region.is_empty())?;
        Some(Locality {
            region,
            zone: parts.next().unwrap_or_default(),
            sub_zone: parts.next().unwrap_or_default(),
        })
    }
}

// === impl Node ===

impl Node {
    pub(super) fn resolve(
        args: &ProxyArgs,
        env: &Environment,
        interfaces: &[IpAddr],
    ) -> Result<Node, ConfigError> {
        let role = args.role.parse().map_err(|reason| invalid("role", reason))?;
        let registry: Registry = args
            .service_registry
            .parse()
            .map_err(|reason| invalid("--serviceregistry", reason))?;
        let ips = addresses(args.ip.as_deref(), interfaces)?;
        let pod_name = env.get("POD_NAME").unwrap_or_default().to_owned();
        let pod_namespace = env.get("POD_NAMESPACE").unwrap_or_default().to_owned();
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let name = given(&args.id).unwrap_or_else(|| match registry {
            Registry::Kubernetes if !pod_name.is_empty() => format!("{pod_name}.{pod_namespace}"),
            Registry::Consul => format!("{}.service.consul", ips[0]),
            Registry::Kubernetes | Registry::Mock => ips[0].to_string(),
        });
        let domain = given(&args.domain).unwrap_or_else(|| match registry {
            Registry::Kubernetes if !pod_namespace.is_empty() => format!("{pod_namespace}.svc.cluster.local"),
            Registry::Kubernetes => "default.svc.cluster.local".to_owned(),
            Registry::Consul => "service.consul".to_owned(),
            Registry::Mock => String::new(),
        });
        for (flag, text) in [("--id", &name), ("--domain", &domain)] {
            if text.contains('~') {
                return Err(invalid(
                    flag,
                    format!("{text:?} contains '~', which separates the parts of a node id"),
                ));
            }
        }
        let metadata = metadata(env, &ips);
        let locality = metadata
            .get("istio-locality")
            .and_then(Value::as_str)
            .and_then(Locality::parse);
        Ok(Node {
            role,
            trust_domain: given(&args.trust_domain).unwrap_or_else(|| trust_domain(&domain)),
            ips,
            name,
            domain,
            cluster: args.service_cluster.clone(),
            locality,
            metadata,
            pod_name,
            pod_namespace,
        })
    }

    /// The id that Pilot knows the proxy by (`AGT-11`).
    #[must_use]
    pub fn id(&self) -> String {
        format!(
            "{}~{}~{}~{}",
            self.role.name(),
            self.ips[0],
            self.name,
            self.domain
        )
    }

    /// Whether the proxy is reached by IPv6 alone.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.ips.iter().all(IpAddr::is_ipv6)
    }

    /// The URI in Pilot's certificate (`AGT-12`): its namespace follows from the way it is called.
    pub(super) fn pilot_san(&self, discovery: &HostPort, istio_namespace: &str) -> String {
        let host = discovery.host.as_deref().unwrap_or_default();
        let labels: Vec<&str> = host.split('.').collect();
        let namespace = match labels[..] {
            ["istio-pilot"] if !self.pod_namespace.is_empty() => self.pod_namespace.as_str(),
            ["istio-pilot", namespace] => namespace,
            _ => istio_namespace,
        };
        let trust_domain = &self.trust_domain;
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/istio-pilot-service-account")
    }

    pub(super) fn stats_prefixes(&self) -> Vec<String> {
        let list = self
            .metadata
            .get("sidecar.istio.io/statsInclusionPrefixes")
            .and_then(Value::as_str);
        let prefixes = list
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|prefix| !prefix.is_empty());
        prefixes.map(str::to_owned).collect()
    }
}

/// The given address first, then those of the interfaces, each once; the loopback if there is none.
fn addresses(given: Option<&str>, interfaces: &[IpAddr]) -> Result<Vec<IpAddr>, ConfigError> {
    let given = given.filter(|given| !given.is_empty()).map(|given| {
        // Brackets are how an IPv6 address is often written (AGT-25).
        let bare = given
            .strip_prefix('[')
            .and_then(|given| given.strip_suffix(']'))
            .unwrap_or(given);
        bare.parse()
            .map_err(|_| invalid("--ip", format!("{given:?} is not an address")))
    });
    let mut addresses = Vec::from_iter(given.transpose()?);
    for address in interfaces {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    if addresses.is_empty() {
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    Ok(addresses)
}

/// What follows `<namespace>.svc.` in a DNS suffix of Kubernetes; the suffix itself elsewhere.
fn trust_domain(domain: &str) -> String {
    let mut labels = domain.splitn(3, '.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(_), Some("svc"), Some(cluster)) => cluster.to_owned(),
        _ => domain.to_owned(),
    }
}

/// `ISTIO_META_X=v` becomes `X: v`; the members of every JSON object in `ISTIO_METAJSON_*` become
/// members too.
fn metadata(env: &Environment, ips: &[IpAddr]) -> BTreeMap<String, Value> {
    let mut metadata = BTreeMap::from([("ISTIO_PROXY_VERSION".to_owned(), Value::from(ISTIO_VERSION))]);
    for (name, text) in env.with_prefix("ISTIO_METAJSON_") {
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) => metadata.extend(members),
            Ok(_) => warn!(
                variable = format!("ISTIO_METAJSON_{name}"),
                "ignored: not a JSON object"
            ),
            Err(error) => warn!(variable = format!("ISTIO_METAJSON_{name}"), %error, "ignored: not JSON"),
        }
    }
    metadata.extend(
        env.with_prefix("ISTIO_META_")
            .map(|(name, value)| (name.to_owned(), Value::from(value))),
    );
    // A gateway has this as a label of its pod, and Gateway objects select by it.
    metadata
        .entry("istio".to_owned())
        .or_insert_with(|| Value::from("sidecar"));
    let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
    metadata.insert("INSTANCE_IPS".to_owned(), Value::from(ips.join(",")));
    metadata
}
