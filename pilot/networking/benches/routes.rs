//! How long routes take in the mesh of spec 07 §1.2: every service has a VirtualService and a DestinationRule.

use bytes::Bytes;
use divan::{Bencher, black_box};
use mesh_api::envoy::config::core::v3::Node;
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{LbPolicy, SimpleLb};
use mesh_api::istio::networking::v1alpha3::string_match::MatchType;
use mesh_api::istio::networking::v1alpha3::{
    Destination, DestinationRule, HttpMatchRequest, HttpRoute, HttpRouteDestination, LoadBalancerSettings,
    StringMatch, Subset, TrafficPolicy, VirtualService,
};
use mesh_config::{ConfigKey, Kind, Meta, Port, Protocol, Str, Timestamp, mesh};
use pilot_model::{
    Builder, Change, ConfigSpec, Proxy, Published, Resolution, Service, ServiceAddress, ServiceId,
    Visibility, Workload,
};
use pilot_networking::{Features, Generate, route};
use prost::Message;

const SIZES: [usize; 2] = [1000, 5000];

fn main() {
    divan::main();
}

/// Plans the only route configuration of a sidecar, after the first one of the publication.
#[divan::bench(args = SIZES)]
fn plan(bencher: Bencher<'_, '_>, services: usize) {
    let published = mesh_of(services).publish();
    let proxy = sidecar("ns-000");
    bencher.bench_local(|| plan_for(&published, &proxy));
}

/// Publishes a changed VirtualService and plans again.
#[divan::bench(args = SIZES)]
fn change_a_virtual_service(bencher: Bencher<'_, '_>, services: usize) {
    let mut builder = mesh_of(services);
    let proxy = sidecar("ns-000");
    let mut generation = 0;
    bencher.bench_local(|| {
        generation += 1;
        builder.apply(virtual_service(0, generation));
        plan_for(&builder.publish(), &proxy)
    });
}

/// Publishes a changed VirtualService and plans again for sidecars of 100 namespaces.
#[divan::bench(args = SIZES, sample_count = 20)]
fn change_a_virtual_service_for_100_namespaces(bencher: Bencher<'_, '_>, services: usize) {
    let mut builder = mesh_of(services);
    let proxies: Vec<Proxy> = (0..100)
        .map(|number| sidecar(&format!("ns-{number:03}")))
        .collect();
    let mut generation = 0;
    bencher.bench_local(|| {
        generation += 1;
        builder.apply(virtual_service(0, generation));
        let published = builder.publish();
        for proxy in &proxies {
            black_box(plan_for(&published, proxy));
        }
    });
}

/// Builds, encodes and joins all virtual hosts.
#[divan::bench(args = SIZES, sample_count = 20)]
fn build_all(bencher: Bencher<'_, '_>, services: usize) {
    let plan = plan_for(&mesh_of(services).publish(), &sidecar("ns-000"));
    bencher.bench_local(|| {
        let build = |key| -> Bytes { route::VirtualHosts::build(key).message.encode_to_vec().into() };
        let bodies: Vec<Bytes> = plan.key.virtual_hosts.iter().map(build).collect();
        route::assemble(&plan.key, &bodies)
    });
}

fn plan_for(published: &Published, proxy: &Proxy) -> route::RoutePlan {
    let view = published.snapshot.view(&proxy.namespace);
    route::plan(
        &view,
        proxy,
        &Workload::default(),
        &Features::default(),
        &"80".into(),
    )
}

fn sidecar(namespace: &str) -> Proxy {
    let id = format!("sidecar~10.1.0.1~caller.{namespace}~{namespace}.svc.cluster.local");
    Proxy::from_node(&Node {
        id,
        ..Node::default()
    })
    .expect("the id is well formed")
}

fn mesh_of(services: usize) -> Builder {
    let mut builder = Builder::new("cluster.local", mesh::default_mesh());
    for index in 0..services {
        builder.apply(Change::Service(Box::new(service(index))));
        builder.apply(destination_rule(index));
        builder.apply(virtual_service(index, 0));
    }
    builder.publish();
    builder
}

fn name(index: usize) -> Str {
    format!("svc-{index:05}").into()
}

fn namespace(index: usize) -> Str {
    format!("ns-{:03}", (index / 10) % 100).into()
}

fn host(index: usize) -> String {
    format!("{}.{}.svc.cluster.local", name(index), namespace(index))
}

fn meta(kind: Kind, index: usize) -> Meta {
    Meta {
        key: ConfigKey::new(kind, namespace(index), name(index)),
        labels: Default::default(),
        annotations: Default::default(),
        created: Timestamp::default(),
        version: String::new(),
    }
}

fn service(index: usize) -> Service {
    let address = [10, 96, (index / 250) as u8, (index % 250 + 1) as u8];
    Service {
        id: ServiceId {
            namespace: namespace(index),
            name: name(index),
            host: host(index).into(),
            index: 0,
            registry: "ServiceEntry".into(),
        },
        address: ServiceAddress::Ip(address.into()),
        ports: vec![Port {
            name: "http".into(),
            number: 80,
            protocol: Protocol::Http,
        }],
        resolution: Resolution::ClientSide,
        endpoints: Vec::new(),
        mesh_external: false,
        export_to: Visibility::Public,
        service_accounts: Default::default(),
        external_addresses: Default::default(),
        labels: Default::default(),
        created: Timestamp::default(),
    }
}

fn destination_rule(index: usize) -> Change {
    let subset = |name: &str| Subset {
        name: name.to_owned(),
        labels: [("version".to_owned(), name.to_owned())].into(),
        ..Subset::default()
    };
    let round_robin = LoadBalancerSettings {
        lb_policy: Some(LbPolicy::Simple(SimpleLb::RoundRobin.into())),
    };
    let spec = DestinationRule {
        host: host(index),
        traffic_policy: Some(TrafficPolicy {
            load_balancer: Some(round_robin),
            ..TrafficPolicy::default()
        }),
        subsets: vec![subset("v1"), subset("v2")],
        ..DestinationRule::default()
    };
    Change::Config(
        meta(Kind::DestinationRule, index),
        ConfigSpec::DestinationRule(Box::new(spec)),
    )
}

fn virtual_service(index: usize, generation: usize) -> Change {
    let destination = |subset: &str, weight| HttpRouteDestination {
        destination: Some(Destination {
            host: host(index),
            subset: subset.to_owned(),
            port: None,
        }),
        weight,
        ..HttpRouteDestination::default()
    };
    let marker = StringMatch {
        match_type: Some(MatchType::Prefix(format!("/gen-{generation:06}/"))),
    };
    let canary = StringMatch {
        match_type: Some(MatchType::Exact("true".to_owned())),
    };
    let spec = VirtualService {
        hosts: vec![host(index)],
        http: vec![
            HttpRoute {
                r#match: vec![HttpMatchRequest {
                    uri: Some(marker),
                    ..HttpMatchRequest::default()
                }],
                route: vec![destination("v2", 0)],
                ..HttpRoute::default()
            },
            HttpRoute {
                r#match: vec![HttpMatchRequest {
                    headers: [("x-canary".to_owned(), canary)].into(),
                    ..HttpMatchRequest::default()
                }],
                route: vec![destination("v1", 90), destination("v2", 10)],
                ..HttpRoute::default()
            },
            HttpRoute {
                route: vec![destination("v1", 0)],
                ..HttpRoute::default()
            },
        ],
        ..VirtualService::default()
    };
    Change::Config(
        meta(Kind::VirtualService, index),
        ConfigSpec::VirtualService(Box::new(spec)),
    )
}
