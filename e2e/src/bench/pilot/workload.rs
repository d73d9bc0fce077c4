//! The synthetic mesh: the same names and addresses for every implementation that is measured.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use mesh_api::Any;
use mesh_api::envoy::config::core::v3::{BuildVersion, Node, node::UserAgentVersionType};
use mesh_api::envoy::r#type::v3::SemanticVersion;
use mesh_api::istio::networking::v1alpha3::{
    ConnectionPoolSettings, Destination, DestinationRule, HttpMatchRequest, HttpRetry, HttpRoute,
    HttpRouteDestination, LoadBalancerSettings, OutlierDetection, Port, ServiceEntry, StringMatch, Subset,
    TrafficPolicy, VirtualService, connection_pool_settings, load_balancer_settings, service_entry,
    string_match,
};
use mesh_config::{Config, ConfigKey, Kind, Meta, Timestamp};
use prost::Name;
use prost_types::{Duration, Struct, Value, value};

/// Endpoints of each service.
pub(crate) const ENDPOINTS: u32 = 10;
/// So many services have addresses of their own.
pub(crate) const MOST_SERVICES: u32 = 60_000;

/// The Envoy that clients claim to be.
const ENVOY: SemanticVersion = SemanticVersion {
    major_number: 1,
    minor_number: 40,
    patch: 0,
};

/// One service of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service(pub(crate) u32);

// === impl Service ===

impl Service {
    /// The service whose sidecar a client plays, and which of its endpoints.
    pub(crate) fn of_client(client: u32, services: u32) -> (Self, u32) {
        (Self((client / ENDPOINTS) % services), client % ENDPOINTS)
    }

    pub(crate) fn namespace(self) -> String {
        format!("ns-{:03}", (self.0 / 10) % 100)
    }

    pub(crate) fn name(self) -> String {
        format!("svc-{:05}", self.0)
    }

    pub(crate) fn host(self) -> String {
        format!("{}.{}.svc.cluster.local", self.name(), self.namespace())
    }

    fn vip(self) -> Ipv4Addr {
        address(96, self.0 / 250, self.0 % 250 + 1)
    }

    fn endpoint(self, index: u32) -> Ipv4Addr {
        let k = ENDPOINTS * self.0 + index;
        address(100 + k / 62_500, k / 250 % 250, k % 250 + 1)
    }

    /// The ServiceEntry. `first` stands in for the address of the first endpoint.
    pub(crate) fn service_entry(self, first: Option<Ipv4Addr>, version: u64) -> Config {
        let endpoint = |index| {
            let address = match (index, first) {
                (0, Some(first)) => first,
                _ => self.endpoint(index),
            };
            let subset = if index % 2 == 0 { "v1" } else { "v2" };
            service_entry::Endpoint {
                address: address.to_string(),
                ports: BTreeMap::from([("http".to_owned(), 8080)]),
                labels: BTreeMap::from([
                    ("app".to_owned(), self.name()),
                    ("version".to_owned(), subset.to_owned()),
                ]),
                ..service_entry::Endpoint::default()
            }
        };
        let entry = ServiceEntry {
            hosts: vec![self.host()],
            addresses: vec![self.vip().to_string()],
            ports: vec![Port {
                number: 80,
                protocol: "HTTP".to_owned(),
                name: "http".to_owned(),
            }],
            location: service_entry::Location::MeshInternal.into(),
            resolution: service_entry::Resolution::Static.into(),
            endpoints: (0..ENDPOINTS).map(endpoint).collect(),
            ..ServiceEntry::default()
        };
        self.config(Kind::ServiceEntry, &entry, version)
    }

    /// The DestinationRule.
    pub(crate) fn destination_rule(self, version: u64) -> Config {
        let subset = |name: &str| Subset {
            name: name.to_owned(),
            labels: BTreeMap::from([("version".to_owned(), name.to_owned())]),
            traffic_policy: None,
        };
        let simple = load_balancer_settings::SimpleLb::RoundRobin;
        let policy = TrafficPolicy {
            load_balancer: Some(LoadBalancerSettings {
                lb_policy: Some(load_balancer_settings::LbPolicy::Simple(simple.into())),
            }),
            connection_pool: Some(ConnectionPoolSettings {
                tcp: Some(connection_pool_settings::TcpSettings {
                    max_connections: 100,
                    ..Default::default()
                }),
                http: Some(connection_pool_settings::HttpSettings {
                    http1_max_pending_requests: 100,
                    ..Default::default()
                }),
            }),
            outlier_detection: Some(OutlierDetection {
                consecutive_errors: 5,
                interval: Some(seconds(10)),
                base_ejection_time: Some(seconds(30)),
                ..OutlierDetection::default()
            }),
            ..TrafficPolicy::default()
        };
        let rule = DestinationRule {
            host: self.host(),
            traffic_policy: Some(policy),
            subsets: vec![subset("v1"), subset("v2")],
            ..DestinationRule::default()
        };
        self.config(Kind::DestinationRule, &rule, version)
    }

    /// The VirtualService, with a path that names its generation.
    pub(crate) fn virtual_service(self, generation: u32, version: u64) -> Config {
        let to = |subset: &str, weight| HttpRouteDestination {
            destination: Some(Destination {
                host: self.host(),
                subset: subset.to_owned(),
                port: None,
            }),
            weight,
            ..HttpRouteDestination::default()
        };
        let marked = HttpMatchRequest {
            uri: Some(matching(string_match::MatchType::Prefix(marker(generation)))),
            ..HttpMatchRequest::default()
        };
        let canary = HttpMatchRequest {
            headers: BTreeMap::from([(
                "x-canary".to_owned(),
                matching(string_match::MatchType::Exact("true".to_owned())),
            )]),
            ..HttpMatchRequest::default()
        };
        let http = vec![
            HttpRoute {
                r#match: vec![marked],
                route: vec![to("v2", 0)],
                ..HttpRoute::default()
            },
            HttpRoute {
                r#match: vec![canary],
                route: vec![to("v1", 90), to("v2", 10)],
                ..HttpRoute::default()
            },
            HttpRoute {
                route: vec![to("v1", 0)],
                timeout: Some(seconds(5)),
                retries: Some(HttpRetry {
                    attempts: 3,
                    per_try_timeout: Some(seconds(2)),
                    ..HttpRetry::default()
                }),
                ..HttpRoute::default()
            },
        ];
        let rules = VirtualService {
            hosts: vec![self.host()],
            http,
            ..VirtualService::default()
        };
        self.config(Kind::VirtualService, &rules, version)
    }

    /// The node of the sidecar of an endpoint.
    pub(crate) fn sidecar(self, endpoint: u32) -> Node {
        let (name, namespace) = (self.name(), self.namespace());
        let ip = self.endpoint(endpoint);
        let metadata = [
            ("ISTIO_PROXY_VERSION", "1.1.17"),
            ("INTERCEPTION_MODE", "REDIRECT"),
            ("CONFIG_NAMESPACE", &namespace),
            ("app", &name),
        ];
        let fields = metadata.map(|(key, text)| {
            let kind = Some(value::Kind::StringValue(text.to_owned()));
            (key.to_owned(), Value { kind })
        });
        let build = BuildVersion {
            version: Some(ENVOY),
            metadata: None,
        };
        Node {
            id: format!("sidecar~{ip}~{name}-{endpoint}.{namespace}~{namespace}.svc.cluster.local"),
            cluster: name,
            metadata: Some(Struct {
                fields: fields.into(),
            }),
            user_agent_name: "envoy".to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentBuildVersion(build)),
            ..Node::default()
        }
    }

    fn config(self, kind: Kind, spec: &impl Name, version: u64) -> Config {
        Config {
            meta: Meta {
                key: ConfigKey::new(kind, self.namespace(), self.name()),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                created: Timestamp {
                    seconds: 1_546_300_800,
                    nanos: 0,
                },
                version: version.to_string(),
            },
            body: Any::pack(spec),
        }
    }
}

/// The path in the VirtualService of a generation.
pub(crate) fn marker(generation: u32) -> String {
    format!("/gen-{generation:06}/")
}

/// The address that an endpoint moves to in a generation, 1 or more.
pub(crate) fn moved_address(generation: u32) -> Ipv4Addr {
    address(250, generation / 250, generation % 250 + 1)
}

fn address(b: u32, c: u32, d: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((10 << 24) | (b << 16) | (c << 8) | d)
}

fn matching(match_type: string_match::MatchType) -> StringMatch {
    StringMatch {
        match_type: Some(match_type),
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

#[cfg(test)]
mod tests {
    use mesh_config::{decode, validation, yaml};

    use super::*;

    /// Service 0 as the definition of the workload writes it, with the first two of its endpoints.
    const DEFINITION: &str = r#"
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: svc-00000, namespace: ns-000}
spec:
  hosts: [svc-00000.ns-000.svc.cluster.local]
  addresses: [10.96.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {address: 10.100.0.1, ports: {http: 8080}, labels: {app: svc-00000, version: v1}}
  - {address: 10.100.0.2, ports: {http: 8080}, labels: {app: svc-00000, version: v2}}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: svc-00000, namespace: ns-000}
spec:
  host: svc-00000.ns-000.svc.cluster.local
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    connectionPool: {tcp: {maxConnections: 100}, http: {http1MaxPendingRequests: 100}}
    outlierDetection: {consecutiveErrors: 5, interval: 10s, baseEjectionTime: 30s}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: svc-00000, namespace: ns-000}
spec:
  hosts: [svc-00000.ns-000.svc.cluster.local]
  http:
  - match: [{uri: {prefix: /gen-000000/}}]
    route: [{destination: {host: svc-00000.ns-000.svc.cluster.local, subset: v2}}]
  - match: [{headers: {x-canary: {exact: "true"}}}]
    route: [{destination: {host: svc-00000.ns-000.svc.cluster.local, subset: v1}, weight: 90},
            {destination: {host: svc-00000.ns-000.svc.cluster.local, subset: v2}, weight: 10}]
  - route: [{destination: {host: svc-00000.ns-000.svc.cluster.local, subset: v1}}]
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 2s}
"#;

    fn objects(service: Service) -> [Config; 3] {
        [
            service.service_entry(None, 1),
            service.destination_rule(1),
            service.virtual_service(0, 1),
        ]
    }

    #[test]
    fn objects_are_those_of_the_definition() {
        let defined = yaml::documents("definition", DEFINITION)
            .into_iter()
            .map(|document| decode::object(&document.unwrap()).unwrap());
        for (ours, defined) in objects(Service(0)).into_iter().zip(defined) {
            assert_eq!(ours.meta.key, defined.meta.key);
            if ours.meta.key.kind == Kind::ServiceEntry {
                let (mut ours, defined): (ServiceEntry, ServiceEntry) =
                    (ours.decode().unwrap(), defined.decode().unwrap());
                assert_eq!(ours.endpoints.len(), 10);
                ours.endpoints.truncate(2);
                assert_eq!(ours, defined);
            } else {
                assert_eq!(ours.body, defined.body);
            }
        }
    }

    #[test]
    fn objects_are_valid() {
        for index in [0, 1234, MOST_SERVICES - 1] {
            for object in objects(Service(index)) {
                assert_eq!(validation::validate(&object), []);
            }
        }
    }

    #[test]
    fn names_and_addresses_follow_the_definition() {
        let service = Service(1234);
        assert_eq!(service.host(), "svc-01234.ns-023.svc.cluster.local");
        assert_eq!(service.vip().to_string(), "10.96.4.235");
        assert_eq!(service.endpoint(7).to_string(), "10.100.49.98");
        assert_eq!(Service(6250).endpoint(0).to_string(), "10.101.0.1");
        assert_eq!(Service(0).vip().to_string(), "10.96.0.1");
        assert_eq!(marker(7), "/gen-000007/");
        assert_eq!(moved_address(251).to_string(), "10.250.1.2");
    }

    #[test]
    fn a_client_is_the_sidecar_of_an_endpoint() {
        let (service, endpoint) = Service::of_client(1013, 100);
        assert_eq!((service, endpoint), (Service(1), 3));
        let node = service.sidecar(endpoint);
        assert_eq!(
            node.id,
            "sidecar~10.100.0.14~svc-00001-3.ns-000~ns-000.svc.cluster.local"
        );
        assert_eq!(node.cluster, "svc-00001");
        assert_eq!(node.metadata.unwrap().fields.len(), 4);
    }
}
