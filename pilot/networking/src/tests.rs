//! What holds for all resource types.

use mesh_api::istio::networking::v1alpha3::{DestinationRule, Gateway, Port, Server};
use mesh_config::Str;
use pilot_model::{Endpoint, InterceptionMode, Published, ScopedView, Service, Workload};
use proptest::prelude::*;
use prost::Message as _;

use crate::fixture::{Mesh, created, endpoint, proxy, rule, service, subset, workload};
use crate::{Features, Generate, Plan, Vantage, cluster, endpoint as eds, listener};

/// One object of a mesh.
#[derive(Clone, Debug)]
enum Object {
    Service(Box<Service>),
    Rule(&'static str, Box<DestinationRule>),
    Gateway(&'static str, Box<Gateway>),
    Endpoints(&'static str, &'static str, Vec<Endpoint>),
}

fn objects() -> Vec<Object> {
    let with_subsets = |names: &[&str]| DestinationRule {
        subsets: names
            .iter()
            .map(|name| subset(name, &[("version", name)]))
            .collect(),
        ..rule("forecast")
    };
    let gateway = |port: &str, protocol: &str, number| Gateway {
        servers: vec![Server {
            port: Some(Port {
                number,
                protocol: protocol.to_owned(),
                name: port.to_owned(),
            }),
            hosts: vec!["*".to_owned()],
            ..Server::default()
        }],
        ..Gateway::default()
    };
    let forecast = "forecast.default.svc.cluster.local";
    let mut same_host = service("forecast", "10.96.0.9", &[("http", 80)]);
    same_host.id.name = "another".into();
    vec![
        Object::Service(Box::new(created(
            1,
            service("forecast", "10.96.0.1", &[("http", 80), ("tcp", 90)]),
        ))),
        Object::Service(Box::new(created(1, same_host))),
        Object::Service(Box::new(service(
            "frontend",
            "10.96.0.2",
            &[("http", 80), ("http", 9000)],
        ))),
        Object::Service(Box::new(service("cassandra", "", &[("tcp", 9000)]))),
        Object::Service(Box::new(service("kafka", "", &[("tcp", 9000)]))),
        Object::Rule("a", Box::new(with_subsets(&["v1"]))),
        Object::Rule("b", Box::new(with_subsets(&["v2", "v1"]))),
        Object::Gateway("a", Box::new(gateway("http", "HTTP", 80))),
        Object::Gateway("b", Box::new(gateway("http2", "HTTP2", 80))),
        Object::Gateway("c", Box::new(gateway("https", "HTTPS", 80))),
        Object::Endpoints(
            "x",
            forecast,
            vec![
                endpoint("10.1.0.2:1", "http", "v1"),
                endpoint("10.1.0.1:1", "http", "v2"),
            ],
        ),
        Object::Endpoints(
            "y",
            forecast,
            vec![
                endpoint("10.1.0.2:1", "http", "v2"),
                endpoint("10.1.0.3:1", "http", "v1"),
            ],
        ),
    ]
}

fn add(mesh: Mesh, object: Object) -> Mesh {
    match object {
        Object::Service(service) => mesh.service(*service),
        Object::Rule(name, rule) => mesh.rule("default", name, *rule),
        Object::Gateway(name, gateway) => mesh.gateway("default", name, *gateway),
        Object::Endpoints(registry, host, endpoints) => mesh.endpoints(registry, host, endpoints),
    }
}

fn publish(objects: &[Object]) -> Published {
    objects.iter().cloned().fold(Mesh::new(), add).publish()
}

/// Every resource and every warning of a sidecar and of a router, as bytes and text.
fn everything(published: &Published) -> Vec<(Str, Vec<u8>)> {
    let view = published.snapshot.view("default");
    let proxy = proxy(InterceptionMode::Redirect);
    let workload = workload(&[("forecast", "http", 80, 3002), ("frontend", "http", 9000, 3002)]);
    let mut all = Vec::new();
    for proxy_type in [pilot_model::ProxyType::Sidecar, pilot_model::ProxyType::Router] {
        let vantage = Vantage::of_role(proxy_type);
        let clusters = cluster::outbound(&view, &vantage);
        for key in &clusters.keys {
            let name: Str = cluster::Clusters::name(key).into();
            collect::<eds::Endpoints>(
                &mut all,
                &one(eds::key(&view, &published.endpoints, &name, &vantage)),
            );
        }
        collect::<cluster::Clusters>(&mut all, &clusters);
    }
    collect::<cluster::Clusters>(&mut all, &cluster::inbound(&view, &proxy, &workload));
    collect::<listener::Listeners>(&mut all, &outbound_listeners(&view));
    collect::<listener::Listeners>(
        &mut all,
        &listener::inbound(&view, &proxy, &workload, &Features::default()),
    );
    collect::<listener::Listeners>(
        &mut all,
        &listener::gateway(&view, &proxy, &workload, &Features::default()),
    );
    all
}

fn listener_scope(view: &ScopedView) -> listener::OutboundScope {
    listener::OutboundScope::new(
        view,
        &proxy(InterceptionMode::Redirect),
        &Workload::default(),
        &Features::default(),
    )
}

fn outbound_listeners(view: &ScopedView) -> Plan<listener::ListenerKey> {
    listener::outbound(view, &listener_scope(view))
}

fn one<K>(key: K) -> Plan<K> {
    Plan {
        keys: vec![key],
        warnings: Vec::new(),
    }
}

fn collect<G: Generate>(all: &mut Vec<(Str, Vec<u8>)>, plan: &Plan<G::Key>) {
    let names: Vec<&str> = plan.keys.iter().map(G::name).collect();
    assert!(
        names.is_sorted_by(|a, b| a < b),
        "names are unique and in order: {names:?}"
    );
    for key in &plan.keys {
        let built = G::build(key);
        all.push((G::name(key).into(), built.message.encode_to_vec()));
        all.push(("warnings".into(), format!("{:?}", built.warnings).into_bytes()));
    }
    all.push(("warnings".into(), format!("{:?}", plan.warnings).into_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_in_which_objects_arrive_changes_no_byte(shuffled in Just(objects()).prop_shuffle()) {
        prop_assert_eq!(everything(&publish(&objects())), everything(&publish(&shuffled)));
    }
}

#[test]
fn a_change_of_one_service_changes_the_keys_of_its_own_resources_only() {
    let mut builder = pilot_model::Builder::new("cluster.local", Default::default());
    let apply = |builder: &mut pilot_model::Builder, service: Service| {
        builder.apply(pilot_model::Change::Service(Box::new(service)));
        let view = builder.publish().snapshot.view("default");
        let clusters = cluster::outbound(&view, &Vantage::of_role(pilot_model::ProxyType::Sidecar)).keys;
        let listeners = outbound_listeners(&view).keys;
        (clusters, listeners)
    };
    apply(
        &mut builder,
        service("a", "10.96.0.1", &[("http", 80), ("tcp", 90)]),
    );
    let before = apply(&mut builder, service("b", "10.96.0.2", &[("http", 80)]));
    let labelled = Service {
        labels: [("x", "y")].into_iter().collect(),
        ..service("b", "10.96.0.2", &[("http", 80)])
    };
    let after = apply(&mut builder, labelled);
    let differing: Vec<_> = before
        .0
        .iter()
        .zip(&after.0)
        .filter(|(a, b)| a != b)
        .map(|(a, _)| cluster::Clusters::name(a))
        .collect();
    assert_eq!(differing, ["outbound|80||b.default.svc.cluster.local"]);
    assert_eq!(before.1, after.1, "listeners do not depend on it");
}

/// P11.4.
#[test]
fn proxies_of_namespaces_without_anything_of_their_own_share_their_plans() {
    let own_rule = DestinationRule {
        host: "frontend.default.svc.cluster.local".to_owned(),
        ..DestinationRule::default()
    };
    let mesh = objects()
        .into_iter()
        .fold(Mesh::new(), add)
        .rule("special", "own", own_rule);
    let snapshot = mesh.publish().snapshot;
    let [a, b, special] = ["a", "b", "special"].map(|namespace| snapshot.view(namespace));

    let sidecar = &Vantage::of_role(pilot_model::ProxyType::Sidecar);
    let clusters = |view| cluster::OutboundScope::new(view, sidecar);
    assert_eq!(clusters(&a), clusters(&b));
    assert_eq!(
        cluster::outbound(&a, sidecar).keys,
        cluster::outbound(&b, sidecar).keys
    );
    assert_ne!(clusters(&a), clusters(&special));
    assert_ne!(
        cluster::outbound(&a, sidecar).keys,
        cluster::outbound(&special, sidecar).keys
    );

    let listeners = listener_scope;
    assert_eq!(listeners(&a), listeners(&b));
    assert_eq!(outbound_listeners(&a).keys, outbound_listeners(&b).keys);
}
