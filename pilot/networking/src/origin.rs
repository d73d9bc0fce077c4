//! Why a resource exists: what it was made from, for people who ask and for finding out what a proxy cannot stand.

use mesh_api::envoy::config::core::v3::Metadata;
use mesh_config::{ConfigKey, Host};
use pilot_model::{DestinationRule, Versioned};
use prost_types::Value;
use prost_types::value::Kind;

use crate::envoy;
use crate::l4::Route;
use crate::name::OutboundCluster;

/// Something because of which a resource is as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// An object.
    Object(ConfigKey),
    /// The service that has this host, whichever object defines it.
    Host(Host),
}

/// What the metadata of a resource says of the objects that it was made from; `None` without any.
///
/// `config` is the object whose rules it follows, as in 1.1 (P3.2); `origins` lists the others. It is part of the bytes, so
/// it stands only where another object means another resource anyway: on a filter chain and not on the listener around
/// it, which Envoy would replace with all its connections.
pub(crate) fn metadata<'a>(
    config: Option<&ConfigKey>,
    others: impl IntoIterator<Item = &'a ConfigKey>,
) -> Option<Metadata> {
    let config = config.map(|object| ("config", envoy::text(object.api_path())));
    let others: Vec<_> = others
        .into_iter()
        .map(|object| envoy::text(object.api_path()))
        .collect();
    let others = (!others.is_empty()).then(|| ("origins", envoy::list(others)));
    let fields: Vec<_> = config.into_iter().chain(others).collect();
    (!fields.is_empty()).then(|| envoy::istio_metadata(fields))
}

/// Adds objects to those that metadata lists.
pub(crate) fn add<'a>(metadata: &mut Option<Metadata>, objects: impl IntoIterator<Item = &'a ConfigKey>) {
    let Some(added) = self::metadata(None, objects) else {
        return;
    };
    let Some(metadata) = metadata else {
        *metadata = Some(added);
        return;
    };
    let added = added
        .filter_metadata
        .into_values()
        .flat_map(|fields| fields.fields);
    let known = &mut metadata
        .filter_metadata
        .entry("istio".to_owned())
        .or_default()
        .fields;
    for (name, value) in added {
        match (
            known.get_mut(&name).and_then(|known| known.kind.as_mut()),
            value.kind,
        ) {
            (Some(Kind::ListValue(known)), Some(Kind::ListValue(added))) => known.values.extend(added.values),
            (_, kind) => {
                known.insert(name, Value { kind });
            }
        }
    }
}

// === impl Origin ===

impl Origin {
    /// The service that a cluster leads to; `None` for clusters that belong to no service.
    pub(crate) fn of_cluster(name: &str) -> Option<Self> {
        OutboundCluster::parse(name).map(|cluster| Self::Host(cluster.host))
    }

    /// What sends connections this way: a VirtualService, else the service.
    pub(crate) fn of_route(route: &Route) -> Vec<Self> {
        match &route.rule {
            Some(rule) => vec![Self::Object(rule.clone())],
            None => {
                let clusters = route.clusters.iter();
                clusters
                    .filter_map(|cluster| Self::of_cluster(&cluster.name))
                    .collect()
            }
        }
    }

    /// The rules of a service.
    pub(crate) fn of_rules(rules: &[Versioned<DestinationRule>]) -> impl Iterator<Item = Self> {
        rules.iter().map(|rule| Self::Object(rule.key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::istio::networking::v1alpha3::load_balancer_settings::consistent_hash_lb::HashKey;
    use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{ConsistentHashLb, LbPolicy};
    use mesh_api::istio::networking::v1alpha3::{
        DestinationRule, IstioEgressListener, LoadBalancerSettings, Sidecar, TrafficPolicy,
    };
    use mesh_config::Kind as ObjectKind;
    use pilot_model::{InterceptionMode, Proxy, ProxyType, Workload};
    use prost::Message as _;

    use super::*;
    use crate::fixture::{Mesh, proxy, rule, service, workload};
    use crate::{Features, Generate, Vantage, cluster, listener, route};

    /// The objects that metadata names: `config` first, then those of `origins`.
    fn named(metadata: Option<&Metadata>) -> Vec<String> {
        let fields = metadata.map(|metadata| &metadata.filter_metadata["istio"].fields);
        let text = |value: &Value| match &value.kind {
            Some(Kind::StringValue(text)) => text.clone(),
            kind => panic!("{kind:?}"),
        };
        let config = fields.and_then(|fields| fields.get("config")).map(text);
        let others = match fields.and_then(|fields| fields.get("origins")?.kind.as_ref()) {
            Some(Kind::ListValue(list)) => list.values.iter().map(text).collect(),
            _ => Vec::new(),
        };
        let short = |path: String| path.split("/namespaces/").last().unwrap_or_default().to_owned();
        config.into_iter().chain(others).map(short).collect()
    }

    fn affinity() -> DestinationRule {
        let hash = ConsistentHashLb {
            hash_key: Some(HashKey::HttpHeaderName("x-user".to_owned())),
            ..ConsistentHashLb::default()
        };
        DestinationRule {
            traffic_policy: Some(TrafficPolicy {
                load_balancer: Some(LoadBalancerSettings {
                    lb_policy: Some(LbPolicy::ConsistentHash(hash)),
                }),
                ..TrafficPolicy::default()
            }),
            ..rule("forecast")
        }
    }

    #[test]
    fn p3_2_what_is_added_to_metadata_joins_the_list() {
        let [a, b, c] = ["a", "b", "c"].map(|name| ConfigKey::new(ObjectKind::Service, "x", name));
        assert_eq!(metadata(None, None), None);
        let mut metadata = metadata(Some(&a), [&b]);
        add(&mut metadata, None);
        add(&mut metadata, [&c]);
        assert_eq!(
            named(metadata.as_ref()),
            ["x/service/a", "x/service/b", "x/service/c"]
        );
        let mut metadata = None;
        add(&mut metadata, [&c]);
        assert_eq!(named(metadata.as_ref()), ["x/service/c"]);
    }

    /// "Why is it like this" is answered by the resource itself.
    #[test]
    fn p3_2_resources_name_the_objects_that_they_were_made_from() {
        let sidecar = Sidecar {
            egress: vec![IstioEgressListener {
                hosts: vec!["*/forecast.default.svc.cluster.local".to_owned()],
                ..IstioEgressListener::default()
            }],
            ..Sidecar::default()
        };
        let published = Mesh::new()
            .service(service("forecast", "10.96.0.1", &[("http", 80), ("tcp", 90)]))
            .service(service("other", "10.96.0.2", &[("tcp", 90)]))
            .rule("default", "affinity", affinity())
            .rule("default", "more", rule("forecast"))
            .sidecar("limited", "default", sidecar)
            .publish();
        let view = published.snapshot.view("default");
        let vantage = Vantage::of_role(ProxyType::Sidecar);
        let clusters = cluster::outbound(&view, &vantage).keys;
        let of_cluster = |name: &str| {
            let key = clusters.iter().find(|key| cluster::Clusters::name(key) == name);
            named(
                cluster::Clusters::build(key.expect(name))
                    .message
                    .metadata
                    .as_ref(),
            )
        };
        assert_eq!(
            of_cluster("outbound|80||forecast.default.svc.cluster.local"),
            [
                "default/destination-rule/affinity",
                "default/service/forecast",
                "default/destination-rule/more"
            ]
        );
        assert_eq!(
            of_cluster("outbound|90||other.default.svc.cluster.local"),
            ["default/service/other"]
        );
        assert_eq!(of_cluster("PassthroughCluster"), [""; 0]);

        let proxy = proxy(InterceptionMode::Redirect);
        let served = workload(&[("forecast", "http", 80, 3002)]);
        let inbound = cluster::inbound(&view, &proxy, &served).keys;
        let inbound = cluster::Clusters::build(&inbound[0]).message;
        assert_eq!(
            named(inbound.metadata.as_ref())[..2],
            ["default/destination-rule/affinity", "default/service/forecast"]
        );

        let scope = listener::OutboundScope::new(&view, &proxy, &Workload::default(), &Features::default());
        let outbound = listener::outbound(&view, &scope).keys;
        let inbound = listener::inbound(&view, &proxy, &served, &Features::default()).keys;
        let listeners = outbound.iter().chain(&inbound).map(|key| {
            let message = listener::Listeners::build(key).message;
            let chains = message.filter_chains.iter();
            let named: Vec<_> = chains.flat_map(|chain| named(chain.metadata.as_ref())).collect();
            assert_eq!(
                message.metadata, None,
                "another object would replace the listener"
            );
            (message.name, named.join(" "))
        });
        let listeners: Vec<(String, String)> = listeners.filter(|(_, named)| !named.is_empty()).collect();
        let expected = [
            ("10.96.0.1_90", "default/service/forecast"),
            ("10.96.0.2_90", "default/service/other"),
            ("10.1.0.7_3002", "default/service/forecast"),
            ("virtualInbound", "default/service/forecast"),
        ];
        assert_eq!(
            listeners,
            expected.map(|(name, named)| (name.to_owned(), named.to_owned()))
        );

        let plan = |namespace: &str| {
            let workload = Workload {
                namespace: namespace.into(),
                ..Workload::default()
            };
            let proxy = Proxy {
                namespace: namespace.into(),
                ..proxy.clone()
            };
            let view = published.snapshot.view_of(&proxy, &workload);
            route::plan(&view, &proxy, &workload, &Features::default(), &"80".into()).key
        };
        let key = plan("default");
        assert_eq!(key.origins, []);
        let host = route::VirtualHosts::build(&key.virtual_hosts[0]).message;
        assert_eq!(
            named(host.routes[0].metadata.as_ref()),
            ["default/service/forecast", "default/destination-rule/affinity"]
        );
        let rule = ConfigKey::new(ObjectKind::DestinationRule, "default", "affinity");
        assert!(
            route::VirtualHosts::origins(&key.virtual_hosts[0]).contains(&Origin::Object(rule)),
            "a proxy that rejects the route may mean the rule"
        );

        let limited = plan("limited");
        let body = route::assemble(&limited, &[]);
        let message = mesh_api::envoy::config::route::v3::RouteConfiguration::decode(body);
        assert_eq!(
            named(message.expect("decodes").metadata.as_ref()),
            ["limited/sidecar/default"]
        );
        assert_eq!(
            limited.virtual_hosts[0], key.virtual_hosts[0],
            "virtual hosts stay shared"
        );
    }
}
