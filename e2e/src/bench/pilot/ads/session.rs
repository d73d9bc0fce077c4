//! What a proxy asks for and when: Envoy's order, without input or output.
//!
//! Clusters first; then the endpoints of every EDS cluster; then listeners; then the routes that these name. Every
//! response is acknowledged at once.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use mesh_api::envoy::config::core::v3::Node;
use mesh_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::encoding;

use super::wire::{Protocol, Request, Response, XdsType, endpoint_name, route_names};

/// The field of both requests that holds names to subscribe to.
const NAMES: u32 = 3;

/// One stream of one proxy.
#[derive(Debug)]
pub(crate) struct Session {
    protocol: Protocol,
    /// A request with nothing but the node.
    node: Bytes,
    types: [Subscription; 4],
    /// Load assignments received.
    endpoints: usize,
}

#[derive(Debug, Default)]
struct Subscription {
    is_open: bool,
    has_response: bool,
    version: String,
    nonce: String,
    /// The names subscribed to, sorted, as they stand in a request (state of the world).
    names: Bytes,
    /// The names subscribed to (delta).
    known: BTreeSet<Bytes>,
    /// How many names are subscribed to.
    wanted: usize,
}

// === impl Session ===

impl Session {
    pub(crate) fn new(protocol: Protocol, node: Node) -> Self {
        let node = match protocol {
            Protocol::Sotw => encode(&DiscoveryRequest {
                node: Some(node),
                ..DiscoveryRequest::default()
            }),
            Protocol::Delta => encode(&DeltaDiscoveryRequest {
                node: Some(node),
                ..DeltaDiscoveryRequest::default()
            }),
        };
        Self {
            protocol,
            node,
            types: Default::default(),
            endpoints: 0,
        }
    }

    /// The request that opens the stream.
    pub(crate) fn open(&mut self) -> Request {
        self.subscribe(XdsType::Cluster, Bytes::new())
    }

    /// Takes a response over; returns what to answer. `intern` may replace encoded names by equal ones.
    pub(crate) fn on_response(
        &mut self,
        response: &Response,
        intern: impl Fn(Bytes) -> Bytes,
    ) -> Result<Vec<Request>> {
        let xds_type = response
            .xds_type
            .context("a response of a type that was not asked for")?;
        let subscription = &mut self.types[xds_type as usize];
        subscription.has_response = true;
        subscription.version.clone_from(&response.version);
        subscription.nonce.clone_from(&response.nonce);
        let mut requests = vec![self.acknowledge(xds_type)];
        match xds_type {
            XdsType::Cluster => {
                let mut names = Vec::with_capacity(response.resources.len());
                for cluster in response.bodies() {
                    names.extend(endpoint_name(&cluster?)?);
                }
                requests.extend(self.follow(XdsType::Endpoint, names, &response.removed, intern));
            }
            XdsType::Endpoint => self.endpoints += response.resources.len(),
            XdsType::Listener => {
                let mut names = Vec::new();
                for listener in response.bodies() {
                    names.extend(route_names(listener?)?.into_iter().map(Bytes::from));
                }
                requests.extend(self.follow(XdsType::Route, names, &[], intern));
            }
            XdsType::Route => {}
        }
        let endpoints = &self.types[XdsType::Endpoint as usize];
        let has_endpoints = endpoints.has_response || endpoints.wanted == 0;
        if has_endpoints && !self.types[XdsType::Listener as usize].is_open {
            requests.push(self.subscribe(XdsType::Listener, Bytes::new()));
        }
        Ok(requests)
    }

    /// Whether there was a response of every type, and a load assignment for every EDS cluster.
    pub(crate) fn is_complete(&self) -> bool {
        self.types.iter().all(|subscription| subscription.has_response) && self.missing_endpoints() == 0
    }

    /// How many EDS clusters are without load assignment.
    pub(crate) fn missing_endpoints(&self) -> usize {
        self.types[XdsType::Endpoint as usize]
            .wanted
            .saturating_sub(self.endpoints)
    }

    /// The types that had no response yet.
    pub(crate) fn missing_types(&self) -> impl Iterator<Item = XdsType> {
        XdsType::ALL
            .into_iter()
            .filter(|xds_type| !self.types[*xds_type as usize].has_response)
    }

    /// Asks for the resources of these names, if that is news: in state of the world for all of them, in delta for
    /// those that are added.
    fn follow(
        &mut self,
        xds_type: XdsType,
        mut names: Vec<Bytes>,
        removed: &[Bytes],
        intern: impl Fn(Bytes) -> Bytes,
    ) -> Option<Request> {
        names.sort_unstable();
        names.dedup();
        let subscription = &mut self.types[xds_type as usize];
        match self.protocol {
            Protocol::Sotw => subscription.wanted = names.len(),
            Protocol::Delta => {
                for name in removed {
                    subscription.known.remove(name);
                }
                names.retain(|name| !subscription.known.contains(name));
                // A copy, lest one name keeps the whole response.
                let added = names.iter().map(|name| Bytes::copy_from_slice(name));
                subscription.known.extend(added);
                subscription.wanted = subscription.known.len();
            }
        }
        let mut encoded = BytesMut::new();
        for name in &names {
            encoding::bytes::encode(NAMES, name, &mut encoded);
        }
        (encoded != subscription.names).then(|| self.subscribe(xds_type, intern(encoded.freeze())))
    }

    fn subscribe(&mut self, xds_type: XdsType, names: Bytes) -> Request {
        let subscription = &mut self.types[xds_type as usize];
        subscription.is_open = true;
        match self.protocol {
            Protocol::Sotw => {
                subscription.names = names;
                self.acknowledge(xds_type)
            }
            Protocol::Delta => {
                let head = encode(&DeltaDiscoveryRequest {
                    type_url: xds_type.type_url().to_owned(),
                    ..DeltaDiscoveryRequest::default()
                });
                Request(vec![self.node.clone(), head, names])
            }
        }
    }

    /// Answers the last response. In state of the world every request repeats all names.
    fn acknowledge(&self, xds_type: XdsType) -> Request {
        let subscription = &self.types[xds_type as usize];
        let head = match self.protocol {
            Protocol::Sotw => encode(&DiscoveryRequest {
                version_info: subscription.version.clone(),
                type_url: xds_type.type_url().to_owned(),
                response_nonce: subscription.nonce.clone(),
                ..DiscoveryRequest::default()
            }),
            Protocol::Delta => encode(&DeltaDiscoveryRequest {
                type_url: xds_type.type_url().to_owned(),
                response_nonce: subscription.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            }),
        };
        Request(vec![self.node.clone(), head, subscription.names.clone()])
    }
}

fn encode(message: &impl prost::Message) -> Bytes {
    message.encode_to_vec().into()
}

#[cfg(test)]
mod tests {
    use mesh_api::Any;
    use mesh_api::envoy::config::cluster::v3::Cluster;
    use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
    use mesh_api::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter::ConfigType};
    use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager, Rds, http_connection_manager::RouteSpecifier,
    };
    use mesh_api::envoy::service::discovery::v3::Resource;
    use prost::Message as _;

    use super::*;

    fn session(protocol: Protocol) -> Session {
        let node = Node {
            id: "me".into(),
            ..Node::default()
        };
        Session::new(protocol, node)
    }

    fn cluster(name: &str) -> Any {
        Any::pack(&Cluster {
            name: name.into(),
            cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
            ..Cluster::default()
        })
    }

    fn listener(route: &str) -> Any {
        let manager = HttpConnectionManager {
            route_specifier: Some(RouteSpecifier::Rds(Rds {
                route_config_name: route.into(),
                config_source: None,
            })),
            ..HttpConnectionManager::default()
        };
        let filter = Filter {
            name: "http".into(),
            config_type: Some(ConfigType::TypedConfig(Any::pack(&manager))),
        };
        Any::pack(&Listener {
            filter_chains: vec![FilterChain {
                filters: vec![filter],
                ..FilterChain::default()
            }],
            ..Listener::default()
        })
    }

    fn response(protocol: Protocol, xds_type: XdsType, nonce: &str, resources: &[Any]) -> Response {
        let envelope = |any: &Any| match protocol {
            Protocol::Sotw => encode(any),
            Protocol::Delta => encode(&Resource {
                resource: Some(any.clone()),
                ..Resource::default()
            }),
        };
        Response {
            protocol,
            version: format!("v{nonce}"),
            nonce: nonce.into(),
            xds_type: Some(xds_type),
            resources: resources.iter().map(envelope).collect(),
            removed: Vec::new(),
        }
    }

    /// Type, nonce and names of each request.
    fn told(protocol: Protocol, requests: &[Request]) -> Vec<(String, String, Vec<String>)> {
        let tell = |request: &Request| {
            let encoded: Vec<u8> = request.0.iter().flatten().copied().collect();
            let (node, url, nonce, names) = match protocol {
                Protocol::Sotw => {
                    let r = DiscoveryRequest::decode(&*encoded).unwrap();
                    (r.node, r.type_url, r.response_nonce, r.resource_names)
                }
                Protocol::Delta => {
                    let r = DeltaDiscoveryRequest::decode(&*encoded).unwrap();
                    (r.node, r.type_url, r.response_nonce, r.resource_names_subscribe)
                }
            };
            assert_eq!(node.unwrap().id, "me");
            let xds_type = XdsType::ALL.into_iter().find(|t| t.type_url() == url).unwrap();
            (xds_type.short().to_owned(), nonce, names)
        };
        requests.iter().map(tell).collect()
    }

    fn asks(xds_type: &str, nonce: &str, names: &[&str]) -> (String, String, Vec<String>) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        (xds_type.to_owned(), nonce.to_owned(), names)
    }

    #[test]
    fn a_proxy_asks_in_envoys_order_and_acknowledges_everything() {
        let protocol = Protocol::Sotw;
        let mut session = session(protocol);
        let mut on = |xds_type, nonce, resources: &[Any]| {
            let response = response(protocol, xds_type, nonce, resources);
            let requests = session.on_response(&response, |names| names).unwrap();
            (told(protocol, &requests), session.is_complete())
        };
        assert_eq!(
            on(XdsType::Cluster, "1", &[cluster("b"), cluster("a")]),
            (vec![asks("CDS", "1", &[]), asks("EDS", "", &["a", "b"])], false)
        );
        assert_eq!(
            on(XdsType::Endpoint, "2", &[Any::default(), Any::default()]),
            (vec![asks("EDS", "2", &["a", "b"]), asks("LDS", "", &[])], false)
        );
        assert_eq!(
            on(XdsType::Listener, "3", &[listener("80")]),
            (vec![asks("LDS", "3", &[]), asks("RDS", "", &["80"])], false)
        );
        assert_eq!(
            on(XdsType::Route, "4", &[Any::default()]),
            (vec![asks("RDS", "4", &["80"])], true)
        );
        // A new cluster: its endpoints are asked for with all others, and its name is repeated ever after.
        assert_eq!(
            on(XdsType::Cluster, "5", &[cluster("a"), cluster("b"), cluster("c")]),
            (
                vec![asks("CDS", "5", &[]), asks("EDS", "2", &["a", "b", "c"])],
                false
            )
        );
        assert_eq!(
            on(XdsType::Endpoint, "6", &[Any::default()]),
            (vec![asks("EDS", "6", &["a", "b", "c"])], true)
        );
    }

    #[test]
    fn in_delta_a_proxy_asks_for_what_is_new() {
        let protocol = Protocol::Delta;
        let mut session = session(protocol);
        assert_eq!(told(protocol, &[session.open()]), [asks("CDS", "", &[])]);
        let mut on = |xds_type, nonce, resources: &[Any]| {
            let response = response(protocol, xds_type, nonce, resources);
            told(protocol, &session.on_response(&response, |names| names).unwrap())
        };
        assert_eq!(
            on(XdsType::Cluster, "1", &[cluster("a")]),
            [asks("CDS", "1", &[]), asks("EDS", "", &["a"])]
        );
        assert_eq!(
            on(XdsType::Endpoint, "2", &[Any::default()]),
            [asks("EDS", "2", &[]), asks("LDS", "", &[])]
        );
        assert_eq!(
            on(XdsType::Cluster, "3", &[cluster("a"), cluster("b")]),
            [asks("CDS", "3", &[]), asks("EDS", "", &["b"])]
        );
    }

    #[test]
    fn a_proxy_without_endpoints_is_not_complete() {
        let mut session = session(Protocol::Sotw);
        for (xds_type, resources) in [
            (XdsType::Cluster, vec![cluster("a"), cluster("b")]),
            (XdsType::Endpoint, vec![Any::default()]),
            (XdsType::Listener, vec![listener("80")]),
            (XdsType::Route, vec![Any::default()]),
        ] {
            let response = response(Protocol::Sotw, xds_type, "1", &resources);
            session.on_response(&response, |names| names).unwrap();
        }
        assert!(!session.is_complete());
        assert_eq!(session.missing_endpoints(), 1);
        assert_eq!(session.missing_types().count(), 0);
    }
}
