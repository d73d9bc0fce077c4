//! Sidecars: what limits a proxy to the services that it needs (§8.3, P15.3).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_api::istio::networking::v1alpha3::{
    self, CaptureMode, IstioEgressListener, IstioIngressListener, Port as PortSpec,
};
use mesh_config::{ConfigKey, Host, Labels, Meta, Port, Protocol, Str, Timestamp};

/// A Sidecar, read. What cannot be honoured is left out and named in [`Self::problems`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// Names the object.
    pub key: ConfigKey,
    /// When it was created.
    pub created: Timestamp,
    /// Labels of the workloads that it is about; `None` means the whole namespace.
    pub selector: Option<Labels>,
    /// The listeners for what workloads send, at most one of them without port, and that one last (`A-14`); `None`
    /// means that everything visible can be reached (`A-16`).
    pub egress: Option<Vec<EgressListener>>,
    /// The listeners for what workloads receive; `None` means that their services say on which ports they do.
    pub ingress: Option<Vec<IngressListener>>,
    /// What was left out, and why.
    pub problems: Vec<String>,
}

/// Where a workload finds the services of some hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressListener {
    /// Its port, 0 for a Unix socket; `None` means that services are found on their own ports.
    pub port: Option<Port>,
    /// Where it listens, when that is said.
    pub bind: Option<Bind>,
    /// Whether workloads open connections to the proxy itself (`captureMode: NONE`).
    pub binds: bool,
    /// What is found there.
    pub hosts: ImportedHosts,
}

/// A port on which a workload receives requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressListener {
    /// The port, 0 for a Unix socket.
    pub port: Port,
    /// Where it listens, when that is said.
    pub bind: Option<Bind>,
    /// Whether others open connections to the proxy itself (`captureMode: NONE`).
    pub binds: bool,
    /// Where the application listens.
    pub endpoint: LocalEndpoint,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bind {
    /// On an address.
    Ip(IpAddr),
    /// On a Unix socket, given by its path.
    Unix(Str),
}

/// Where the application of a workload listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalEndpoint {
    /// On a port of the loopback address.
    Port(u16),
    /// On a Unix socket, given by its path.
    Unix(Str),
}

/// Hosts of an egress listener, `namespace/dnsName`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedHosts(Vec<(Namespaces, Host)>);

/// The namespace part of an imported host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Namespaces {
    All,
    /// That of the proxy, which need not be that of the Sidecar (`R-SC-4`).
    Own,
    One(Str),
}

/// Hosts that a proxy imports, by the namespace of the object that defines them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imports {
    from_all: Vec<Host>,
    from: BTreeMap<Str, Vec<Host>>,
}

// === impl Sidecar ===

impl Sidecar {
    pub(crate) fn new(meta: &Meta, spec: v1alpha3::Sidecar) -> Self {
        let mut problems = Vec::new();
        // A selector without labels selects everything.
        let labels = spec
            .workload_selector
            .map(|selector| Labels::from(&selector.labels));
        let egress = (!spec.egress.is_empty()).then(|| egress(&spec.egress, &mut problems));
        let ingress = (!spec.ingress.is_empty()).then(|| ingress(&spec.ingress, &mut problems));
        Self {
            key: meta.key.clone(),
            created: meta.created,
            selector: labels.filter(|labels| !labels.is_empty()),
            egress,
            ingress,
            problems,
        }
    }

    /// The same for proxies that cannot stand its listeners: what it imports is found on the ports of services.
    pub(crate) fn without_listeners(&self) -> Self {
        let egress = self.egress.as_ref().map(|listeners| {
            let hosts = listeners.iter().flat_map(|listener| &listener.hosts.0);
            vec![EgressListener {
                port: None,
                bind: None,
                binds: false,
                hosts: ImportedHosts(hosts.cloned().collect()),
            }]
        });
        Self {
            egress,
            ingress: None,
            ..self.clone()
        }
    }
}

fn egress(specs: &[IstioEgressListener], problems: &mut Vec<String>) -> Vec<EgressListener> {
    let mut listeners = Vec::with_capacity(specs.len());
    let mut without_port = None;
    let mut taken = BTreeSet::new();
    for (position, spec) in specs.iter().enumerate() {
        let read = EgressListener::read(spec, |reason| {
            problems.push(format!("egress[{position}].{reason}"))
        });
        let left_out = match read {
            Err(reason) => reason,
            Ok(listener) => match &listener.port {
                None if without_port.is_some() => "port: only one listener may have none".to_owned(),
                None => {
                    without_port = Some(listener);
                    continue;
                }
                Some(port) if !taken.insert(place(port, &listener.bind)) => {
                    format!("port: another listener has {}", port.number)
                }
                Some(_) => {
                    listeners.push(listener);
                    continue;
                }
            },
        };
        problems.push(format!("egress[{position}].{left_out}, the listener is left out"));
    }
    listeners.extend(without_port);
    listeners
}

fn ingress(specs: &[IstioIngressListener], problems: &mut Vec<String>) -> Vec<IngressListener> {
    let mut listeners = Vec::with_capacity(specs.len());
    let mut taken = BTreeSet::new();
    for (position, spec) in specs.iter().enumerate() {
        let left_out = match IngressListener::read(spec) {
            Ok(listener) if taken.insert(place(&listener.port, &listener.bind)) => {
                listeners.push(listener);
                continue;
            }
            Ok(listener) => format!("port: another listener has {}", listener.port.number),
            Err(reason) => reason,
        };
        problems.push(format!(
            "ingress[{position}].{left_out}, the listener is left out"
        ));
    }
    listeners
}

/// What no two listeners of one direction may share: the number, or the path of the socket.
fn place(port: &Port, bind: &Option<Bind>) -> (u16, Option<Bind>) {
    let bind = if port.number == 0 { bind.clone() } else { None };
    (port.number, bind)
}

/// The port and the address of a listener.
fn port_and_bind(spec: &PortSpec, bind: &str) -> Result<(Port, Option<Bind>), String> {
    let bind = Bind::parse(bind)?;
    let number = u16::try_from(spec.number)
        .map_err(|_| format!("port.number: {} is not a port number", spec.number))?;
    match (number, &bind) {
        (0, Some(Bind::Unix(_))) | (1.., None | Some(Bind::Ip(_))) => {}
        (0, _) => return Err("bind: port 0 needs the path of a Unix socket".to_owned()),
        (_, Some(Bind::Unix(_))) => return Err("port.number: a Unix socket has no port".to_owned()),
    }
    let protocol: Protocol = spec
        .protocol
        .parse()
        .map_err(|error| format!("port.protocol: {error}"))?;
    if protocol == Protocol::Udp {
        return Err("port.protocol: UDP does not pass the proxy".to_owned());
    }
    let port = Port {
        name: spec.name.as_str().into(),
        number,
        protocol,
    };
    Ok((port, bind))
}

/// What stands before the path of a Unix socket.
const UNIX: &str = "unix://";
/// The longest path that fits into an address of a Unix socket, with the byte that ends it.
const MAX_UNIX_PATH: usize = 107;

fn unix_path(path: &str) -> Result<Str, String> {
    let is_abstract = path.starts_with('@');
    if path.len() < 2 || !(path.starts_with('/') && !path.ends_with('/') || is_abstract) {
        return Err(format!("{path:?} is not the path of a Unix socket"));
    }
    if path.len() > MAX_UNIX_PATH || path.contains('\0') {
        return Err(format!("{path:?} does not fit into the address of a socket"));
    }
    Ok(path.into())
}

// === impl EgressListener ===

impl EgressListener {
    fn read(spec: &IstioEgressListener, mut problem: impl FnMut(String)) -> Result<Self, String> {
        let (port, bind) = match &spec.port {
            Some(port) => {
                let (port, bind) = port_and_bind(port, &spec.bind)?;
                (Some(port), bind)
            }
            None => match Bind::parse(&spec.bind)? {
                Some(Bind::Unix(_)) => return Err("bind: a Unix socket needs a port 0".to_owned()),
                bind => (None, bind),
            },
        };
        let mut hosts = Vec::with_capacity(spec.hosts.len());
        for (position, host) in spec.hosts.iter().enumerate() {
            match read_host(host) {
                Ok(entry) => hosts.extend(entry),
                Err(reason) => problem(format!("hosts[{position}]: {reason}, it is left out")),
            }
        }
        Ok(Self {
            port,
            bind,
            binds: spec.capture_mode == i32::from(CaptureMode::None),
            hosts: ImportedHosts(hosts),
        })
    }

    /// Whether it is what a proxy without a Sidecar has: every visible service on its own port.
    pub fn is_default(&self) -> bool {
        self.port.is_none() && self.bind.is_none() && !self.binds && self.hosts.imports_everything()
    }
}

/// One entry of `hosts`; `None` when it imports nothing.
fn read_host(entry: &str) -> Result<Option<(Namespaces, Host)>, String> {
    let (namespace, name) = entry
        .split_once('/')
        .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
        .ok_or_else(|| format!("{entry:?} is not of the form namespace/name"))?;
    let namespaces = match namespace {
        "~" => return Ok(None),
        "*" => Namespaces::All,
        "." => Namespaces::Own,
        name => Namespaces::One(name.into()),
    };
    Ok(Some((namespaces, Host::new(name))))
}

// === impl IngressListener ===

impl IngressListener {
    fn read(spec: &IstioIngressListener) -> Result<Self, String> {
        let port = spec.port.as_ref().ok_or("port: missing")?;
        let (port, bind) = port_and_bind(port, &spec.bind)?;
        Ok(Self {
            port,
            bind,
            binds: spec.capture_mode == i32::from(CaptureMode::None),
            endpoint: LocalEndpoint::parse(&spec.default_endpoint)
                .map_err(|reason| format!("defaultEndpoint: {reason}"))?,
        })
    }
}

// === impl LocalEndpoint ===

impl LocalEndpoint {
    /// Reads `127.0.0.1:PORT` or `unix://PATH`, as Sidecars and Gateways have it in `defaultEndpoint`.
    ///
    /// # Errors
    ///
    /// Says what is wrong when it is neither.
    pub fn parse(endpoint: &str) -> Result<Self, String> {
        if let Some(path) = endpoint.strip_prefix(UNIX) {
            return unix_path(path).map(Self::Unix);
        }
        let shape = || format!("{endpoint:?} is neither 127.0.0.1:PORT nor {UNIX}PATH");
        let (host, port) = endpoint.rsplit_once(':').ok_or_else(shape)?;
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match port.parse() {
            Ok(port @ 1..) if host.is_empty() || is_loopback => Ok(Self::Port(port)),
            _ => Err(shape()),
        }
    }
}

// === impl Bind ===

impl Bind {
    /// Reads an address or `unix://PATH`, as Sidecars and Gateways have it in `bind`; `None` when it is empty.
    ///
    /// # Errors
    ///
    /// Says what is wrong when it is neither.
    pub fn parse(bind: &str) -> Result<Option<Self>, String> {
        if bind.is_empty() {
            return Ok(None);
        }
        if let Some(path) = bind.strip_prefix(UNIX) {
            return unix_path(path)
                .map(|path| Some(Self::Unix(path)))
                .map_err(|reason| format!("bind: {reason}"));
        }
        let ip = bind
            .parse()
            .map_err(|_| format!("bind: {bind:?} is neither an address nor {UNIX}PATH"))?;
        Ok(Some(Self::Ip(ip)))
    }

    /// The address, when it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Unix(_) => None,
        }
    }
}

// === impl ImportedHosts ===

impl ImportedHosts {
    fn imports_everything(&self) -> bool {
        self.0
            .iter()
            .any(|(namespaces, host)| *namespaces == Namespaces::All && host.as_str() == "*")
    }

    /// What they mean to proxies of a namespace.
    pub(crate) fn resolve(&self, namespace: &Str, imports: &mut Imports) {
        for (namespaces, host) in &self.0 {
            let hosts = match namespaces {
                Namespaces::All => &mut imports.from_all,
                Namespaces::Own => imports.from.entry(namespace.clone()).or_default(),
                Namespaces::One(name) => imports.from.entry(name.clone()).or_default(),
            };
            hosts.push(host.clone());
        }
    }
}

// === impl Imports ===

impl Imports {
    /// Whether a host that an object of a namespace defines is imported. A wildcard on either side will do.
    pub(crate) fn contains(&self, namespace: &str, host: &Host) -> bool {
        let from_one = self.from.get(namespace).into_iter().flatten();
        from_one
            .chain(&self.from_all)
            .any(|imported| imported.matches(host))
    }

    /// The namespaces that anything can be imported from; `None` means all.
    pub(crate) fn namespaces(&self) -> Option<impl Iterator<Item = &Str>> {
        self.from_all.is_empty().then(|| self.from.keys())
    }
}
