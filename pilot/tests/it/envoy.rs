//! A client that asks and answers as Envoy does, over either form of the protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use mesh_api::envoy::config::core::v3::{Node, address, socket_address};
use mesh_api::envoy::config::endpoint::v3::{ClusterLoadAssignment, lb_endpoint};
use mesh_api::envoy::config::listener::v3::{Filter, Listener, filter};
use mesh_api::envoy::config::route::v3::RouteConfiguration;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_api::{Any, type_url};
use mesh_testing::ads::{AdsClient, AdsError, DeltaClient, DeltaResponse, Response};

use crate::PATIENCE;

/// How long nothing may happen before the other one is looked at.
const GLANCE: Duration = Duration::from_millis(20);

pub(crate) struct Envoy {
    stream: Stream,
    /// By type URL and name.
    held: BTreeMap<&'static str, BTreeMap<String, Any>>,
    /// Names asked for, of endpoints and routes.
    asked: BTreeMap<&'static str, BTreeSet<String>>,
    /// Types that have got a response.
    initialized: BTreeSet<&'static str>,
    /// Reject responses of this type.
    pub(crate) rejects: Option<&'static str>,
    /// Reject responses with a resource in which this text stands.
    pub(crate) poison: Option<&'static str>,
}

enum Stream {
    Sotw(AdsClient),
    Delta(DeltaClient),
}

/// A response that is not answered yet.
pub(crate) enum Answer {
    Sotw(Response),
    Delta(DeltaResponse),
}

/// What one response said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// Short name of the type.
    pub(crate) xds_type: &'static str,
    /// Names of the resources in the response.
    pub(crate) names: Vec<String>,
    /// Names of resources that are gone (delta).
    pub(crate) removed: Vec<String>,
}

const TYPES: [(&str, &str); 4] = [
    ("cds", type_url::CLUSTER),
    ("eds", type_url::ENDPOINT),
    ("lds", type_url::LISTENER),
    ("rds", type_url::ROUTE),
];

impl Envoy {
    pub(crate) async fn sotw(address: &str, node: Node) -> Self {
        let client = AdsClient::connect(address, node).await.unwrap();
        Self::over(Stream::Sotw(client))
    }

    pub(crate) async fn delta(address: &str, node: Node) -> Self {
        let client = DeltaClient::connect(address, node).await.unwrap();
        Self::over(Stream::Delta(client))
    }

    fn over(stream: Stream) -> Self {
        let mut envoy = Self {
            stream,
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            initialized: BTreeSet::new(),
            rejects: None,
            poison: None,
        };
        for url in [type_url::CLUSTER, type_url::LISTENER] {
            match &mut envoy.stream {
                Stream::Sotw(client) => client.request(url, &[]).unwrap(),
                Stream::Delta(client) => client.subscribe(url, &["*"]).unwrap(),
            }
        }
        envoy
    }

    /// Takes the next response and answers it.
    pub(crate) async fn next(&mut self) -> Result<Update, AdsError> {
        match tokio::time::timeout(PATIENCE, self.receive()).await {
            Ok(received) => self.take(&received?),
            Err(_) => Err(AdsError::Timeout(PATIENCE)),
        }
    }

    /// The next response, which is of this type.
    #[track_caller]
    pub(crate) fn expect(&mut self, xds_type: &'static str) -> impl Future<Output = Update> {
        let caller = std::panic::Location::caller();
        async move {
            let update = self.next().await.unwrap();
            assert_eq!(update.xds_type, xds_type, "{update:?}, expected at {caller}");
            update
        }
    }

    /// Takes responses until it holds the first configuration.
    pub(crate) async fn settle(&mut self) {
        self.until(|envoy| {
            envoy.initialized.contains(type_url::CLUSTER)
                && envoy.initialized.contains(type_url::LISTENER)
                && [type_url::ENDPOINT, type_url::ROUTE].iter().all(|url| {
                    let held = envoy.held.get(url).map(BTreeMap::len).unwrap_or_default();
                    held == envoy.asked.get(url).map(BTreeSet::len).unwrap_or_default()
                })
        })
        .await;
    }

    /// Takes responses until a condition holds.
    pub(crate) async fn until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.next().await.unwrap();
        }
    }

    /// Takes whatever comes, however long it takes; never ends.
    pub(crate) async fn follow(&mut self) {
        loop {
            let answer = self.receive().await.unwrap();
            self.take(&answer).unwrap();
        }
    }

    /// Takes the next response if one comes soon.
    pub(crate) async fn glance(&mut self) {
        if let Ok(received) = tokio::time::timeout(GLANCE, self.receive()).await {
            self.take(&received.unwrap()).unwrap();
        }
    }

    /// Lets two proxies take responses until a condition holds.
    pub(crate) async fn both_until(
        one: &mut Self,
        other: &mut Self,
        condition: impl Fn(&Self, &Self) -> bool,
    ) {
        let work = async {
            while !condition(one, other) {
                one.glance().await;
                other.glance().await;
            }
        };
        if tokio::time::timeout(PATIENCE, work).await.is_err() {
            let (one, other) = (one.everything(), other.everything());
            let (one, other): (Vec<_>, Vec<_>) = (one.keys().collect(), other.keys().collect());
            panic!("the condition does not hold in time; one has {one:#?}, the other {other:#?}");
        }
    }

    /// Everything that it holds, by short type and name.
    pub(crate) fn everything(&self) -> BTreeMap<(&'static str, String), Any> {
        let mut everything = BTreeMap::new();
        for (short, url) in TYPES {
            for (name, resource) in self.held.get(url).into_iter().flatten() {
                everything.insert((short, name.clone()), resource.clone());
            }
        }
        everything
    }

    pub(crate) fn names(&self, url: &str) -> Vec<&str> {
        let held = self.held.get(url).into_iter().flatten();
        held.map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn has(&self, url: &str, name: &str) -> bool {
        self.held.get(url).is_some_and(|held| held.contains_key(name))
    }

    /// `address:port` of the endpoints of a cluster.
    pub(crate) fn endpoints(&self, cluster: &str) -> Vec<String> {
        let assignment: ClusterLoadAssignment = self.held[type_url::ENDPOINT][cluster].unpack().unwrap();
        let localities = assignment.endpoints.iter();
        let endpoints = localities.flat_map(|locality| &locality.lb_endpoints);
        endpoints
            .map(|endpoint| {
                let Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
                    panic!("not an endpoint");
                };
                let address = endpoint
                    .address
                    .as_ref()
                    .and_then(|address| address.address.as_ref());
                let Some(address::Address::SocketAddress(socket)) = address else {
                    panic!("not a socket address");
                };
                let Some(socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier else {
                    panic!("not a port number");
                };
                format!("{}:{port}", socket.address)
            })
            .collect()
    }

    /// A route configuration in the form that Rust prints: good enough to look for names in it.
    pub(crate) fn route(&self, name: &str) -> String {
        let route: RouteConfiguration = self.held[type_url::ROUTE][name].unpack().unwrap();
        format!("{route:?}")
    }

    pub(crate) fn listener(&self, name: &str) -> String {
        let listener: Listener = self.held[type_url::LISTENER][name].unpack().unwrap();
        format!("{listener:?}")
    }

    /// The next response, which is left unanswered until it is given to [`Self::take`].
    pub(crate) async fn hear(&mut self) -> Answer {
        let heard = tokio::time::timeout(PATIENCE, self.receive()).await;
        heard.expect("a response in time").unwrap()
    }

    async fn receive(&mut self) -> Result<Answer, AdsError> {
        match &mut self.stream {
            Stream::Sotw(client) => client.next().await.map(Answer::Sotw),
            Stream::Delta(client) => client.next().await.map(Answer::Delta),
        }
    }

    /// Takes over what a response says, and answers it.
    pub(crate) fn take(&mut self, answer: &Answer) -> Result<Update, AdsError> {
        let (url, resources, removed) = match answer {
            Answer::Sotw(response) => (&response.type_url, response.resources.clone(), Vec::new()),
            Answer::Delta(response) => {
                let resources = response.resources.iter();
                let resources = resources.map(|resource| resource.resource.clone().unwrap());
                (&response.type_url, resources.collect(), response.removed.clone())
            }
        };
        let (short, url) = TYPES
            .into_iter()
            .find(|(_, known)| known == url)
            .expect("a type that was asked for");
        let resources: BTreeMap<String, Any> = resources
            .into_iter()
            .map(|resource| (name(&resource), resource))
            .collect();
        let update = Update {
            xds_type: short,
            names: resources.keys().cloned().collect(),
            removed: removed.clone(),
        };
        let is_poisoned = |poison: &str| {
            let mut resources = resources.values();
            resources.any(|any| {
                any.value
                    .windows(poison.len())
                    .any(|text| text == poison.as_bytes())
            })
        };
        if self.rejects == Some(url) || self.poison.is_some_and(is_poisoned) {
            match (&mut self.stream, answer) {
                (Stream::Sotw(client), Answer::Sotw(response)) => client.nack(response, "bad")?,
                (Stream::Delta(client), Answer::Delta(response)) => client.nack(response, "bad")?,
                _ => unreachable!("streams answer in kind"),
            }
            return Ok(update);
        }

        self.initialized.insert(url);
        let held = self.held.entry(url).or_default();
        let is_whole =
            matches!(answer, Answer::Sotw(_)) && [type_url::CLUSTER, type_url::LISTENER].contains(&url);
        if is_whole {
            held.clear();
        }
        for name in &removed {
            held.remove(name);
        }
        // What comes after it was dropped is nobody's.
        let asked = self.asked.get(url);
        let is_wanted = |name: &String| asked.is_none_or(|asked| asked.contains(name));
        held.extend(resources.into_iter().filter(|(name, _)| is_wanted(name)));
        match url {
            type_url::CLUSTER => self.ask(type_url::ENDPOINT, eds_names(&self.held[url])),
            type_url::LISTENER => self.ask(type_url::ROUTE, route_names(&self.held[url])),
            _ => {}
        }
        match (&mut self.stream, answer) {
            (Stream::Sotw(client), Answer::Sotw(response)) => client.ack(response)?,
            (Stream::Delta(client), Answer::Delta(response)) => client.ack(response)?,
            _ => unreachable!("streams answer in kind"),
        }
        Ok(update)
    }

    fn ask(&mut self, url: &'static str, names: BTreeSet<String>) {
        let asked = self.asked.entry(url).or_default();
        if *asked == names {
            return;
        }
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let new: Vec<&str> = names.difference(asked).map(String::as_str).collect();
        let gone: Vec<&str> = asked.difference(&names).map(String::as_str).collect();
        match &mut self.stream {
            Stream::Sotw(client) => client.request(url, &all).unwrap(),
            Stream::Delta(client) => {
                if !new.is_empty() {
                    client.subscribe(url, &new).unwrap();
                }
                if !gone.is_empty() {
                    client.unsubscribe(url, &gone).unwrap();
                }
            }
        }
        if let Some(held) = self.held.get_mut(url) {
            held.retain(|name, _| names.contains(name));
        }
        *asked = names;
    }
}

fn name(resource: &Any) -> String {
    match resource.type_url.as_str() {
        type_url::CLUSTER => resource.unpack::<Cluster>().unwrap().name,
        type_url::ENDPOINT => resource.unpack::<ClusterLoadAssignment>().unwrap().cluster_name,
        type_url::LISTENER => resource.unpack::<Listener>().unwrap().name,
        type_url::ROUTE => resource.unpack::<RouteConfiguration>().unwrap().name,
        other => panic!("unexpected {other}"),
    }
}

fn eds_names(clusters: &BTreeMap<String, Any>) -> BTreeSet<String> {
    let clusters = clusters.values().map(|any| any.unpack::<Cluster>().unwrap());
    let eds = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
    clusters
        .filter(|cluster| cluster.cluster_discovery_type == eds)
        .map(|cluster| cluster.name)
        .collect()
}

fn route_names(listeners: &BTreeMap<String, Any>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for listener in listeners.values() {
        let listener: Listener = listener.unpack().unwrap();
        let chains = listener
            .filter_chains
            .iter()
            .chain(&listener.default_filter_chain);
        names.extend(chains.flat_map(|chain| &chain.filters).filter_map(route_name));
    }
    names
}

fn route_name(filter: &Filter) -> Option<String> {
    let Some(filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
        return None;
    };
    let manager: HttpConnectionManager = config.unpack().ok()?;
    match manager.route_specifier? {
        RouteSpecifier::Rds(rds) => Some(rds.route_config_name),
        _ => None,
    }
}
