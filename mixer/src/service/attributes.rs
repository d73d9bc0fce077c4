//! From what Envoy says about a request to Mixer's attributes (`spec 02` §3.4). What the vocabulary does not have, or has
//! with another type, is left out.

use std::net::IpAddr;

use mesh_api::envoy::config::core::v3::address::Address as Kind;
use mesh_api::envoy::config::core::v3::socket_address::PortSpecifier;
use mesh_api::envoy::config::core::v3::{Address, Node};
use mesh_runtime::args::GoDuration;
use mixer_attribute::{Bag, StringMap, Text, Value, ValueType, Vocabulary};
use prost_types::{Duration, Timestamp};
use tracing::debug;

/// Fills a bag by the names of attributes. What is there already stays.
pub(super) struct Filler<'t, 'r> {
    vocabulary: &'t Vocabulary,
    bag: Bag<'r>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

/// Content types of gRPC (`context.protocol`).
const GRPC: [&str; 3] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc+json",
];

/// What stands for the host in the names of clusters of ports that no service has.
const MANAGEMENT: &str = "mgmtCluster";

/// The scheme of identities, which Mixer's attributes leave out.
const SPIFFE: &str = "spiffe://";

// === impl Side ===

impl Side {
    fn attribute(self, suffix: &str) -> &'static str {
        match (self, suffix) {
            (Self::Source, "ip") => "source.ip",
            (Self::Source, "port") => "source.port",
            (Self::Source, "principal") => "source.principal",
            (Self::Source, "namespace") => "source.namespace",
            (Self::Source, "labels") => "source.labels",
            (Self::Source, "uid") => "source.uid",
            (Self::Destination, "ip") => "destination.ip",
            (Self::Destination, "port") => "destination.port",
            (Self::Destination, "principal") => "destination.principal",
            (Self::Destination, "namespace") => "destination.namespace",
            (Self::Destination, "labels") => "destination.labels",
            (Self::Destination, "uid") => "destination.uid",
            _ => "",
        }
    }
}

// === impl Filler ===

impl<'t, 'r> Filler<'t, 'r> {
    pub(super) fn new(vocabulary: &'t Vocabulary) -> Self {
        Self {
            vocabulary,
            bag: Bag::new(vocabulary),
        }
    }

    /// The attributes.
    pub(super) fn finish(self) -> Bag<'r> {
        self.bag
    }

    /// Whether an attribute is there.
    pub(super) fn is_text(&self, name: &str, text: &str) -> bool {
        let value = self.vocabulary.id(name).and_then(|id| self.bag.get(id));
        matches!(value, Some(Value::String(value)) if *value == *text)
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<Value<'r>>) {
        let Some(id) = self.vocabulary.id(name) else {
            return;
        };
        let value = value.into();
        if self.bag.get(id).is_none() && self.vocabulary.value_type(id).holds(&value) {
            self.bag.set(id, value);
        }
    }

    /// A string; an empty one says nothing.
    pub(super) fn text(&mut self, name: &str, text: &'r str) {
        if !text.is_empty() {
            self.set(name, text);
        }
    }

    /// A string that was made here.
    pub(super) fn made(&mut self, name: &str, text: String) {
        if !text.is_empty() {
            self.set(name, Value::String(Text::from(text)));
        }
    }

    /// A count; negative ones are not known.
    pub(super) fn count(&mut self, name: &str, count: impl TryInto<i64>) {
        if let Ok(count) = count.try_into()
            && count >= 0
        {
            self.set(name, Value::Int64(count));
        }
    }

    pub(super) fn time(&mut self, name: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.set(name, Value::Timestamp(time));
        }
    }

    pub(super) fn duration(&mut self, name: &str, duration: Option<Duration>) {
        if let Some(duration) = duration {
            self.set(name, Value::Duration(duration));
        }
    }

    pub(super) fn map(&mut self, name: &str, entries: impl IntoIterator<Item = (&'r str, &'r str)>) {
        let map = StringMap::borrowed(entries);
        if !map.is_empty() {
            self.set(name, Value::StringMap(map));
        }
    }

    /// What an operator or the route said: those entries that are called like an attribute, and are a value of its type.
    pub(super) fn named(&mut self, entries: impl IntoIterator<Item = (&'r str, &'r str)>) {
        for (name, text) in entries {
            let Some(id) = self.vocabulary.id(name) else {
                continue;
            };
            let expected = self.vocabulary.value_type(id);
            match read(text, expected) {
                Some(value) => self.set(name, value),
                None => debug!(attribute = name, text, %expected, "no value of its type"),
            }
        }
    }

    /// Address and port of one end.
    pub(super) fn address(&mut self, side: Side, address: Option<&Address>) {
        let Some((ip, port)) = address.and_then(socket) else {
            return;
        };
        self.set(side.attribute("ip"), Value::IpAddress(ip));
        self.set(side.attribute("port"), Value::Int64(port.into()));
    }

    /// Who connected at first, in front of whatever forwarded the request.
    pub(super) fn origin(&mut self, address: Option<&Address>) {
        if let Some((ip, _)) = address.and_then(socket) {
            self.set("origin.ip", Value::IpAddress(ip));
        }
    }

    /// The identity that one end has proved.
    pub(super) fn principal(&mut self, side: Side, uri: &'r str) {
        let principal = uri.strip_prefix(SPIFFE).unwrap_or(uri);
        self.text(side.attribute("principal"), principal);
        if side == Side::Source {
            self.text("source.user", principal);
        }
        // <trust domain>/ns/<namespace>/sa/<service account>
        let mut parts = principal.split('/').skip(1);
        if let (Some("ns"), Some(namespace), Some("sa"), Some(_)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        {
            self.text(side.attribute("namespace"), namespace);
        }
    }

    pub(super) fn labels(&mut self, side: Side, entries: impl IntoIterator<Item = (&'r str, &'r str)>) {
        self.map(side.attribute("labels"), entries);
    }

    /// The workload that an Envoy belongs to, by its node `<type>~<address>~<pod>.<namespace>~<domain>`. It is the end that
    /// the report is about: the caller's where `context.reporter.kind` says `outbound`.
    pub(super) fn reporter(&mut self, node: &'r Node) {
        let Some(pod) = node.id.split('~').nth(2) else {
            return;
        };
        // Names of pods may have dots, those of namespaces do not.
        let Some((_, namespace)) = pod.rsplit_once('.') else {
            return;
        };
        let uid = format!("kubernetes://{pod}");
        let side = match self.is_text("context.reporter.kind", "outbound") {
            true => Side::Source,
            false => Side::Destination,
        };
        self.made("context.reporter.uid", uid.clone());
        self.made(side.attribute("uid"), uid);
        self.text(side.attribute("namespace"), namespace);
    }

    /// The service that a cluster leads to: `outbound|<port>|<subset>|<host>` or `inbound|<port>|<port name>|<host>`. What is
    /// no service of Kubernetes is called like its host.
    pub(super) fn service(&mut self, cluster: &'r str) {
        let parts: Vec<_> = cluster.split('|').collect();
        let ["outbound" | "inbound", _, _, host] = parts[..] else {
            return;
        };
        if host == MANAGEMENT {
            return;
        }
        self.text("destination.service.host", host);
        let mut labels = host.splitn(4, '.');
        let [name, namespace, kind] = std::array::from_fn(|_| labels.next().unwrap_or_default());
        if kind == "svc" {
            self.text("destination.service.name", name);
            self.text("destination.service.namespace", namespace);
            self.made(
                "destination.service.uid",
                format!("istio://{namespace}/services/{name}"),
            );
        } else {
            self.text("destination.service.name", host);
        }
    }

    /// The path of a request, with and without its query, and the query.
    pub(super) fn path(&mut self, path: &'r str) {
        self.text("request.path", path);
        let (alone, query) = path.split_once('?').unwrap_or((path, ""));
        self.text("request.url_path", alone);
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        let pairs: Vec<_> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .collect();
        // Of two with one name the first one counts.
        self.map("request.query_params", pairs.into_iter().rev());
    }

    /// `http` or `grpc`, by the type of the content.
    pub(super) fn protocol(&mut self, content_type: Option<&str>) {
        let grpc = content_type.is_some_and(|content| GRPC.contains(&content));
        self.set("context.protocol", if grpc { "grpc" } else { "http" });
    }
}

/// Address and port; `None` for pipes and names.
fn socket(address: &Address) -> Option<(IpAddr, u32)> {
    match address.address.as_ref()? {
        Kind::SocketAddress(socket) => {
            let ip: IpAddr = socket.address.parse().ok()?;
            let port = match socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port,
                _ => 0,
            };
            Some((ip.to_canonical(), port))
        }
        _ => None,
    }
}

/// The value that a text stands for; times and maps cannot be written.
fn read(text: &str, value_type: ValueType) -> Option<Value<'_>> {
    match value_type {
        ValueType::String | ValueType::EmailAddress | ValueType::Uri | ValueType::DnsName => {
            Some(Value::from(text))
        }
        ValueType::Int64 => text.parse().ok().map(Value::Int64),
        ValueType::Double => text.parse().ok().map(Value::Double),
        ValueType::Bool => text.parse().ok().map(Value::Bool),
        ValueType::IpAddress => {
            let address: IpAddr = text.parse().ok()?;
            Some(Value::IpAddress(address.to_canonical()))
        }
        ValueType::Duration => {
            let duration: GoDuration = text.parse().ok()?;
            Duration::try_from(duration.finite()?).ok().map(Value::Duration)
        }
        ValueType::Timestamp | ValueType::StringMap => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn design_6_a_cluster_says_which_service_it_leads_to() {
        const NAMES: [&str; 3] = [
            "destination.service.host",
            "destination.service.name",
            "destination.service.namespace",
        ];
        let mut vocabulary = Vocabulary::default();
        for name in NAMES {
            vocabulary.add(name, ValueType::String).unwrap();
        }
        let of_kubernetes = ["ad.weather.svc.cluster.local", "ad", "weather"];
        let of_others = ["api.example.com", "api.example.com", ""];
        for (cluster, expected) in [
            ("outbound|3003|v1|ad.weather.svc.cluster.local", of_kubernetes),
            ("inbound|3003|http|ad.weather.svc.cluster.local", of_kubernetes),
            ("outbound|443||api.example.com", of_others),
            ("inbound|15020||mgmtCluster", [""; 3]),
            ("PassthroughCluster", [""; 3]),
            ("", [""; 3]),
        ] {
            let mut filler = Filler::new(&vocabulary);
            filler.service(cluster);
            for (name, text) in NAMES.into_iter().zip(expected) {
                let told = filler.is_text(name, text);
                assert_eq!(told, !text.is_empty(), "{cluster}: {name}");
            }
        }
    }

    /// The namespace of a workload is what follows the last dot of its name.
    #[test]
    fn design_6_a_reporter_is_the_pod_of_its_node() {
        let mut vocabulary = Vocabulary::default();
        for name in ["destination.uid", "destination.namespace", "source.uid"] {
            vocabulary.add(name, ValueType::String).unwrap();
        }
        for (id, expected) in [
            (
                "sidecar~10.0.0.1~forecast-1.weather~weather.svc.cluster.local",
                Some(("kubernetes://forecast-1.weather", "weather")),
            ),
            (
                "sidecar~10.0.0.1~forecast.v2.weather~weather.svc.cluster.local",
                Some(("kubernetes://forecast.v2.weather", "weather")),
            ),
            ("sidecar~10.0.0.1~forecast~weather", None),
            ("forecast", None),
        ] {
            let node = Node {
                id: id.to_owned(),
                ..Node::default()
            };
            let mut filler = Filler::new(&vocabulary);
            filler.reporter(&node);
            if let Some((uid, namespace)) = expected {
                assert!(filler.is_text("destination.uid", uid), "{id}");
                assert!(filler.is_text("destination.namespace", namespace), "{id}");
            }
            let bag = filler.finish();
            let told = vocabulary.ids().filter(|id| bag.get(*id).is_some()).count();
            assert_eq!(told, if expected.is_some() { 2 } else { 0 }, "{id}");
        }
    }
}
