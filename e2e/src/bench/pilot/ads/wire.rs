//! Discovery messages in encoded form: requests are put together from shared parts, responses are scanned.
//!
//! A load client that decoded what it gets would need more CPU time than the server that it measures.

use anyhow::{Context as _, Result, anyhow};
use bytes::{Buf as _, BufMut as _, Bytes};
use mesh_api::envoy::config::listener::v3::{Listener, filter::ConfigType};
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::RouteSpecifier,
};
use mesh_api::type_url;
use mesh_runtime::grpc::BytesCodec;
use prost::Message as _;
use prost::encoding::{self, DecodeContext, WireType};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};

/// The form of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// State of the world.
    Sotw,
    /// Incremental.
    Delta,
}

/// The types of resources, in the order in which Envoy asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum XdsType {
    Cluster,
    Endpoint,
    Listener,
    Route,
}

/// An encoded request, in parts that are sent one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request(pub(crate) Vec<Bytes>);

/// What a response of either protocol says about itself, and its resources in encoded form.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) protocol: Protocol,
    pub(crate) version: String,
    pub(crate) nonce: String,
    /// `None` for a type that was not asked for.
    pub(crate) xds_type: Option<XdsType>,
    /// `Any` in state of the world, `Resource` in delta.
    pub(crate) resources: Vec<Bytes>,
    /// Names of resources that are gone (delta).
    pub(crate) removed: Vec<Bytes>,
}

/// Sends requests in parts, and hands responses over as bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartsCodec;

/// A field of an encoded message.
#[derive(Debug, PartialEq)]
enum Value {
    Varint(u64),
    Bytes(Bytes),
    /// A number of fixed size, which nothing here asks for.
    Fixed,
}

// === impl Protocol ===

impl Protocol {
    /// The gRPC method.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Sotw => "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            Self::Delta => "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        }
    }
}

// === impl XdsType ===

impl XdsType {
    pub(crate) const ALL: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    pub(crate) fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Endpoint => type_url::ENDPOINT,
            Self::Listener => type_url::LISTENER,
            Self::Route => type_url::ROUTE,
        }
    }

    /// The usual abbreviation.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
        }
    }
}

// === impl Response ===

impl Response {
    /// Scans an encoded `DiscoveryResponse` or `DeltaDiscoveryResponse`: what is read of them has the same numbers.
    pub(crate) fn scan(protocol: Protocol, message: Bytes) -> Result<Self> {
        let mut response = Self {
            protocol,
            version: String::new(),
            nonce: String::new(),
            xds_type: None,
            resources: Vec::new(),
            removed: Vec::new(),
        };
        for field in fields(message) {
            match field? {
                (1, Value::Bytes(version)) => response.version = text(&version)?,
                (2, Value::Bytes(resource)) => response.resources.push(resource),
                (4, Value::Bytes(url)) => {
                    response.xds_type = XdsType::ALL
                        .into_iter()
                        .find(|xds_type| xds_type.type_url().as_bytes() == url);
                }
                (5, Value::Bytes(nonce)) => response.nonce = text(&nonce)?,
                (6, Value::Bytes(name)) if protocol == Protocol::Delta => response.removed.push(name),
                _ => {}
            }
        }
        Ok(response)
    }

    /// The resources without their envelopes.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = Result<Bytes>> {
        self.resources.iter().map(|resource| {
            let any = match self.protocol {
                Protocol::Sotw => resource.clone(),
                Protocol::Delta => bytes_field(resource, 2)?.context("a resource without content")?,
            };
            Ok(bytes_field(&any, 2)?.unwrap_or_default())
        })
    }
}

/// The name under which an EDS cluster asks for its endpoints; `None` for other clusters.
pub(crate) fn endpoint_name(cluster: &Bytes) -> Result<Option<Bytes>> {
    const EDS: u64 = 3;
    let (mut name, mut service_name, mut is_eds) = (Bytes::new(), Bytes::new(), false);
    for field in fields(cluster.clone()) {
        match field? {
            (1, Value::Bytes(value)) => name = value,
            (2, Value::Varint(discovery_type)) => is_eds = discovery_type == EDS,
            (3, Value::Bytes(config)) => service_name = bytes_field(&config, 2)?.unwrap_or_default(),
            _ => {}
        }
    }
    let name = if service_name.is_empty() {
        name
    } else {
        service_name
    };
    Ok(is_eds.then_some(name))
}

/// The route configurations that a listener asks for by name.
pub(crate) fn route_names(listener: Bytes) -> Result<Vec<String>> {
    // Listeners are few: they are decoded.
    let listener = Listener::decode(listener).context("a listener does not decode")?;
    let chains = listener
        .filter_chains
        .iter()
        .chain(&listener.default_filter_chain);
    let mut names = Vec::new();
    for filter in chains.flat_map(|chain| &chain.filters) {
        let Some(ConfigType::TypedConfig(config)) = &filter.config_type else {
            continue;
        };
        if let Ok(HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::Rds(rds)),
            ..
        }) = config.unpack()
        {
            names.push(rds.route_config_name);
        }
    }
    Ok(names)
}

/// The fields of an encoded message, in order; nothing is copied.
fn fields(mut message: Bytes) -> impl Iterator<Item = Result<(u32, Value)>> {
    let mut read = move || -> Result<Option<(u32, Value)>> {
        if !message.has_remaining() {
            return Ok(None);
        }
        let (number, wire_type) = encoding::decode_key(&mut message)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(encoding::decode_varint(&mut message)?),
            WireType::LengthDelimited => {
                let length = usize::try_from(encoding::decode_varint(&mut message)?)?;
                if length > message.len() {
                    return Err(anyhow!("field {number} is longer than its message"));
                }
                Value::Bytes(message.split_to(length))
            }
            other => {
                encoding::skip_field(other, number, &mut message, DecodeContext::default())?;
                Value::Fixed
            }
        };
        Ok(Some((number, value)))
    };
    std::iter::from_fn(move || read().transpose())
}

fn bytes_field(message: &Bytes, number: u32) -> Result<Option<Bytes>> {
    for field in fields(message.clone()) {
        if let (found, Value::Bytes(value)) = field?
            && found == number
        {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn text(bytes: &Bytes) -> Result<String> {
    String::from_utf8(bytes.to_vec()).context("a string is not UTF-8")
}

// === impl PartsCodec ===

impl Codec for PartsCodec {
    type Encode = Request;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for PartsCodec {
    type Item = Request;
    type Error = Status;

    fn encode(&mut self, request: Request, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(request.0.iter().map(Bytes::len).sum());
        request.0.iter().for_each(|part| buffer.put_slice(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::config::cluster::v3::cluster::{
        ClusterDiscoveryType, DiscoveryType, EdsClusterConfig,
    };
    use mesh_api::envoy::config::cluster::v3::{CircuitBreakers, Cluster};
    use mesh_api::envoy::config::listener::v3::{Filter, FilterChain};
    use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::Rds;
    use mesh_api::envoy::service::discovery::v3::Resource;
    use mesh_api::{Any, DeltaDiscoveryResponse, DiscoveryResponse, Framed};

    use super::*;

    fn cluster(name: &str, discovery_type: DiscoveryType, service_name: &str) -> Cluster {
        Cluster {
            name: name.to_owned(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery_type.into())),
            eds_cluster_config: Some(EdsClusterConfig {
                service_name: service_name.to_owned(),
                ..EdsClusterConfig::default()
            }),
            circuit_breakers: Some(CircuitBreakers::default()),
            ..Cluster::default()
        }
    }

    fn encode(message: &impl prost::Message) -> Bytes {
        message.encode_to_vec().into()
    }

    #[test]
    fn responses_of_both_protocols_are_scanned() {
        let any = Any::pack(&cluster("a", DiscoveryType::Eds, ""));
        let sotw = DiscoveryResponse {
            version_info: "3".into(),
            resources: Framed::new([&encode(&any)]),
            type_url: type_url::CLUSTER.into(),
            nonce: "n".into(),
            control_plane: Some(Default::default()),
        };
        let resource = Resource {
            name: "a".into(),
            resource: Some(any.clone()),
            ..Resource::default()
        };
        let delta = DeltaDiscoveryResponse {
            system_version_info: "3".into(),
            resources: Framed::new([&encode(&resource)]),
            type_url: type_url::CLUSTER.into(),
            nonce: "n".into(),
            removed_resources: vec!["gone".into()],
            control_plane: None,
        };
        for (protocol, message, removed) in [
            (Protocol::Sotw, encode(&sotw), 0),
            (Protocol::Delta, encode(&delta), 1),
        ] {
            let response = Response::scan(protocol, message).unwrap();
            assert_eq!((&*response.version, &*response.nonce), ("3", "n"));
            assert_eq!(response.xds_type, Some(XdsType::Cluster));
            let bodies: Vec<_> = response.bodies().map(Result::unwrap).collect();
            assert_eq!(bodies, std::slice::from_ref(&any.value));
            assert_eq!(response.removed.len(), removed);
        }
    }

    #[test]
    fn eds_clusters_name_their_endpoints() {
        for (cluster, name) in [
            (cluster("a", DiscoveryType::Eds, ""), Some("a")),
            (cluster("a", DiscoveryType::Eds, "b"), Some("b")),
            (cluster("a", DiscoveryType::OriginalDst, ""), None),
        ] {
            let found = endpoint_name(&encode(&cluster)).unwrap();
            assert_eq!(found.as_deref(), name.map(str::as_bytes));
        }
    }

    #[test]
    fn listeners_name_their_routes() {
        let manager = HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                route_config_name: "80".into(),
                config_source: None,
            })),
            ..HttpConnectionManager::default()
        };
        let filter = Filter {
            name: "http".into(),
            config_type: Some(ConfigType::TypedConfig(Any::pack(&manager))),
        };
        let listener = Listener {
            filter_chains: vec![FilterChain {
                filters: vec![filter],
                ..FilterChain::default()
            }],
            ..Listener::default()
        };
        assert_eq!(route_names(encode(&listener)).unwrap(), ["80"]);
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for length in 1..16 {
            let garbage = Bytes::from(vec![0x12; length]);
            assert!(Response::scan(Protocol::Sotw, garbage.clone()).is_err());
            let _ = endpoint_name(&garbage);
            let _ = route_names(garbage);
        }
    }
}
