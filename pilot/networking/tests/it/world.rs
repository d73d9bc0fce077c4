//! From a case folder to what its proxies get.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use mesh_api::Any;
use mesh_api::envoy::config::core::v3::{Locality, Node};
use mesh_config::{Config, ConfigKey, Kind, Meta, Timestamp, decode, mesh, yaml};
use mesh_testing::golden::Case;
use pilot_model::{Builder, Change, Networks, Proxy, Published, Visibility, Workload};
use pilot_networking::{Features, TraceSampling};
use pilot_registry::{ConfigEvent, Registries};
use serde::Deserialize;

use crate::PACKAGE;
use crate::generated::Generated;

/// The DNS suffix of services and identities.
const DOMAIN: &str = "cluster.local";

/// What a case is about: `proxy.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Setup {
    /// Files of `tests/it/base` that are read before `in.yaml`.
    #[serde(default)]
    base: Vec<String>,
    /// [`Features::fallthrough_route`].
    #[serde(default)]
    fallthrough_route: bool,
    /// [`Features::locality_load_balancing`].
    #[serde(default)]
    locality_load_balancing: bool,
    /// [`Features::trace_sampling`] in percent.
    trace_sampling: Option<f64>,
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
    /// Where it says that it runs, `region/zone/subzone`.
    #[serde(default)]
    locality: String,
}

/// What there is in a mesh, in the order of its arrival.
#[derive(Clone, Default)]
pub(crate) struct Input {
    pub(crate) objects: Vec<Config>,
    /// The file with the mesh configuration.
    pub(crate) mesh: String,
    /// The file with the networks of the mesh.
    pub(crate) networks: String,
    /// What comes after the objects.
    pub(crate) changes: Vec<Change>,
}

/// What the proxies of a case get.
pub(crate) struct World {
    /// Objects that the registries left out, and why.
    pub(crate) rejected: BTreeMap<ConfigKey, String>,
    /// In the order of `proxy.yaml`.
    pub(crate) proxies: Vec<Generated>,
}

/// About an object that was created so many seconds after 1970.
pub(crate) fn meta(kind: Kind, namespace: &str, name: &str, created: i64) -> Meta {
    Meta {
        key: ConfigKey::new(kind, namespace, name),
        labels: Default::default(),
        annotations: Default::default(),
        created: Timestamp {
            seconds: created,
            nanos: 0,
        },
        version: String::new(),
    }
}

/// An age for each of many objects, which is not that of their order.
pub(crate) fn age(index: usize) -> i64 {
    (index as i64 * 7) % 5
}

fn locality_of(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality {
        region: next(),
        zone: next(),
        sub_zone: next(),
    }
}

fn sidecar() -> String {
    "sidecar".to_owned()
}

// === impl World ===

impl World {
    pub(crate) fn of(case: &Case) -> Result<Self, String> {
        let setup = Setup::read(&case.read("proxy.yaml")?)?;
        let mut texts = Vec::new();
        for name in &setup.base {
            let path = Path::new(PACKAGE)
                .join("tests/it/base")
                .join(format!("{name}.yaml"));
            texts.push(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        texts.push(case.read("in.yaml")?);
        let input = Input {
            objects: read(&texts)?,
            mesh: case.read_if_present("mesh.yaml")?.unwrap_or_default(),
            networks: case.read_if_present("networks.yaml")?.unwrap_or_default(),
            changes: Vec::new(),
        };
        Self::build(&setup, &input)?.whole()
    }

    /// A world of objects, of proxies as in `proxy.yaml`, and of changes that come after the objects.
    pub(crate) fn new(objects: &str, setup: &str, changes: Vec<Change>) -> Result<Self, String> {
        let input = Input {
            objects: read(&[objects.to_owned()])?,
            changes,
            ..Input::default()
        };
        Self::of_input(&input, setup)?.whole()
    }

    /// A world in which registries may leave objects out.
    pub(crate) fn of_input(input: &Input, setup: &str) -> Result<Self, String> {
        Self::build(&Setup::read(setup)?, input)
    }

    /// Fails when something was left out.
    fn whole(self) -> Result<Self, String> {
        match self.rejected.iter().next() {
            Some((object, reason)) => Err(format!("{object}: {reason}")),
            None => Ok(self),
        }
    }

    fn build(setup: &Setup, input: &Input) -> Result<Self, String> {
        let (published, rejected) = publish(input)?;
        let features = Features {
            fallthrough_route: setup.fallthrough_route,
            locality_load_balancing: setup.locality_load_balancing,
            http_10: false,
            trace_sampling: setup
                .trace_sampling
                .and_then(TraceSampling::from_percent)
                .unwrap_or_default(),
        };
        let proxies = setup.proxies.iter().map(|setup| {
            let proxy = setup.proxy()?;
            let workload = setup.workload(&proxy, &published);
            Generated::new(&setup.name, &published, &proxy, &workload, features)
        });
        Ok(Self {
            rejected,
            proxies: proxies.collect::<Result<_, _>>()?,
        })
    }

    /// The proxy of a name; without one, the only proxy.
    pub(crate) fn proxy(&self, name: Option<&str>) -> Result<&Generated, String> {
        let found = match (name, &self.proxies[..]) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), proxies) => proxies.iter().find(|proxy| proxy.name == name),
        };
        found.ok_or_else(|| format!("there is no proxy {}", name.unwrap_or("that the call means")))
    }

    /// What the proxies get, by name.
    pub(crate) fn resources(&self) -> Vec<(String, Vec<Any>)> {
        let proxies = self.proxies.iter();
        proxies
            .map(|proxy| (proxy.name.clone(), proxy.resources()))
            .collect()
    }

    /// The findings of all proxies, one on each line.
    pub(crate) fn warnings(&self) -> String {
        let warnings = self.proxies.iter().flat_map(|proxy| &proxy.warnings);
        let lines: BTreeSet<String> = warnings
            .map(|warning| format!("{:?} {}: {}\n", warning.kind, warning.object, warning.reason))
            .collect();
        lines.into_iter().collect()
    }
}

/// The objects of texts.
fn read(texts: &[String]) -> Result<Vec<Config>, String> {
    let documents = texts.iter().flat_map(|text| yaml::documents("in.yaml", text));
    documents
        .map(|document| document.and_then(|document| decode::object(&document)))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// What is published of a mesh, and what the registries left out.
fn publish(input: &Input) -> Result<(Published, BTreeMap<ConfigKey, String>), String> {
    let mesh = mesh::parse(&input.mesh).map_err(|error| error.to_string())?;
    let networks = mesh::parse_networks(&input.networks).map_err(|error| error.to_string())?;
    let mut registries = Registries::new(DOMAIN, DOMAIN, Visibility::Public);
    let mut builder = Builder::new(DOMAIN, mesh);
    for object in &input.objects {
        for change in registries.apply(&ConfigEvent::Set(Arc::new(object.clone()))) {
            builder.apply(change);
        }
    }
    builder.apply(Change::Networks(Box::new(Networks::new(
        &networks,
        &BTreeMap::new(),
    ))));
    for change in &input.changes {
        builder.apply(change.clone());
    }
    Ok((builder.publish(), registries.rejected().clone()))
}

// === impl Setup ===

impl Setup {
    fn read(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| format!("proxy.yaml: {error}"))
    }
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
            locality,
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
            locality: Some(locality_of(locality)),
            ..Node::default()
        };
        Proxy::from_node(&node).map_err(|error| error.to_string())
    }

    /// What the registry knows of it, else what it says of itself.
    fn workload(&self, proxy: &Proxy, published: &Published) -> Arc<Workload> {
        let known = proxy
            .ips
            .iter()
            .find_map(|ip| published.workloads.get(*ip))
            .cloned();
        known.unwrap_or_else(|| {
            Arc::new(Workload {
                namespace: proxy.namespace.clone(),
                labels: self
                    .labels
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_str()))
                    .collect(),
                ..Workload::default()
            })
        })
    }
}
