//! What is to be captured: flags and environment, checked and typed (spec 05 §2.2).

mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ipnet::IpNet;

/// The flags as given: text, unchecked. `None` means that the flag is absent, which is not the same
/// as empty: an empty `-b` captures nothing, an absent one falls back to the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `-p`: the port that outgoing connections are sent to.
    pub outbound_port: Option<String>,
    /// `-z`: the port that incoming connections are sent to.
    pub inbound_port: Option<String>,
    /// `-u`: users whose connections are left alone.
    pub uids: Option<String>,
    /// `-g`: groups whose connections are left alone.
    pub gids: Option<String>,
    /// `-m`: `REDIRECT`, `TPROXY` or `NONE`.
    pub mode: Option<String>,
    /// `-i`: destinations to capture.
    pub include_addresses: Option<String>,
    /// `-x`: destinations to leave alone.
    pub exclude_addresses: Option<String>,
    /// `-b`: incoming ports to capture.
    pub include_ports: Option<String>,
    /// `-d`: incoming ports to leave alone.
    pub exclude_ports: Option<String>,
    /// `-k`: interfaces whose incoming packets count as outgoing.
    pub virtual_interfaces: Option<String>,
}

/// How incoming connections reach the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rewrite the destination. The proxy asks the kernel for the original one; the application sees
    /// the proxy as its caller.
    Redirect,
    /// Keep both addresses. The proxy needs a transparent listener and the capability NET_ADMIN.
    Tproxy,
    /// Capture nothing.
    None,
}

/// A choice of incoming ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Every port.
    All,
    /// These; none when empty.
    These(Vec<u16>),
}

/// A choice of destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Every destination.
    All,
    /// These networks; none when empty.
    These(Vec<IpNet>),
}

/// Checked settings: all that the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The port that outgoing connections are sent to (`-p`).
    pub outbound_port: u16,
    /// The port that incoming connections are sent to (`-z`).
    pub inbound_port: u16,
    /// Users, by number or name, whose connections are left alone (`-u`).
    pub uids: Vec<String>,
    /// Groups, by number or name, whose connections are left alone (`-g`).
    pub gids: Vec<String>,
    /// How incoming connections reach the proxy (`-m`).
    pub mode: Mode,
    /// Destinations to capture (`-i`).
    pub include_addresses: Addresses,
    /// Destinations to leave alone (`-x`).
    pub exclude_addresses: Vec<IpNet>,
    /// Incoming ports to capture (`-b`).
    pub include_ports: Ports,
    /// Incoming ports to leave alone; looked at only when every port is captured (`-d`).
    pub exclude_ports: Vec<u16>,
    /// Interfaces whose incoming packets count as outgoing (`-k`).
    pub virtual_interfaces: Vec<String>,
    /// Whether connections from the pod to its own address pass the proxy (rule 8).
    pub capture_own_address: bool,
    /// The firewall mark of TPROXY (`ISTIO_INBOUND_TPROXY_MARK`).
    pub tproxy_mark: u32,
    /// The routing table of TPROXY (`ISTIO_INBOUND_TPROXY_ROUTE_TABLE`).
    pub tproxy_table: u32,
}

/// A flag or variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {value:?} {reason}")]
pub struct InvalidFlag {
    /// The flag or the environment variable.
    pub origin: &'static str,
    /// The part of its value that is wrong.
    pub value: String,
    /// Why it is wrong.
    pub reason: &'static str,
}

// === impl Capture ===

impl Capture {
    /// Checks flags and, where a flag is absent, its environment variable.
    ///
    /// `uid_of` answers with the number of a local user; it is asked for `ENVOY_USER` when `-u` is absent.
    ///
    /// # Errors
    /// The first flag or variable that cannot be used.
    pub fn resolve(
        flags: &Flags,
        env: &BTreeMap<String, String>,
        uid_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Capture, InvalidFlag> {
        let source = parse::Source { env };
        let uids = match flags.uids.as_deref().filter(|uids| !uids.is_empty()) {
            Some(uids) => parse::owners("-u", uids)?,
            None => {
                let user = env.get("ENVOY_USER").map_or("istio-proxy", String::as_str);
                let uid = uid_of(user).unwrap_or(1337);
                // Without -u this is a virtual machine, where root's own connections must keep working.
                vec![uid.to_string(), "0".to_owned()]
            }
        };
        let gids = match flags.gids.as_deref().filter(|gids| !gids.is_empty()) {
            Some(gids) => parse::owners("-g", gids)?,
            None => uids.clone(),
        };
        Ok(Capture {
            outbound_port: source.port(("-p", &flags.outbound_port), "ENVOY_PORT", 15001)?,
            inbound_port: source.port(("-z", &flags.inbound_port), "INBOUND_CAPTURE_PORT", 15006)?,
            uids,
            gids,
            mode: source.mode(("-m", &flags.mode), "ISTIO_INBOUND_INTERCEPTION_MODE")?,
            include_addresses: source.addresses(("-i", &flags.include_addresses), "ISTIO_SERVICE_CIDR")?,
            exclude_addresses: source
                .networks(("-x", &flags.exclude_addresses), "ISTIO_SERVICE_EXCLUDE_CIDR")?,
            include_ports: source.ports(("-b", &flags.include_ports), "ISTIO_INBOUND_PORTS")?,
            exclude_ports: source.port_list(
                ("-d", &flags.exclude_ports),
                "ISTIO_LOCAL_EXCLUDE_PORTS",
                "15020",
            )?,
            virtual_interfaces: parse::interfaces("-k", flags.virtual_interfaces.as_deref().unwrap_or(""))?,
            capture_own_address: env
                .get("DISABLE_REDIRECTION_ON_LOCAL_LOOPBACK")
                .is_none_or(|value| value.is_empty()),
            tproxy_mark: source.number("ISTIO_INBOUND_TPROXY_MARK", 1337)?,
            tproxy_table: source.number("ISTIO_INBOUND_TPROXY_ROUTE_TABLE", 133)?,
        })
    }
}
