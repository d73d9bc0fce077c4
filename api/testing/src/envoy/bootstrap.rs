//! From xDS resources to a bootstrap configuration with the same content.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_api::json::{self, JsonError};
use mesh_api::{Any, type_url};
use serde_json::{Map, Value, json};

/// The clusters that every bootstrap of the mesh has, to which resources refer.
const STATIC_CLUSTERS: &[&str] = &["xds-grpc", "sds-grpc", "zipkin"];

const CONNECTION_MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// Why resources do not make a bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A resource has no JSON form.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A resource is of a type that no bootstrap holds.
    #[error("resources of type {0} are not supported")]
    Type(String),
    /// Two resources of a type have one name.
    #[error("two {kind} are named {name:?}")]
    Duplicate {
        /// Kind of resource, such as `clusters`.
        kind: &'static str,
        /// Their name.
        name: String,
    },
}

/// A bootstrap configuration in which Envoy judges the resources.
///
/// Clusters, listeners and secrets become static ones. Load assignments move into their clusters, which turn from EDS
/// to STATIC; route configurations move into the connection managers that ask for them. What is referred to but not
/// given is left to ADS. Load assignments and route configurations that nobody refers to are judged in a cluster or
/// listener made for them.
///
/// # Errors
///
/// See [`AssembleError`].
pub fn assemble(resources: &[Any]) -> Result<Value, AssembleError> {
    Ok(Parts::new(resources)?.bootstrap())
}

/// Static resources by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    clusters: BTreeMap<String, Value>,
    listeners: BTreeMap<String, Value>,
    secrets: BTreeMap<String, Value>,
}

// === impl Parts ===

impl Parts {
    pub(super) fn new(resources: &[Any]) -> Result<Self, AssembleError> {
        let mut parts = Self::default();
        let (mut assignments, mut routes) = (BTreeMap::new(), BTreeMap::new());
        for resource in resources {
            let (kind, map) = match resource.type_url.as_str() {
                type_url::CLUSTER => ("clusters", &mut parts.clusters),
                type_url::LISTENER => ("listeners", &mut parts.listeners),
                type_url::SECRET => ("secrets", &mut parts.secrets),
                type_url::ENDPOINT => ("load assignments", &mut assignments),
                type_url::ROUTE => ("route configurations", &mut routes),
                other => return Err(AssembleError::Type(other.to_owned())),
            };
            let mut value = json::any_to_value(resource)?;
            if let Some(fields) = value.as_object_mut() {
                fields.remove("@type");
            }
            let name = super::super::golden::name_of(&value)
                .unwrap_or_default()
                .to_owned();
            if map.insert(name.clone(), value).is_some() {
                return Err(AssembleError::Duplicate { kind, name });
            }
        }
        parts.inline_assignments(assignments);
        parts.inline_routes(routes);
        Ok(parts)
    }

    /// The bootstrap with these resources.
    pub(super) fn bootstrap(&self) -> Value {
        let mut clusters = self.clusters.clone();
        for name in STATIC_CLUSTERS {
            clusters
                .entry((*name).to_owned())
                .or_insert_with(|| json!({ "name": name, "type": "STATIC" }));
        }
        let list = |map: &BTreeMap<String, Value>| map.values().cloned().collect::<Vec<_>>();
        json!({
            "node": { "id": "sidecar~127.0.0.1~judge.default~default.svc.cluster.local", "cluster": "judge" },
            "dynamicResources": { "adsConfig": {
                "apiType": "GRPC",
                "transportApiVersion": "V3",
                "grpcServices": [{ "envoyGrpc": { "clusterName": "xds-grpc" } }],
            } },
            // As in the bootstrap of every proxy of the mesh: patterns may be longer than Envoy's default.
            "layeredRuntime": { "layers": [
                { "name": "static", "staticLayer": { "re2.max_program_size.error_level": 32768 } },
            ] },
            "staticResources": {
                "clusters": list(&clusters),
                "listeners": list(&self.listeners),
                "secrets": list(&self.secrets),
            },
        })
    }

    /// Whether one bootstrap can hold both: names mean the same, and no two listeners want one address.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let same = |ours: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>| {
            theirs
                .iter()
                .all(|(name, value)| ours.get(name).is_none_or(|ours| ours == value))
        };
        let addresses: BTreeMap<String, &str> = self
            .listeners
            .iter()
            .map(|(name, listener)| (address(listener), name.as_str()))
            .collect();
        same(&self.clusters, &other.clusters)
            && same(&self.listeners, &other.listeners)
            && same(&self.secrets, &other.secrets)
            && other.listeners.iter().all(|(name, listener)| {
                addresses
                    .get(&address(listener))
                    .is_none_or(|ours| *ours == name.as_str())
            })
    }

    /// The same under names and addresses that no other number has.
    ///
    /// Clusters are referred to by name; Envoy takes references to clusters that it does not know.
    pub(super) fn apart(self, number: usize) -> Self {
        let rename = |map: BTreeMap<String, Value>| -> BTreeMap<String, Value> {
            let renamed = map.into_values().map(|mut value| {
                let name = format!(
                    "{} of {number}",
                    super::super::golden::name_of(&value).unwrap_or_default()
                );
                value["name"] = json!(name);
                (name, value)
            });
            renamed.collect()
        };
        let mut listeners = rename(self.listeners);
        for listener in listeners.values_mut() {
            move_apart(&mut listener["address"], number);
        }
        Self {
            clusters: rename(self.clusters),
            listeners,
            secrets: rename(self.secrets),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (ours, theirs) in [
            (&mut self.clusters, &other.clusters),
            (&mut self.listeners, &other.listeners),
            (&mut self.secrets, &other.secrets),
        ] {
            ours.extend(theirs.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }

    fn inline_assignments(&mut self, mut unused: BTreeMap<String, Value>) {
        let assignments = unused.clone();
        for (name, cluster) in &mut self.clusters {
            let Some(fields) = cluster
                .as_object_mut()
                .filter(|fields| fields.contains_key("edsClusterConfig"))
            else {
                continue;
            };
            let service = fields["edsClusterConfig"]["serviceName"]
                .as_str()
                .unwrap_or(name)
                .to_owned();
            if let Some(assignment) = assignments.get(&service) {
                unused.remove(&service);
                fields.remove("edsClusterConfig");
                fields.insert("type".to_owned(), json!("STATIC"));
                fields.insert("loadAssignment".to_owned(), assignment.clone());
            }
        }
        for (name, assignment) in unused {
            let name = format!("judge of {name}");
            let cluster = json!({ "name": name, "type": "STATIC", "loadAssignment": assignment });
            self.clusters.insert(name, cluster);
        }
    }

    fn inline_routes(&mut self, mut unused: BTreeMap<String, Value>) {
        let routes = unused.clone();
        for listener in self.listeners.values_mut() {
            inline_routes(listener, &routes, &mut unused);
        }
        for (name, route) in unused {
            let name = format!("judge of {name}");
            let manager = json!({
                "@type": CONNECTION_MANAGER,
                "statPrefix": name,
                "routeConfig": as_static(&route),
                "httpFilters": [{ "name": "envoy.filters.http.router", "typedConfig": { "@type": ROUTER } }],
            });
            let filter =
                json!({ "name": "envoy.filters.network.http_connection_manager", "typedConfig": manager });
            let listener = json!({
                "name": name,
                "address": { "pipe": { "path": format!("@{name}") } },
                "filterChains": [{ "filters": [filter] }],
            });
            self.listeners.insert(name, listener);
        }
    }
}

/// Puts routes where connection managers ask for them, wherever these are.
fn inline_routes(value: &mut Value, routes: &BTreeMap<String, Value>, unused: &mut BTreeMap<String, Value>) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| inline_routes(item, routes, unused)),
        Value::Object(fields) => {
            if fields.get("@type").is_some_and(|url| url == CONNECTION_MANAGER) {
                inline_route(fields, routes, unused);
            }
            fields
                .values_mut()
                .for_each(|field| inline_routes(field, routes, unused));
        }
        _ => {}
    }
}

fn inline_route(
    manager: &mut Map<String, Value>,
    routes: &BTreeMap<String, Value>,
    unused: &mut BTreeMap<String, Value>,
) {
    let name = manager
        .get("rds")
        .and_then(|rds| rds["routeConfigName"].as_str())
        .map(str::to_owned);
    if let Some(name) = name
        && let Some(route) = routes.get(&name)
    {
        unused.remove(&name);
        manager.remove("rds");
        manager.insert("routeConfig".to_owned(), as_static(route));
    }
}

/// A static route configuration may by default only name known clusters; one that came by RDS may name any.
fn as_static(route: &Value) -> Value {
    let mut route = route.clone();
    if let Some(fields) = route.as_object_mut() {
        fields.entry("validateClusters").or_insert(Value::Bool(false));
    }
    route
}

/// Gives a listener an address of its own, of the same kind.
fn move_apart(address: &mut Value, number: usize) {
    if let Some(path) = address.pointer_mut("/pipe/path") {
        *path = json!(format!("{}.{number}", path.as_str().unwrap_or_default()));
    }
    if let Some(ip) = address.pointer_mut("/socketAddress/address") {
        let own = match ip.as_str().unwrap_or_default().parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ ((number as u128) << 64))),
            // Different addresses of one case stay different.
            Ok(IpAddr::V4(ip)) => {
                let mixed = u32::try_from(number)
                    .unwrap_or_default()
                    .wrapping_mul(0x0001_0003);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ mixed))
            }
            Err(_) => return,
        };
        *ip = json!(own.to_string());
    }
}

/// What must be unique among listeners.
fn address(listener: &Value) -> String {
    listener["address"].to_string()
}
