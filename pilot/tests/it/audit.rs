//! Endpoints that change at random, and proxies that come and go (pain 6).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::type_url;
use mesh_config::{Host, Labels, Port, Protocol, Timestamp};
use mesh_runtime::Runtime;
use mesh_runtime::grpc::GrpcOptions;
use mesh_testing::ads::{AdsClient, node};
use mesh_testing::{eventually, ports};
use pilot_model::{
    Builder, Change, Endpoint, EndpointAddress, Locality, Resolution, Service, ServiceAddress, ServiceId,
    Visibility,
};
use pilot_xds::{Discovery, DiscoveryOptions, XdsMetrics};
use serde_json::json;
use tonic::service::Routes;

use crate::PATIENCE;
use crate::envoy::Envoy;

const HOSTS: u64 = 20;
const CLIENTS: u64 = 4;
/// In each of the seeds: so many publications of so many changes each.
const PUBLICATIONS: u64 = 50;
const CHANGES: u64 = 200;

/// A source of numbers that is the same for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

fn host(number: u64) -> Host {
    format!("service-{number}.default.svc.cluster.local").into()
}

fn service(number: u64) -> Change {
    Change::Service(Box::new(Service {
        id: ServiceId {
            registry: "Kubernetes".into(),
            namespace: "default".into(),
            name: format!("service-{number}").into(),
            host: host(number),
            index: 0,
        },
        address: ServiceAddress::Unspecified,
        ports: vec![Port {
            name: "http".into(),
            number: 80,
            protocol: Protocol::Http,
        }],
        resolution: Resolution::ClientSide,
        endpoints: Vec::new(),
        mesh_external: false,
        export_to: Visibility::Public,
        service_accounts: [].into(),
        external_addresses: [].into(),
        labels: Labels::default(),
        created: Timestamp::default(),
    }))
}

fn endpoint(last: u8) -> Endpoint {
    Endpoint {
        address: EndpointAddress::Ip(SocketAddr::from(([10, 1, 0, last], 8080))),
        service_port: "http".into(),
        labels: Labels::default(),
        uid: "".into(),
        service_account: "".into(),
        network: "".into(),
        locality: Locality::default(),
        weight: 1,
    }
}

/// Any endpoints for any host; sometimes none, sometimes the host is withdrawn.
fn change(random: &mut Random) -> Change {
    let number = random.below(HOSTS);
    let is_withdrawn = random.below(20) == 0;
    let endpoints = (0..8).filter(|_| random.below(2) == 0).map(endpoint).collect();
    Change::Endpoints {
        registry: "Kubernetes".into(),
        host: host(number),
        endpoints: (!is_withdrawn).then_some(endpoints),
    }
}

async fn serve(runtime: &Runtime) -> (Discovery, String) {
    let discovery = Discovery::new(
        DiscoveryOptions::default(),
        XdsMetrics::register(runtime.metrics()).unwrap(),
        runtime.spawner().clone(),
        runtime.drain().clone(),
    );
    let (listener, address) = ports::listen().await.unwrap();
    let routes = Routes::new(discovery.service());
    runtime.spawn_grpc("xds", listener, routes, GrpcOptions::default());
    (discovery, format!("http://{address}"))
}

fn builder() -> Builder {
    let mut builder = Builder::new("cluster.local", MeshConfig::default());
    (0..HOSTS).for_each(|number| builder.apply(service(number)));
    builder
}

fn id(number: u64) -> String {
    format!("sidecar~10.9.0.{number}~pod-{number}.default~default.svc.cluster.local")
}

/// A proxy whose stream breaks now and then.
async fn follow(address: &str, number: u64, seed: u64) {
    let mut random = Random::new(seed * 100 + number);
    loop {
        let node = node(&id(number), &json!({}));
        let mut envoy = match number % 2 {
            0 => Envoy::sotw(address, node).await,
            _ => Envoy::delta(address, node).await,
        };
        for _ in 0..5 + random.below(20) {
            if envoy.next().await.is_err() {
                break;
            }
        }
    }
}

/// Waits until all proxies are there and hold what the registry knows.
async fn at_rest(discovery: &Discovery) {
    eventually(PATIENCE, async || {
        let clients = discovery.clients();
        let is_there = |number: u64| {
            clients
                .iter()
                .any(|client| *client.proxy.node_id == *id(number) && client.types.len() == 4)
        };
        match discovery.audit() {
            divergences if divergences.is_empty() && (0..CLIENTS).all(is_there) => Ok(()),
            divergences => Err(format!("{divergences:?}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_6_ten_thousand_changes_end_without_divergence() {
    let mut longest = Duration::ZERO;
    for seed in 1..=20 {
        let runtime = Runtime::builder("pilot-discovery").build().unwrap();
        let (discovery, address) = serve(&runtime).await;
        let change_all = async {
            let mut random = Random::new(seed);
            let mut builder = builder();
            for number in 0..PUBLICATIONS {
                (0..CHANGES).for_each(|_| builder.apply(change(&mut random)));
                discovery.publish(builder.publish());
                // Often nobody can keep up, and sometimes everybody does.
                if number % 5 == 0 {
                    at_rest(&discovery).await;
                }
            }
            let quiet = Instant::now();
            at_rest(&discovery).await;
            quiet.elapsed()
        };
        let elapsed = tokio::select! {
            elapsed = change_all => elapsed,
            () = follow(&address, 0, seed) => unreachable!("it never ends"),
            () = follow(&address, 1, seed) => unreachable!("it never ends"),
            () = follow(&address, 2, seed) => unreachable!("it never ends"),
            () = follow(&address, 3, seed) => unreachable!("it never ends"),
        };
        longest = longest.max(elapsed);
    }
    println!("divergence is gone at most {longest:?} after the last change");
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_6_a_proxy_that_does_not_answer_diverges() {
    let runtime = Runtime::builder("pilot-discovery").build().unwrap();
    let (discovery, address) = serve(&runtime).await;
    let mut builder = builder();
    discovery.publish(builder.publish());
    let cluster = format!("outbound|80||{}", host(7));
    let mut client = AdsClient::connect(&address, node(&id(0), &json!({})))
        .await
        .unwrap();
    client.request(type_url::ENDPOINT, &[&cluster]).unwrap();
    client.accept(type_url::ENDPOINT, PATIENCE).await.unwrap();
    eventually(PATIENCE, async || match discovery.audit() {
        divergences if divergences.is_empty() => Ok(()),
        divergences => Err(format!("{divergences:?}")),
    })
    .await
    .unwrap();

    builder.apply(Change::Endpoints {
        registry: "Kubernetes".into(),
        host: host(7),
        endpoints: Some(vec![endpoint(7)]),
    });
    discovery.publish(builder.publish());
    let divergences = discovery.audit();
    assert_eq!(divergences.len(), 1);
    assert_eq!(&*divergences[0].proxy, id(0));
    assert_eq!(
        divergences[0]
            .clusters
            .iter()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        [cluster.as_str()]
    );
    client.accept(type_url::ENDPOINT, PATIENCE).await.unwrap();
    eventually(PATIENCE, async || match discovery.audit() {
        divergences if divergences.is_empty() => Ok(()),
        divergences => Err(format!("{divergences:?}")),
    })
    .await
    .unwrap();
}

/// A whole mesh of proxies that lost its Pilot.
const RETURNING: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn pain_12_proxies_that_reconnect_at_once_are_all_served() {
    let runtime = Runtime::builder("pilot-discovery").build().unwrap();
    let (discovery, address) = serve(&runtime).await;
    let mut builder = builder();
    discovery.publish(builder.publish());
    for _ in 0..2 {
        let mut proxies = tokio::task::JoinSet::new();
        for number in 0..RETURNING {
            let address = address.clone();
            proxies.spawn(async move {
                let node = node(&id(number), &json!({}));
                let mut envoy = match number % 2 {
                    0 => Envoy::sotw(&address, node).await,
                    _ => Envoy::delta(&address, node).await,
                };
                envoy.settle().await;
                envoy
            });
        }
        let proxies = proxies.join_all().await;
        assert!(!proxies[0].everything().is_empty());
        assert_eq!(discovery.clients().len(), proxies.len());
        // Whoever sees the same holds the same, over either form of the protocol.
        let shared = |envoy: &Envoy| envoy.names(type_url::CLUSTER).len();
        assert!(proxies.iter().all(|envoy| shared(envoy) == shared(&proxies[0])));
        drop(proxies);
        eventually(PATIENCE, async || match discovery.clients().len() {
            0 => Ok(()),
            left => Err(left),
        })
        .await
        .unwrap();
    }
}
