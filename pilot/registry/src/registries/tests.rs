//! All registries together: what they make of a history is what they make of its end.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use mesh_config::{Config, Kind, Labels, Protocol};
use pilot_model::{Locality, Visibility};
use proptest::prelude::*;

use crate::consul::Instance;
use crate::fixture::{Pod, World, endpoints, node, object, pod, service, service_entry};
use crate::{ConfigStore, Platform};

/// Every object in several variants. Addresses, hosts and selectors overlap on purpose.
static VARIANTS: LazyLock<Vec<Vec<Config>>> = LazyLock::new(|| {
    let texts = texts().into_iter();
    texts
        .map(|texts| texts.iter().map(|text| object(text)).collect())
        .collect()
});

fn texts() -> Vec<Vec<String>> {
    let with = |phase, created| Pod {
        phase,
        created,
        node: "node-1",
        ..Pod::default()
    };
    vec![
        vec![
            service(
                "forecast",
                "{clusterIP: 10.0.1.1, selector: {app: forecast}, ports: [{name: http, port: 80, targetPort: http}]}",
            ),
            service(
                "forecast",
                "{clusterIP: None, selector: {app: sleep}, ports: [{name: http, port: 81, targetPort: admin}]}",
            ),
            service("forecast", "{clusterIP: 10.0.1.1, ports: [{name: http, port: 80}]}"),
        ],
        vec![service(
            "other",
            "{clusterIP: 10.0.1.2, selector: {app: forecast}, ports: [{name: http, port: 80}]}",
        )],
        vec![
            pod("a", "10.1.0.1", "{app: forecast, version: v1}", with("Running", "2019-04-01T10:00:00Z")),
            pod("a", "10.1.0.2", "{app: forecast, version: v2}", with("Pending", "2019-04-01T10:00:00Z")),
            pod("a", "10.1.0.1", "{app: none}", with("Failed", "2019-04-01T10:00:00Z")),
        ],
        vec![
            pod("b", "10.1.0.1", "{app: sleep}", with("Running", "2019-04-01T10:00:05Z")),
            pod("b", "10.1.0.3", "{app: sleep, istio-locality: a.b}", with("Running", "2019-04-01T10:00:05Z")),
        ],
        vec![
            endpoints("forecast", "[{addresses: [{ip: 10.1.0.1}, {ip: 10.1.0.3}], ports: [{name: http, port: 3002}]}]"),
            endpoints("forecast", "[{notReadyAddresses: [{ip: 10.1.0.2}], ports: [{name: http, port: 3002}]}]"),
            endpoints("forecast", "[]"),
        ],
        vec![endpoints(
            "other",
            "[{addresses: [{ip: 10.1.0.3}, {ip: 192.168.7.7}], ports: [{name: http, port: 9}]}]",
        )],
        vec![
            node("node-1", "{topology.kubernetes.io/region: r}"),
            node("node-1", "{}"),
        ],
        vec![
            service_entry(
                "entry",
                "{hosts: [api.example.com], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
                  endpoints: [{address: 10.1.0.1, ports: {http: 8080}}, {address: 172.16.0.1}]}",
            ),
            service_entry(
                "entry",
                "{hosts: [api.example.com, '*.example.org'], resolution: DNS, ports: [{number: 443, name: https, protocol: HTTPS}],
                  endpoints: [{address: up.example.com}]}",
            ),
        ],
        vec![service_entry(
            "second",
            "{hosts: [api.example.com], addresses: [10.9.0.1, 10.9.1.0/24], location: MESH_INTERNAL, resolution: STATIC,
              ports: [{number: 80, name: http, protocol: HTTP}],
              endpoints: [{address: 172.16.0.1, labels: {version: v2}}, {address: 10.1.0.3}]}",
        )],
    ]
}

#[test]
fn p4_1_a_pod_is_what_kubernetes_says_and_serves_entries_when_no_service_selects_it() {
    let entry = service_entry(
        "entry",
        "{hosts: [api.example.com], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
          endpoints: [{address: 10.1.0.1, labels: {version: entry}}]}",
    );
    let forecast = service(
        "forecast",
        "{clusterIP: 10.0.1.1, selector: {app: forecast}, ports: [{name: http, port: 80}]}",
    );
    let pod = pod("forecast-0", "10.1.0.1", "{app: forecast}", Pod::default());
    let mut world = World::of([pod, entry]);
    assert_eq!(
        world.workload("10.1.0.1").expect("known"),
        ["weather/forecast-0 app=forecast", "api.example.com:80->80"]
    );
    world.set(&forecast);
    assert_eq!(
        world.workload("10.1.0.1").expect("known"),
        [
            "weather/forecast-0 app=forecast",
            "forecast.weather.svc.cluster.local:80->80"
        ]
    );
    world.remove(Kind::Pod, "forecast-0");
    assert_eq!(
        world.workload("10.1.0.1").expect("known"),
        ["weather/ version=entry", "api.example.com:80->80"]
    );
    world.remove(Kind::ServiceEntry, "entry");
    assert_eq!(world.workload("10.1.0.1"), None);
}

#[test]
fn p15_2_services_that_do_not_say_who_may_see_them_follow_the_mesh() {
    let with = |export_to: &str| {
        format!(
            "{{apiVersion: v1, kind: Service,
               metadata: {{name: said, namespace: weather, annotations: {{networking.istio.io/exportTo: '{export_to}'}}}},
               spec: {{ports: [{{name: http, port: 80}}]}}}}"
        )
    };
    let entry = |name: &str, export_to: &str| {
        service_entry(
            name,
            &format!(
                "{{hosts: [{name}.example.com], {export_to} ports: [{{number: 80, name: http, protocol: HTTP}}]}}"
            ),
        )
    };
    let mut mesh = Mesh::new();
    mesh.consul(0, &[1]);
    let mut world = mesh.world;
    for text in [
        service("silent", "{ports: [{name: http, port: 80}]}"),
        with("*"),
        entry("quiet", ""),
        entry("loud", "exportTo: ['*'],"),
    ] {
        world.set(&text);
    }
    let private = |world: &mut World| -> Vec<String> {
        let published = world.published();
        let services = published.snapshot.services.iter();
        let private = services.filter(|service| service.export_to == Visibility::Private);
        private.map(|service| service.id.name.to_string()).collect()
    };
    assert_eq!(private(&mut world), Vec::<String>::new());
    world.set_default_export_to(Visibility::Private);
    assert_eq!(private(&mut world), ["s0", "quiet", "silent"]);
    // What comes later follows as well, and so does a change back.
    world.set(&service("later", "{ports: [{name: http, port: 80}]}"));
    assert_eq!(private(&mut world), ["s0", "later", "quiet", "silent"]);
    world.set_default_export_to(Visibility::Public);
    assert_eq!(private(&mut world), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_history_with_the_same_end_gives_the_same_model(
        events in prop::collection::vec((0..VARIANTS.len(), prop::option::weighted(0.75, 0..3usize)), 0..40),
    ) {
        let mut end: BTreeMap<usize, Option<&Config>> = BTreeMap::new();
        let mut world = World::new();
        for (position, variant) in events {
            let variants = &VARIANTS[position];
            let config = variant.map(|variant| &variants[variant % variants.len()]);
            match config {
                Some(config) => world.set_config(config.clone()),
                None => world.remove_key(variants[0].meta.key.clone()),
            }
            end.insert(position, config);
        }
        let mut direct = World::new();
        end.into_values().flatten().for_each(|config| direct.set_config(config.clone()));
        prop_assert_eq!(world.content(), direct.content());
    }
}

/// What a source can do to the objects of a mesh.
#[derive(Clone, Debug)]
enum Event {
    /// It delivers the state of a collection: for each object one of its variants, or none.
    Deliver(usize, Kind, Vec<Option<usize>>),
    /// It comes back and delivers everything that it said before again, in another order.
    Restart(usize),
    /// The Consul catalog gives the instances of a service.
    Consul(usize, Vec<u8>),
}

/// The kinds that the variants are of.
const KINDS: [Kind; 5] = [
    Kind::Service,
    Kind::Pod,
    Kind::Endpoints,
    Kind::Node,
    Kind::ServiceEntry,
];
const SOURCES: usize = 2;

fn event() -> impl Strategy<Value = Event> {
    let choice = prop::option::weighted(0.6, 0..3usize);
    let states = prop::collection::vec(choice, VARIANTS.len());
    prop_oneof![
        6 => (0..SOURCES, prop::sample::select(&KINDS[..]), states)
            .prop_map(|(source, kind, state)| Event::Deliver(source, kind, state)),
        1 => (0..SOURCES).prop_map(Event::Restart),
        2 => (0..2usize, prop::collection::vec(1..4u8, 0..3))
            .prop_map(|(service, hosts)| Event::Consul(service, hosts)),
    ]
}

/// A mesh behind a store of several sources.
struct Mesh {
    store: ConfigStore,
    world: World,
}

impl Mesh {
    fn new() -> Self {
        Self {
            store: ConfigStore::default(),
            world: World::of_platforms(&[Platform::Kubernetes, Platform::Consul]),
        }
    }

    fn deliver(&mut self, source: usize, kind: Kind, state: &[Option<usize>]) {
        let objects = VARIANTS
            .iter()
            .zip(state)
            .filter_map(|(variants, choice)| Some(variants[(*choice)? % variants.len()].clone()))
            .filter(|object| object.meta.key.kind == kind);
        for event in self.store.replace(source, kind, objects.collect()) {
            self.world.apply(&event);
        }
    }

    fn consul(&mut self, service: usize, hosts: &[u8]) {
        let instance = |host: &u8| Instance {
            // Addresses of pods and entries too.
            address: ([10, 1, 0, *host], 80).into(),
            id: host.to_string().as_str().into(),
            protocol: Protocol::Http,
            external: false,
            labels: Labels::default(),
            locality: Locality::default(),
            weight: 1,
            serving: *host != 3,
        };
        self.world
            .set_consul(&format!("s{service}"), hosts.iter().map(instance).collect());
    }
}

proptest! {
    /// Duplicates, any order of collections, sources that come back: the model is that of the last states (P2.5).
    #[test]
    fn p4_1_any_history_of_sources_with_the_same_end_gives_the_same_model(
        events in prop::collection::vec(event(), 0..24),
    ) {
        let mut said: BTreeMap<(usize, Kind), Vec<Option<usize>>> = BTreeMap::new();
        let mut catalog: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut mesh = Mesh::new();
        for event in events {
            match event {
                Event::Deliver(source, kind, state) => {
                    mesh.deliver(source, kind, &state);
                    said.insert((source, kind), state);
                }
                Event::Restart(source) => {
                    for ((_, kind), state) in said.iter().rev().filter(|((of, _), _)| *of == source) {
                        mesh.deliver(source, *kind, state);
                    }
                }
                Event::Consul(service, hosts) => {
                    mesh.consul(service, &hosts);
                    catalog.insert(service, hosts);
                }
            }
        }
        let mut direct = Mesh::new();
        for (service, hosts) in &catalog {
            direct.consul(*service, hosts);
        }
        for ((source, kind), state) in said.iter().rev() {
            direct.deliver(*source, *kind, state);
        }
        prop_assert_eq!(mesh.world.content(), direct.world.content());

        // Saying everything once more changes nothing, and so pushes nothing.
        mesh.world.publish();
        for ((source, kind), state) in &said {
            mesh.deliver(*source, *kind, state);
        }
        for (service, hosts) in &catalog {
            mesh.consul(*service, hosts);
        }
        prop_assert!(mesh.world.publish().is_empty());
    }
}
