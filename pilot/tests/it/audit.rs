//! Endpoints that change at random, proxies that come and go, sources that break off (pain 6).
//!
//! The suite makes a few thousand changes. `MESH_TEST_FULL=1` makes 10,000 with each of 20 seeds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mesh_api::type_url;
use mesh_config::{Kind, decode};
use mesh_testing::ads::{AdsClient, node};
use mesh_testing::consul::ConsulAgent;
use mesh_testing::eventually;
use mesh_testing::objects::Choices;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::envoy::Envoy;
use crate::galley::{Galley, new_service};
use crate::pilot::Pilot;
use crate::relay::Relay;

const SERVICES: usize = 20;
const CLIENTS: u64 = 4;
/// Services of Consul, which change less often: each change is a request.
const CONSUL_SERVICES: usize = 3;
const CONSUL_CHANGES: usize = 5;
/// Changes between two publications.
const CHANGES: usize = 200;

/// The seeds, and the publications of each.
fn extent() -> (u64, usize) {
    match std::env::var_os("MESH_TEST_FULL") {
        Some(_) => (20, 50),
        None => (2, 10),
    }
}

/// What proxies should hold: `address:port` of each host that has endpoints.
type Wanted = BTreeMap<String, Vec<String>>;

/// The sources, and what they say.
struct World {
    /// Taken out only while it restarts.
    galley: Option<Galley>,
    consul: ConsulAgent,
    wanted: Wanted,
}

fn id(number: u64) -> String {
    let (high, low) = (number / 256, number % 256);
    format!("sidecar~10.9.{high}.{low}~pod-{number}.weather~weather.svc.cluster.local")
}

/// A source with services that have no endpoints yet.
fn galley() -> Galley {
    let mut galley = Galley::start();
    for number in 0..SERVICES {
        galley.set(&new_service(&name(number), 80));
        galley.remove(Kind::Endpoints, "weather", &name(number));
    }
    galley.publish();
    galley
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn host(number: usize) -> String {
    format!("service-{number}.weather.svc.cluster.local")
}

impl World {
    async fn new() -> Self {
        Self {
            galley: Some(galley()),
            consul: ConsulAgent::start().await.unwrap(),
            wanted: Wanted::new(),
        }
    }

    fn galley(&mut self) -> &mut Galley {
        self.galley.as_mut().expect("it has restarted")
    }

    /// Any endpoints for any service; sometimes none, sometimes there is no word about them any more.
    fn change(&mut self, choices: &mut Choices<'_>) {
        let number = choices.below(SERVICES);
        if choices.chance(5) {
            if self.wanted.remove(&host(number)).is_some() {
                self.galley().remove(Kind::Endpoints, "weather", &name(number));
            }
            return;
        }
        let last = (1..9).filter(|_| choices.chance(50));
        let addresses: Vec<String> = last.map(|last| format!("10.1.1.{last}")).collect();
        let ips: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address })).collect();
        let object = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": { "name": name(number), "namespace": "weather" },
            "subsets": [{ "addresses": ips, "ports": [{ "name": "http", "port": 80 }] }],
        });
        self.galley()
            .set_config(decode::from_json(None, &object).unwrap());
        let endpoints = addresses.iter().map(|address| format!("{address}:80"));
        self.wanted.insert(host(number), endpoints.collect());
    }

    /// An instance of a service of Consul comes or goes.
    async fn change_consul(&mut self, choices: &mut Choices<'_>) {
        let service = format!("consul-{}", choices.below(CONSUL_SERVICES));
        let instance = choices.below(8);
        let (id, address) = (format!("{service}-{instance}"), format!("10.3.0.{instance}"));
        let endpoints = self
            .wanted
            .entry(format!("{service}.service.consul"))
            .or_default();
        let endpoint = format!("{address}:3002");
        if let Some(at) = endpoints.iter().position(|known| *known == endpoint) {
            endpoints.remove(at);
            self.consul.deregister("n1", &id).await.unwrap();
        } else {
            endpoints.push(endpoint);
            let described = json!({
                "ID": id, "Service": service, "Address": address, "Port": 3002, "Meta": {"protocol": "http"},
            });
            self.consul.register("n1", "10.3.0.1", described).await.unwrap();
        }
    }

    fn restart_galley(&mut self) {
        self.galley = self.galley.take().map(|galley| galley.kill().restart(""));
    }
}

/// A proxy whose stream breaks now and then.
async fn follow(address: &str, number: u64, seed: u64) {
    let mut choices = Choices::seeded(seed * 100 + number);
    loop {
        let node = node(&id(number), &json!({}));
        let mut envoy = match number % 2 {
            0 => Envoy::sotw(address, node).await,
            _ => Envoy::delta(address, node).await,
        };
        for _ in 0..5 + choices.below(20) {
            if envoy.next().await.is_err() {
                break;
            }
        }
    }
}

/// Waits until Pilot knows what the sources say, and all proxies are there and hold it.
async fn at_rest(pilot: &Pilot, wanted: &Wanted) {
    eventually(PATIENCE, async || {
        let known = pilot.json("/debug/endpointz?brief=1").await;
        for (host, endpoints) in wanted {
            let mut entries = known.as_array().unwrap().iter();
            let entry = entries.find(|entry| entry["svc"] == **host);
            let mut known: Vec<&str> = entry
                .and_then(|entry| entry["ep"].as_array())
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let mut endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
            known.sort_unstable();
            endpoints.sort_unstable();
            if known != endpoints {
                let sources = pilot.json("/debug/sourcez").await;
                return Err(format!(
                    "of {host} {known:?} is known instead of {endpoints:?}: {sources}"
                ));
            }
        }
        let proxies = pilot.json("/debug/syncz").await;
        for number in 0..CLIENTS {
            let mut entries = proxies.as_array().unwrap().iter();
            let is_served = |entry: &&Value| {
                let mut types = ["cluster", "endpoint", "listener", "route"].iter();
                entry["proxy"] == format!("pod-{number}.weather")
                    && types.all(|name| {
                        !entry[format!("{name}_acked")]
                            .as_str()
                            .unwrap_or_default()
                            .is_empty()
                    })
            };
            if entries.find(is_served).is_none() {
                return Err(proxies.to_string());
            }
        }
        quiet_now(pilot).await
    })
    .await
    .unwrap();
}

/// Whether every proxy holds what Pilot knows.
async fn quiet_now(pilot: &Pilot) -> Result<(), String> {
    let divergences = pilot.json("/debug/divergencez").await;
    if divergences == json!([]) {
        Ok(())
    } else {
        Err(divergences.to_string())
    }
}

/// Waits until Pilot follows its sources again.
async fn connected(pilot: &Pilot) {
    eventually(PATIENCE, async || {
        let sources = pilot.json("/debug/sourcez").await;
        let mut all = sources.as_array().unwrap().iter();
        if all.all(|source| source["connected"] == true) {
            Ok(())
        } else {
            Err(sources.to_string())
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_6_ten_thousand_changes_with_cut_watches_end_without_divergence() {
    let (seeds, publications) = extent();
    let (mut longest, mut cuts) = (Duration::ZERO, 0);
    for seed in 1..=seeds {
        let mut world = World::new().await;
        let mcp = Relay::to(world.galley().address()).await;
        let http = Relay::to(world.consul.url().trim_start_matches("http://").parse().unwrap()).await;
        let flags = [
            format!("--mcpServerAddrs=mcp://{}", mcp.address()),
            "--registries=Kubernetes,Consul".to_owned(),
            "--consulserverInterval=50ms".to_owned(),
            format!("--consulserverURL=http://{}", http.address()),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let pilot = Pilot::start(world.galley(), &flags).await;
        pilot.ready().await;
        let address = pilot.xds();
        let change_all = async {
            let mut choices = Choices::seeded(seed);
            for number in 1..=publications {
                (0..CHANGES).for_each(|_| world.change(&mut choices));
                for _ in 0..CONSUL_CHANGES {
                    world.change_consul(&mut choices).await;
                }
                let is_last = number == publications;
                let weather = if choices.chance(30) && !is_last {
                    seed * 1_000 + number as u64
                } else {
                    0
                };
                mcp.storm(weather);
                http.storm(weather);
                world.galley().publish();
                let breaks = choices.below(8);
                match breaks {
                    0 | 1 => mcp.cut(),
                    2 => http.cut(),
                    3 => world.restart_galley(),
                    _ => {}
                }
                cuts += usize::from(breaks < 4);
                // Often nobody can keep up, and sometimes everybody does.
                if number % 5 == 0 {
                    at_rest(&pilot, &world.wanted).await;
                }
            }
            let last = Instant::now();
            connected(&pilot).await;
            let quiet = Instant::now();
            at_rest(&pilot, &world.wanted).await;
            (quiet.elapsed(), last.elapsed())
        };
        let (elapsed, since_last) = tokio::select! {
            elapsed = change_all => elapsed,
            () = follow(&address, 0, seed) => unreachable!("it never ends"),
            () = follow(&address, 1, seed) => unreachable!("it never ends"),
            () = follow(&address, 2, seed) => unreachable!("it never ends"),
            () = follow(&address, 3, seed) => unreachable!("it never ends"),
        };
        longest = longest.max(elapsed);
        println!(
            "seed {seed}: divergence is gone {since_last:?} after the last change, \
             {elapsed:?} after the sources are connected again"
        );
    }
    println!(
        "{seeds} seeds, {} changes each, {cuts} cuts beside storms: at most {longest:?}",
        publications * (CHANGES + CONSUL_CHANGES)
    );
}

/// `pilot_endpoint_divergence` is what the page lists.
#[tokio::test(flavor = "multi_thread")]
async fn pain_6_a_proxy_that_does_not_answer_diverges() {
    let mut galley = galley();
    let pilot = Pilot::of(&galley).await;
    let cluster = format!("outbound|80||{}", host(7));
    let mut client = AdsClient::connect(&pilot.xds(), node(&id(0), &json!({})))
        .await
        .unwrap();
    client.request(type_url::ENDPOINT, &[&cluster]).unwrap();
    client.accept(type_url::ENDPOINT, PATIENCE).await.unwrap();
    eventually(PATIENCE, async || quiet_now(&pilot).await)
        .await
        .unwrap();

    galley.apply(&new_service(&name(7), 80));
    let divergences = eventually(PATIENCE, async || match pilot.json("/debug/divergencez").await {
        none if none == json!([]) => Err(none),
        some => Ok(some),
    })
    .await
    .unwrap();
    assert_eq!(divergences.as_array().map(Vec::len), Some(1), "{divergences}");
    assert_eq!(divergences[0]["proxy"], id(0));
    assert_eq!(divergences[0]["clusters"], json!([cluster]));
    client.accept(type_url::ENDPOINT, PATIENCE).await.unwrap();
    eventually(PATIENCE, async || quiet_now(&pilot).await)
        .await
        .unwrap();
}

/// A whole mesh of proxies that lost its Pilot.
const RETURNING: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn pain_12_proxies_that_reconnect_at_once_are_all_served() {
    let mut galley = galley();
    let pilot = Pilot::of(&galley).await;
    for round in 1..=2 {
        let mut proxies = tokio::task::JoinSet::new();
        for number in 0..RETURNING {
            let address = pilot.xds();
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
        let mut proxies = proxies.join_all().await;
        assert!(!proxies[0].everything().is_empty());
        assert_eq!(pilot.metric("pilot_xds").await, RETURNING as f64);
        // Whoever sees the same holds the same, over either form of the protocol.
        let shared = |envoy: &Envoy| envoy.names(type_url::CLUSTER).len();
        assert!(proxies.iter().all(|envoy| shared(envoy) == shared(&proxies[0])));
        // Nothing is different, so nothing is sent; then one endpoint, which all get and nothing else.
        galley.publish();
        galley.apply(&format!(
            "{{apiVersion: v1, kind: Endpoints, metadata: {{name: service-7, namespace: weather}},
              subsets: [{{addresses: [{{ip: 10.1.1.{round}}}], ports: [{{name: http, port: 80}}]}}]}}"
        ));
        for envoy in &mut proxies {
            assert_eq!(
                envoy.expect("eds").await.names,
                [format!("outbound|80||{}", host(7))]
            );
        }
        let connected = pilot.metric("pilot_xds").await;
        assert_eq!(connected, RETURNING as f64, "no stream was lost");
        drop(proxies);
        pilot.until_metric("pilot_xds", 0.0).await;
    }
}
