//! From a case folder to what its proxies get.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libtest_mimic::Failed;
use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_api::envoy::config::core::v3::Node;
use mesh_api::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_api::envoy::config::listener::v3::{Listener, filter};
use mesh_api::envoy::config::route::v3::RouteConfiguration;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_config::{Str, decode, mesh, yaml};
use pilot_model::{Builder, Proxy, ProxyType, Published, Visibility, Warning, Workload};
use pilot_networking::simulate::ProxyConfig;
use pilot_networking::{Features, Generate, Plan, cluster, endpoint, listener, route};
use pilot_registry::{ConfigEvent, Registries};
use prost::Message;
use serde::Deserialize;

const DOMAIN: &str = "cluster.local";

/// One case folder.
pub(crate) struct Case {
    folder: PathBuf,
    world: OnceLock<Result<World, String>>,
}

/// What a case is about: `proxy.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Setup {
    /// Files of `testdata/base` that are read before `in.yaml`.
    #[serde(default)]
    base: Vec<String>,
    #[serde(default)]
    fallthrough_route: bool,
    proxies: Vec<ProxySetup>,
}

/// A proxy as it describes itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxySetup {
    name: String,
    #[serde(default = "sidecar", rename = "type")]
    proxy_type: String,
    namespace: String,
    ip: IpAddr,
    /// Labels of a proxy that no Pod in `in.yaml` has the address of.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// What the proxies of a case get.
pub(crate) struct World {
    /// In the order of `proxy.yaml`.
    pub(crate) proxies: Vec<Generated>,
}

/// What one proxy gets.
pub(crate) struct Generated {
    pub(crate) name: String,
    pub(crate) config: ProxyConfig,
    pub(crate) endpoints: Vec<ClusterLoadAssignment>,
    pub(crate) warnings: BTreeSet<Warning>,
}

/// The folder of all cases.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn sidecar() -> String {
    "sidecar".to_owned()
}

// === impl Case ===

impl Case {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            world: OnceLock::new(),
        }
    }

    pub(crate) fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.path(file).exists()
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    pub(crate) fn read(&self, file: &str) -> Result<String, Failed> {
        read(&self.path(file)).map_err(Failed::from)
    }

    /// What the proxies get; computed once for all checks of the case.
    pub(crate) fn world(&self) -> Result<&World, Failed> {
        self.world
            .get_or_init(|| World::of(self))
            .as_ref()
            .map_err(|error| Failed::from(error.clone()))
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

// === impl World ===

impl World {
    fn of(case: &Case) -> Result<Self, String> {
        let setup: Setup = serde_saphyr::from_str(&read(&case.path("proxy.yaml"))?)
            .map_err(|error| format!("proxy.yaml: {error}"))?;
        let published = publish(case, &setup)?;
        let features = Features {
            fallthrough_route: setup.fallthrough_route,
        };
        let proxies = setup
            .proxies
            .iter()
            .map(|proxy| Generated::of(proxy, &published, features));
        Ok(Self {
            proxies: proxies.collect::<Result<_, _>>()?,
        })
    }

    /// The proxy of a name; without one, the only proxy.
    pub(crate) fn proxy(&self, name: Option<&str>) -> Result<&Generated, Failed> {
        let found = match (name, &self.proxies[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), proxies) => proxies.iter().find(|proxy| proxy.name == name),
        };
        found.ok_or_else(|| format!("no proxy {name:?}").into())
    }
}

fn publish(case: &Case, setup: &Setup) -> Result<Published, String> {
    let mesh = if case.has("mesh.yaml") {
        read(&case.path("mesh.yaml"))?
    } else {
        String::new()
    };
    let mesh = mesh::parse(&mesh).map_err(|error| error.to_string())?;
    let mut registries = Registries::new(DOMAIN, DOMAIN, Visibility::Public);
    let mut builder = Builder::new(DOMAIN, mesh);

    let base = setup
        .base
        .iter()
        .map(|name| testdata().join("base").join(format!("{name}.yaml")));
    for file in base.chain([case.path("in.yaml")]) {
        for document in yaml::documents(&file.display().to_string(), &read(&file)?) {
            let config = document
                .and_then(|document| decode::object(&document))
                .map_err(|error| error.to_string())?;
            for change in registries.apply(&ConfigEvent::Set(Arc::new(config))) {
                builder.apply(change);
            }
        }
    }
    if let Some((object, reason)) = registries.rejected().iter().next() {
        return Err(format!("{object}: {reason}"));
    }
    Ok(builder.publish())
}

// === impl Generated ===

impl Generated {
    fn of(setup: &ProxySetup, published: &Published, features: Features) -> Result<Self, String> {
        let proxy = setup.proxy()?;
        let known = proxy
            .ips
            .iter()
            .find_map(|ip| published.workloads.get(*ip))
            .cloned();
        let workload = known.unwrap_or_else(|| {
            Arc::new(Workload {
                namespace: proxy.namespace.clone(),
                labels: setup
                    .labels
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .collect(),
                ..Workload::default()
            })
        });
        let view = published.snapshot.view(&proxy.namespace);
        let mut warnings = BTreeSet::new();

        let mut clusters = Vec::new();
        let mut listeners = Vec::new();
        collect::<cluster::Clusters>(
            cluster::outbound(&view, proxy.proxy_type),
            &mut clusters,
            &mut warnings,
        );
        match proxy.proxy_type {
            ProxyType::Sidecar => {
                let inbound = cluster::inbound(&view, &proxy, &workload);
                collect::<cluster::Clusters>(inbound, &mut clusters, &mut warnings);
                let outbound = listener::outbound(&view, proxy.interception);
                collect::<listener::Listeners>(outbound, &mut listeners, &mut warnings);
                let inbound = listener::inbound(&view, &proxy, &workload);
                collect::<listener::Listeners>(inbound, &mut listeners, &mut warnings);
            }
            ProxyType::Router => {
                let gateway = listener::gateway(&view, &workload.labels, &workload);
                collect::<listener::Listeners>(gateway, &mut listeners, &mut warnings);
            }
        }

        let mut routes = Vec::new();
        for name in listeners.iter().flat_map(route_names).collect::<BTreeSet<_>>() {
            let plan = route::plan(&view, &proxy, &workload, &features, &name);
            warnings.extend(plan.warnings);
            let bodies: Vec<_> = plan
                .key
                .virtual_hosts
                .iter()
                .map(|key| {
                    let built = route::VirtualHosts::build(key);
                    warnings.extend(built.warnings);
                    built.message.encode_to_vec().into()
                })
                .collect();
            let assembled = route::assemble(&plan.key, &bodies);
            routes.push(RouteConfiguration::decode(assembled).map_err(|error| error.to_string())?);
        }

        let eds = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
        let mut endpoints = Vec::new();
        for cluster in clusters
            .iter()
            .filter(|cluster| cluster.cluster_discovery_type == eds)
        {
            let key = endpoint::key(&view, &published.endpoints, &cluster.name.as_str().into());
            let built = endpoint::Endpoints::build(&key);
            warnings.extend(built.warnings);
            endpoints.push(built.message);
        }
        let config = ProxyConfig {
            listeners,
            routes,
            clusters,
        };
        Ok(Self {
            name: setup.name.clone(),
            config,
            endpoints,
            warnings,
        })
    }
}

/// Builds what a plan says.
fn collect<G: Generate>(
    plan: Plan<G::Key>,
    messages: &mut Vec<G::Message>,
    warnings: &mut BTreeSet<Warning>,
) {
    warnings.extend(plan.warnings);
    for key in &plan.keys {
        let built = G::build(key);
        warnings.extend(built.warnings);
        messages.push(built.message);
    }
}

/// The route configurations that a listener asks for.
fn route_names(listener: &Listener) -> Vec<Str> {
    let filters = listener.filter_chains.iter().flat_map(|chain| &chain.filters);
    filters
        .filter_map(|filter| match filter.config_type.as_ref()? {
            filter::ConfigType::TypedConfig(config) => config.unpack::<HttpConnectionManager>().ok(),
            filter::ConfigType::ConfigDiscovery(_) => None,
        })
        .filter_map(|manager| match manager.route_specifier? {
            RouteSpecifier::Rds(rds) => Some(rds.route_config_name.into()),
            _ => None,
        })
        .collect()
}

// === impl ProxySetup ===

impl ProxySetup {
    fn proxy(&self) -> Result<Proxy, String> {
        let Self {
            name,
            proxy_type,
            namespace,
            ip,
            labels,
            metadata,
        } = self;
        let string = |value: &String| prost_types::Value {
            kind: Some(prost_types::value::Kind::StringValue(value.clone())),
        };
        let fields = labels
            .iter()
            .chain(metadata)
            .map(|(key, value)| (key.clone(), string(value)))
            .collect();
        let node = Node {
            id: format!("{proxy_type}~{ip}~{name}.{namespace}~{namespace}.svc.{DOMAIN}"),
            metadata: Some(prost_types::Struct { fields }),
            ..Node::default()
        };
        Proxy::from_node(&node).map_err(|error| error.to_string())
    }
}
