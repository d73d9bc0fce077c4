//! From text to typed settings; everything that ends up in a rule is checked here.

use core::net::IpAddr;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Addresses, InvalidFlag, Mode, Ports};

/// The longest name that the kernel gives an interface.
const INTERFACE_NAME_MAX: usize = 15;

/// A flag's name and its value, if it was given.
type Flag<'a> = (&'static str, &'a Option<String>);

/// Where the value of an absent flag comes from.
pub(super) struct Source<'a> {
    pub(super) env: &'a BTreeMap<String, String>,
}

// === impl Source ===

impl Source<'_> {
    /// The value of the flag, or of its variable, and which of the two it was.
    fn text<'s>(&'s self, flag: Flag<'s>, variable: &'static str) -> Option<(&'static str, &'s str)> {
        match flag.1 {
            Some(value) => Some((flag.0, value)),
            None => self.env.get(variable).map(|value| (variable, value.as_str())),
        }
    }

    pub(super) fn port(
        &self,
        flag: Flag<'_>,
        variable: &'static str,
        default: u16,
    ) -> Result<u16, InvalidFlag> {
        match self.text(flag, variable) {
            Some((origin, value)) if !value.trim().is_empty() => port(origin, value.trim()),
            _ => Ok(default),
        }
    }

    pub(super) fn mode(&self, flag: Flag<'_>, variable: &'static str) -> Result<Mode, InvalidFlag> {
        match self.text(flag, variable) {
            None | Some((_, "" | "REDIRECT")) => Ok(Mode::Redirect),
            Some((_, "TPROXY")) => Ok(Mode::Tproxy),
            Some((_, "NONE")) => Ok(Mode::None),
            Some((origin, value)) => Err(invalid(origin, value, "is none of REDIRECT, TPROXY, NONE")),
        }
    }

    pub(super) fn addresses(&self, flag: Flag<'_>, variable: &'static str) -> Result<Addresses, InvalidFlag> {
        match self.text(flag, variable) {
            Some((_, value)) if value.trim() == "*" => Ok(Addresses::All),
            Some((origin, value)) => networks(origin, value).map(Addresses::These),
            None => Ok(Addresses::These(Vec::new())),
        }
    }

    pub(super) fn networks(&self, flag: Flag<'_>, variable: &'static str) -> Result<Vec<IpNet>, InvalidFlag> {
        match self.text(flag, variable) {
            Some((origin, value)) => networks(origin, value),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn ports(&self, flag: Flag<'_>, variable: &'static str) -> Result<Ports, InvalidFlag> {
        match self.text(flag, variable) {
            Some((_, value)) if value.trim() == "*" => Ok(Ports::All),
            Some((origin, value)) => port_list(origin, value).map(Ports::These),
            None => Ok(Ports::These(Vec::new())),
        }
    }

    pub(super) fn port_list(
        &self,
        flag: Flag<'_>,
        variable: &'static str,
        default: &str,
    ) -> Result<Vec<u16>, InvalidFlag> {
        match self.text(flag, variable) {
            Some((origin, value)) => port_list(origin, value),
            None => port_list(variable, default),
        }
    }

    pub(super) fn number(&self, variable: &'static str, default: u32) -> Result<u32, InvalidFlag> {
        match self.env.get(variable).map(|value| value.trim()) {
            None | Some("") => Ok(default),
            Some(value) => match value.parse() {
                Ok(0) | Err(_) => Err(invalid(variable, value, "is not a number above 0")),
                Ok(number) => Ok(number),
            },
        }
    }
}

/// Users or groups, by number or name.
pub(super) fn owners(origin: &'static str, list: &str) -> Result<Vec<String>, InvalidFlag> {
    let each = items(list).map(|owner| {
        let number = owner.parse::<u32>().is_ok();
        let named = owner.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && owner
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter));
        match number || named {
            true => Ok(owner.to_owned()),
            false => Err(invalid(origin, owner, "is neither a number nor a name")),
        }
    });
    each.collect()
}

/// Interface names; iptables' trailing `+` stands for any ending.
pub(super) fn interfaces(origin: &'static str, list: &str) -> Result<Vec<String>, InvalidFlag> {
    let each = items(list).map(|name| {
        let fits = name.len() <= INTERFACE_NAME_MAX;
        let plain = !name.starts_with('-')
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "_-.:@+".contains(letter));
        match fits && plain {
            true => Ok(name.to_owned()),
            false => Err(invalid(origin, name, "is not the name of an interface")),
        }
    });
    each.collect()
}

fn networks(origin: &'static str, list: &str) -> Result<Vec<IpNet>, InvalidFlag> {
    let each = items(list).map(|item| {
        let network = item
            .parse::<IpNet>()
            .or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
        // iptables prints networks with the host part cleared; so do we, to compare equal.
        network.map(|network| network.trunc()).map_err(|_| match item {
            "*" => invalid(origin, item, "must stand alone"),
            _ => invalid(origin, item, "is not an address range such as 10.0.0.0/8"),
        })
    });
    each.collect()
}

fn port_list(origin: &'static str, list: &str) -> Result<Vec<u16>, InvalidFlag> {
    let mut ports = Vec::new();
    for item in items(list) {
        if item == "*" {
            return Err(invalid(origin, item, "must stand alone"));
        }
        let port = port(origin, item)?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(ports)
}

fn port(origin: &'static str, text: &str) -> Result<u16, InvalidFlag> {
    match text.parse() {
        Ok(0) | Err(_) => Err(invalid(origin, text, "is not a port (1 to 65535)")),
        Ok(port) => Ok(port),
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn invalid(origin: &'static str, value: &str, reason: &'static str) -> InvalidFlag {
    InvalidFlag {
        origin,
        value: value.to_owned(),
        reason,
    }
}
