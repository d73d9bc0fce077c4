//! The service registries that an operator can choose (`--registries`, P4.1).

use std::fmt;
use std::str::FromStr;

/// A platform whose services Pilot follows. ServiceEntries are followed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    /// Services, endpoints, pods and nodes of a cluster, as the configuration sources deliver them.
    Kubernetes,
    /// The same: the name of 1.1 for services that come with the configuration.
    Mcp,
    /// The catalog of a Consul agent.
    Consul,
}

/// Not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no service registry: Kubernetes, MCP and Consul are")]
pub struct PlatformError(String);

// === impl Platform ===

impl FromStr for Platform {
    type Err = PlatformError;

    /// `Mock`, the services of 1.1's own tests, is no registry here.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "Kubernetes" => Ok(Self::Kubernetes),
            "MCP" => Ok(Self::Mcp),
            "Consul" => Ok(Self::Consul),
            _ => Err(PlatformError(name.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubernetes => "Kubernetes",
            Self::Mcp => "MCP",
            Self::Consul => "Consul",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p4_1_the_registries_of_1_1_are_known_but_for_its_test_services() {
        for name in ["Kubernetes", "MCP", "Consul"] {
            assert_eq!(
                name.parse::<Platform>().map(|platform| platform.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in ["Mock", "", "kubernetes", "Eureka"] {
            assert!(name.parse::<Platform>().is_err(), "{name}");
        }
    }
}
