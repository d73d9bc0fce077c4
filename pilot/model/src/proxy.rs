//! Who asks: the identity that an Envoy declares in its node (P8.4).

use std::collections::BTreeMap;
use std::net::IpAddr;

use mesh_api::envoy::config::core::v3::Node;
use mesh_config::{Labels, Str};
use prost_types_value::string_values;

use crate::Locality;

/// A connected proxy, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The whole node id, `type~ip~id~domain`.
    pub node_id: Str,
    /// Sidecar or router.
    pub proxy_type: ProxyType,
    /// Its addresses, at least one for sidecars; the first identifies it.
    pub ips: Vec<IpAddr>,
    /// `<pod>.<namespace>` by convention.
    pub id: Str,
    /// DNS domain of its namespace, such as `weather.svc.cluster.local`.
    pub domain: Str,
    /// Namespace whose configuration applies to it; empty when it names none.
    pub namespace: Str,
    /// The string-valued metadata.
    pub metadata: BTreeMap<Str, Str>,
    /// How traffic reaches it.
    pub interception: InterceptionMode,
    /// Where it says that it runs.
    pub locality: Locality,
    /// Version of its Envoy.
    pub version: ProxyVersion,
}

/// The role of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyType {
    /// Beside one workload.
    Sidecar,
    /// At an edge of the mesh: `router`, and `ingress` of older installations.
    Router,
}

/// How traffic reaches a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterceptionMode {
    /// Captured by iptables REDIRECT.
    #[default]
    Redirect,
    /// Captured by iptables TPROXY, which keeps the source address.
    Tproxy,
    /// Not captured: the application talks to the proxy.
    None,
}

/// Major and minor version of an Envoy; zero when it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

/// Why a node cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The stream did not say who it is.
    #[error("the first request carries no node id")]
    MissingNode,
    /// The id has another shape.
    #[error("node id {0:?} is not of the form type~ip~id~domain")]
    MalformedId(String),
    /// The role is none of Istio's.
    #[error("node id {0:?} has an unknown type, expected sidecar, router or ingress")]
    UnknownType(String),
    /// A sidecar without an address cannot be given inbound listeners.
    #[error("sidecar {0:?} has no valid ip address")]
    NoAddress(String),
}

// === impl Proxy ===

impl Proxy {
    /// Reads a node.
    ///
    /// # Errors
    ///
    /// See [`ProxyError`].
    pub fn from_node(node: &Node) -> Result<Self, ProxyError> {
        if node.id.is_empty() {
            return Err(ProxyError::MissingNode);
        }
        let parts: Vec<&str> = node.id.split('~').collect();
        let [proxy_type, ip, id, domain] = parts[..] else {
            return Err(ProxyError::MalformedId(node.id.clone()));
        };
        let proxy_type = match proxy_type {
            "sidecar" => ProxyType::Sidecar,
            "router" | "ingress" => ProxyType::Router,
            _ => return Err(ProxyError::UnknownType(node.id.clone())),
        };

        let metadata = string_values(node.metadata.as_ref());
        let ips = metadata
            .get("INSTANCE_IPS")
            .and_then(|ips| {
                ips.split(',')
                    .map(|ip| ip.trim().parse().ok())
                    .collect::<Option<Vec<_>>>()
            })
            .unwrap_or_else(|| ip.parse().into_iter().collect());
        if ips.is_empty() && proxy_type == ProxyType::Sidecar {
            return Err(ProxyError::NoAddress(node.id.clone()));
        }

        let namespace = match metadata.get("CONFIG_NAMESPACE") {
            Some(namespace) => namespace.clone(),
            None => domain.split_once('.').map_or("", |(first, _)| first).into(),
        };
        let interception = match metadata.get("INTERCEPTION_MODE").map(AsRef::as_ref) {
            Some("TPROXY") => InterceptionMode::Tproxy,
            Some("NONE") => InterceptionMode::None,
            _ => InterceptionMode::Redirect,
        };
        Ok(Self {
            node_id: node.id.as_str().into(),
            proxy_type,
            ips,
            id: id.into(),
            domain: domain.into(),
            namespace,
            metadata,
            interception,
            locality: locality(node),
            version: ProxyVersion::of(node),
        })
    }

    /// Its labels as far as it declares them: the flattened metadata (AGT-11). The registry's labels win where known.
    pub fn declared_labels(&self) -> Labels {
        self.metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

// === impl ProxyVersion ===

impl ProxyVersion {
    fn of(node: &Node) -> Self {
        use mesh_api::envoy::config::core::v3::node::UserAgentVersionType;

        let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type else {
            return Self::default();
        };
        build.version.as_ref().map_or_else(Self::default, |version| Self {
            major: version.major_number,
            minor: version.minor_number,
        })
    }
}

fn locality(node: &Node) -> Locality {
    node.locality
        .as_ref()
        .map_or_else(Locality::default, |locality| Locality {
            region: locality.region.as_str().into(),
            zone: locality.zone.as_str().into(),
            sub_zone: locality.sub_zone.as_str().into(),
        })
}

mod prost_types_value {
    //! The string values of a protobuf Struct.

    use std::collections::BTreeMap;

    use mesh_config::Str;
    use prost_types::Struct;
    use prost_types::value::Kind;

    pub(super) fn string_values(fields: Option<&Struct>) -> BTreeMap<Str, Str> {
        fields
            .iter()
            .flat_map(|fields| &fields.fields)
            .filter_map(|(key, value)| match &value.kind {
                Some(Kind::StringValue(value)) => Some((key.as_str().into(), value.as_str().into())),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, metadata: &[(&str, &str)]) -> Node {
        let fields = metadata
            .iter()
            .map(|(key, value)| {
                let kind = prost_types::value::Kind::StringValue((*value).to_owned());
                ((*key).to_owned(), prost_types::Value { kind: Some(kind) })
            })
            .collect();
        Node {
            id: id.to_owned(),
            metadata: Some(prost_types::Struct { fields }),
            ..Node::default()
        }
    }

    #[test]
    fn p8_4_the_node_id_has_four_parts() {
        let proxy = Proxy::from_node(&node(
            "sidecar~10.1.2.3~frontend-v1-0.weather~weather.svc.cluster.local",
            &[],
        ))
        .expect("valid");
        assert_eq!(proxy.proxy_type, ProxyType::Sidecar);
        assert_eq!(proxy.ips, ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            (&*proxy.id, &*proxy.namespace),
            ("frontend-v1-0.weather", "weather")
        );
    }

    #[test]
    fn p8_4_malformed_ids_are_refused_with_a_reason() {
        for (id, expected) in [
            ("", ProxyError::MissingNode),
            (
                "sidecar~10.1.2.3~x",
                ProxyError::MalformedId("sidecar~10.1.2.3~x".into()),
            ),
            ("a~b~c~d~e", ProxyError::MalformedId("a~b~c~d~e".into())),
            (
                "waypoint~10.1.2.3~x~y",
                ProxyError::UnknownType("waypoint~10.1.2.3~x~y".into()),
            ),
            (
                "sidecar~nowhere~x~y",
                ProxyError::NoAddress("sidecar~nowhere~x~y".into()),
            ),
        ] {
            assert_eq!(Proxy::from_node(&node(id, &[])), Err(expected));
        }
    }

    #[test]
    fn p8_4_metadata_overrides_what_the_id_says() {
        let id = "router~10.1.2.3~gateway-0.istio-system~istio-system.svc.cluster.local";
        let metadata = [
            ("INSTANCE_IPS", "10.9.9.9, 10.8.8.8"),
            ("CONFIG_NAMESPACE", "edge"),
            ("INTERCEPTION_MODE", "NONE"),
        ];
        let proxy = Proxy::from_node(&node(id, &metadata)).expect("valid");
        assert_eq!(proxy.ips.len(), 2);
        assert_eq!(&*proxy.namespace, "edge");
        assert_eq!(proxy.interception, InterceptionMode::None);

        let one_bad_address = Proxy::from_node(&node(id, &[("INSTANCE_IPS", "10.9.9.9,x")])).expect("valid");
        assert_eq!(one_bad_address.ips, ["10.1.2.3".parse::<IpAddr>().unwrap()]);

        let no_namespace = Proxy::from_node(&node("router~10.1.2.3~x~local", &[])).expect("valid");
        assert_eq!(&*no_namespace.namespace, "");
    }
}
