//! Whether Envoy can take traffic, from what its admin interface says (`AGT-70` to `AGT-72`).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use crate::admin::{Admin, AdminError};
use crate::config::{Config, Role};

#[cfg(test)]
mod tests;

/// The statistics that are looked at.
const STATS: &str = "/stats?usedonly&filter=^(cluster_manager\\.cds\\.update_success\
                     |listener_manager\\.(lds\\.update_success|workers_started)\
                     |http\\..*\\.rds\\..*\\.update_(success|rejected))$";

/// All listeners with their addresses.
const LISTENERS: &str = "/listeners?format=json";

/// The listener that captured inbound connections arrive at, with its filter chains.
const VIRTUAL_INBOUND: &str = "/config_dump?resource=dynamic_listeners&name_regex=virtualInbound";

/// What Envoy must offer to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Ports of the application.
    ports: Vec<u16>,
    /// Addresses of the pod.
    ips: Vec<IpAddr>,
    /// A gateway listens on every address and needs all ports; beside an application one port is enough,
    /// since only those that belong to a service are served.
    gateway: bool,
}

/// Why Envoy is not ready.
#[derive(Debug)]
pub enum NotReady {
    /// The agent is leaving.
    Draining,
    /// The admin interface does not answer.
    Admin(AdminError),
    /// The admin interface answers something else than expected.
    Answer(serde_json::Error),
    /// Pilot has not delivered clusters or listeners yet.
    Configuration {
        /// Clusters have arrived.
        clusters: bool,
        /// Listeners have arrived.
        listeners: bool,
    },
    /// Envoy rejected these routes and has none in their place.
    Routes(Vec<String>),
    /// Everything has arrived, but Envoy still waits for something that it refers to.
    Workers,
    /// No listener serves these ports.
    Ports(Vec<u16>),
}

/// What the statistics say.
///
/// Only what Envoy accepted counts: one that starts on a rejected configuration would take traffic and answer 404.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stats {
    clusters: bool,
    listeners: bool,
    workers: bool,
    /// Route configurations of which Envoy has accepted some version, by the name of their statistics.
    accepted_routes: BTreeSet<String>,
    /// Those of which it has rejected some version.
    rejected_routes: BTreeSet<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listeners {
    listener_statuses: Vec<Listener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listener {
    local_address: Address,
    additional_local_addresses: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Address {
    socket_address: SocketAddress,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SocketAddress {
    address: String,
    port_value: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dump {
    configs: Vec<DynamicListener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DynamicListener {
    active_state: ActiveState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ActiveState {
    listener: ChainedListener,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ChainedListener {
    filter_chains: Vec<FilterChain>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilterChain {
    filter_chain_match: FilterChainMatch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FilterChainMatch {
    destination_port: u16,
}

/// Asks Envoy.
///
/// # Errors
/// Why it is not ready.
pub(super) async fn check(admin: &Admin, wanted: &Wanted) -> Result<(), NotReady> {
    let stats = Stats::parse(&admin.get(STATS).await?);
    let Stats {
        clusters, listeners, ..
    } = stats;
    if !(clusters && listeners) {
        return Err(NotReady::Configuration { clusters, listeners });
    }
    let missing = stats.missing_routes();
    if !missing.is_empty() {
        return Err(NotReady::Routes(missing));
    }
    if !stats.workers {
        return Err(NotReady::Workers);
    }
    if wanted.ports.is_empty() {
        return Ok(());
    }
    let mut served = serde_json::from_str::<Listeners>(&admin.get(LISTENERS).await?)?.served(wanted);
    if !wanted.satisfied_by(&served) && !wanted.gateway {
        let dump: Dump = serde_json::from_str(&admin.get(VIRTUAL_INBOUND).await?)?;
        served.extend(dump.served());
    }
    match wanted.satisfied_by(&served) {
        true => Ok(()),
        false => Err(NotReady::Ports(wanted.missing(&served))),
    }
}

// === impl Wanted ===

impl Wanted {
    /// What the configuration asks for. Where nothing is captured the application listens on its ports itself, and Envoy
    /// on those that a Sidecar names, which the agent does not know.
    #[must_use]
    pub fn of(config: &Config) -> Wanted {
        let mode = config.node.metadata.get("INTERCEPTION_MODE");
        let captured = mode.and_then(|mode| mode.as_str()) != Some("NONE");
        let ports = &config.status.application_ports;
        Wanted {
            ports: if captured { ports.clone() } else { Vec::new() },
            ips: config.node.ips.clone(),
            gateway: config.node.role == Role::Router,
        }
    }

    fn satisfied_by(&self, served: &[u16]) -> bool {
        let mut found = self.ports.iter().map(|port| served.contains(port));
        if self.gateway {
            found.all(|found| found)
        } else {
            found.any(|found| found)
        }
    }

    fn missing(&self, served: &[u16]) -> Vec<u16> {
        self.ports
            .iter()
            .copied()
            .filter(|port| !served.contains(port))
            .collect()
    }
}

// === impl Stats ===

impl Stats {
    /// Reads lines of `name: value`.
    fn parse(text: &str) -> Stats {
        let mut stats = Stats::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            if value.trim().parse::<u64>().unwrap_or_default() == 0 {
                continue;
            }
            match name {
                "cluster_manager.cds.update_success" => stats.clusters = true,
                "listener_manager.lds.update_success" => stats.listeners = true,
                "listener_manager.workers_started" => stats.workers = true,
                _ => {
                    if let Some(routes) = name.strip_suffix(".update_success") {
                        stats.accepted_routes.insert(routes.to_owned());
                    } else if let Some(routes) = name.strip_suffix(".update_rejected") {
                        stats.rejected_routes.insert(routes.to_owned());
                    }
                }
            }
        }
        stats
    }

    /// Route configurations of which Envoy has rejected all that it got.
    fn missing_routes(&self) -> Vec<String> {
        self.rejected_routes
            .difference(&self.accepted_routes)
            .cloned()
            .collect()
    }
}

// === impl Listeners ===

impl Listeners {
    /// The ports of listeners on an address that counts.
    fn served(self, wanted: &Wanted) -> Vec<u16> {
        let addresses = self.listener_statuses.into_iter().flat_map(|listener| {
            std::iter::once(listener.local_address).chain(listener.additional_local_addresses)
        });
        addresses
            .map(|address| address.socket_address)
            .filter(|socket| {
                let Ok(ip) = socket.address.parse::<IpAddr>() else {
                    return false;
                };
                if wanted.gateway {
                    ip.is_unspecified()
                } else {
                    wanted.ips.contains(&ip)
                }
            })
            .map(|socket| socket.port_value)
            .collect()
    }
}

// === impl Dump ===

impl Dump {
    /// The ports that filter chains are selected by.
    fn served(self) -> impl Iterator<Item = u16> {
        let chains = self
            .configs
            .into_iter()
            .flat_map(|config| config.active_state.listener.filter_chains);
        chains.map(|chain| chain.filter_chain_match.destination_port)
    }
}

// === impl NotReady ===

impl From<AdminError> for NotReady {
    fn from(error: AdminError) -> NotReady {
        NotReady::Admin(error)
    }
}

impl From<serde_json::Error> for NotReady {
    fn from(error: serde_json::Error) -> NotReady {
        NotReady::Answer(error)
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReady::Draining => f.write_str("draining"),
            NotReady::Admin(error) => f.write_str(&mesh_runtime::error_chain(error)),
            NotReady::Answer(error) => {
                write!(f, "envoy's admin interface gives an unexpected answer: {error}")
            }
            NotReady::Configuration {
                clusters: false,
                listeners: false,
            } => f.write_str("pilot has delivered neither clusters (CDS) nor listeners (LDS)"),
            NotReady::Configuration { clusters: false, .. } => {
                f.write_str("pilot has not delivered clusters (CDS)")
            }
            NotReady::Configuration { .. } => f.write_str("pilot has not delivered listeners (LDS)"),
            NotReady::Routes(routes) => {
                write!(f, "envoy rejected the routes of {}", routes.join(", "))
            }
            NotReady::Workers => f.write_str(
                "envoy waits for routes (RDS), endpoints (EDS) or certificates (SDS) of its configuration",
            ),
            NotReady::Ports(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "no listener serves application port {}: is there a service for it?",
                    ports.join(", ")
                )
            }
        }
    }
}
