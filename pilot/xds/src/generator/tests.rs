//! What is made once, and for whom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mesh_api::istio::mesh::v1alpha1::MeshConfig;
use mesh_api::istio::networking::v1alpha3::{DestinationRule, IstioEgressListener, Sidecar};
use mesh_config::{ConfigKey, Host, Labels, Meta, Port, Protocol, Timestamp};
use mesh_runtime::Metrics;
use pilot_model::{
    Builder, Change, ConfigSpec, Endpoint, EndpointAddress, InterceptionMode, Locality, ProxyVersion,
    Resolution, Service, ServiceAddress, ServiceId, ServiceInstance, Visibility,
};

use super::*;

const NO_NAMES: [&str; 0] = [];

fn generator() -> Generator {
    let metrics = XdsMetrics::register(&Metrics::new()).expect("fresh registry");
    Generator::new(Features::default(), metrics)
}

fn host(name: &str) -> Host {
    format!("{name}.default.svc.cluster.local").into()
}

fn port() -> Port {
    Port {
        name: "http".into(),
        number: 80,
        protocol: Protocol::Http,
    }
}

fn service(name: &str) -> Change {
    Change::Service(Box::new(Service {
        id: ServiceId {
            namespace: "default".into(),
            name: name.into(),
            host: host(name),
            index: 0,
            registry: "Kubernetes".into(),
        },
        address: ServiceAddress::Ip([10, 0, 1, 1].into()),
        ports: vec![port()],
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

fn endpoints(name: &str, last: &[u8]) -> Change {
    let endpoint = |last: &u8| Endpoint {
        address: EndpointAddress::Ip(SocketAddr::from(([10, 1, 0, *last], 8080))),
        service_port: "http".into(),
        labels: Labels::default(),
        uid: "".into(),
        service_account: "".into(),
        network: "".into(),
        locality: Locality::default(),
        weight: 1,
    };
    Change::Endpoints {
        registry: "Kubernetes".into(),
        host: host(name),
        endpoints: Some(last.iter().map(endpoint).collect()),
    }
}

fn workload(last: u8, service: &str) -> Change {
    let ip = IpAddr::V4(Ipv4Addr::new(10, 1, 0, last));
    let instance = ServiceInstance {
        host: host(service),
        namespace: "default".into(),
        service_port: port(),
        target_port: 8080,
    };
    Change::Workload(
        ip,
        Some(Box::new(Workload {
            namespace: "default".into(),
            instances: vec![instance],
            ..Workload::default()
        })),
    )
}

/// A rule of namespace `private` about service `a`.
fn private_rule() -> Change {
    let meta = Meta {
        key: ConfigKey::new(mesh_config::Kind::DestinationRule, "private", "a"),
        labels: [].into(),
        annotations: [].into(),
        created: Timestamp::default(),
        version: String::new(),
    };
    let rule = DestinationRule {
        host: host("a").to_string(),
        export_to: vec![".".to_owned()],
        ..DestinationRule::default()
    };
    Change::Config(meta, ConfigSpec::DestinationRule(Box::new(rule)))
}

fn mesh() -> Builder {
    let mut builder = Builder::new(
        "cluster.local",
        MeshConfig {
            root_namespace: "istio-system".to_owned(),
            ..MeshConfig::default()
        },
    );
    for change in [
        service("a"),
        service("b"),
        endpoints("a", &[1]),
        endpoints("b", &[2]),
        workload(1, "a"),
        workload(2, "b"),
    ] {
        builder.apply(change);
    }
    builder
}

fn context(published: &Published, namespace: &str, last: u8) -> ProxyContext {
    let proxy = Proxy {
        node_id: format!("sidecar~10.1.0.{last}~pod.{namespace}~{namespace}.svc.cluster.local").into(),
        proxy_type: ProxyType::Sidecar,
        ips: vec![[10, 1, 0, last].into()],
        id: format!("pod.{namespace}").into(),
        domain: format!("{namespace}.svc.cluster.local").into(),
        namespace: namespace.into(),
        metadata: BTreeMap::new(),
        interception: InterceptionMode::Redirect,
        locality: Locality::default(),
        version: ProxyVersion::default(),
    };
    ProxyContext::new(Arc::new(proxy), published.clone())
}

fn generate(
    generator: &Generator,
    context: &ProxyContext,
    xds_type: XdsType,
    names: &[&str],
) -> Vec<Arc<ResourceSet>> {
    let names = Names::new(names.iter().map(|name| Str::from(*name)).collect());
    generator.generate(context, xds_type, &generator.intern(&names))
}

fn names(sets: &[Arc<ResourceSet>]) -> Vec<String> {
    let items = sets.iter().flat_map(|set| set.items());
    items.map(|item| item.name.to_string()).collect()
}

/// `P11.4`.
#[test]
fn proxies_of_equal_scope_share_what_they_are_sent() {
    let (generator, published) = (generator(), mesh().publish());
    let (first, second) = (
        context(&published, "default", 1),
        context(&published, "default", 2),
    );
    let eds = "outbound|80||a.default.svc.cluster.local";
    for (xds_type, names) in [
        (XdsType::Cluster, &NO_NAMES[..]),
        (XdsType::Listener, &[]),
        (XdsType::Endpoint, &[eds]),
        (XdsType::Route, &["80"]),
    ] {
        let one = generate(&generator, &first, xds_type, names);
        let other = generate(&generator, &second, xds_type, names);
        assert!(Arc::ptr_eq(&one[0], &other[0]), "{xds_type}");
        assert!(!one[0].items().is_empty(), "{xds_type}");
    }
    // What is inbound is each proxy's own.
    let inbound = |context| names(&generate(&generator, context, XdsType::Cluster, &[])[1..]);
    assert_ne!(inbound(&first), inbound(&second));
}

/// A Sidecar of a namespace that imports service `a` alone.
fn sidecar(namespace: &str) -> Change {
    let meta = Meta {
        key: ConfigKey::new(mesh_config::Kind::Sidecar, namespace, "default"),
        labels: [].into(),
        annotations: [].into(),
        created: Timestamp::default(),
        version: String::new(),
    };
    let egress = IstioEgressListener {
        hosts: vec![format!("default/{}", host("a"))],
        ..IstioEgressListener::default()
    };
    let sidecar = Sidecar {
        egress: vec![egress],
        ..Sidecar::default()
    };
    Change::Config(meta, ConfigSpec::Sidecar(Box::new(sidecar)))
}

#[test]
fn p15_3_proxies_of_one_sidecar_share_all_outbound_sets_and_others_what_they_always_did() {
    let mut builder = mesh();
    builder.apply(sidecar("limited"));
    let (generator, published) = (generator(), builder.publish());
    let [first, second, free] = [("limited", 8), ("limited", 9), ("default", 1)]
        .map(|(namespace, last)| context(&published, namespace, last));
    let (a, b) = (
        "outbound|80||a.default.svc.cluster.local",
        "outbound|80||b.default.svc.cluster.local",
    );
    for (xds_type, subscribed) in [
        (XdsType::Cluster, &NO_NAMES[..]),
        (XdsType::Listener, &[]),
        (XdsType::Endpoint, &[a]),
        (XdsType::Route, &["80"]),
    ] {
        let [one, other, free] =
            [&first, &second, &free].map(|context| generate(&generator, context, xds_type, subscribed));
        assert!(Arc::ptr_eq(&one[0], &other[0]), "{xds_type}");
        assert!(!Arc::ptr_eq(&one[0], &free[0]), "{xds_type}");
    }
    let clusters = |context| generate(&generator, context, XdsType::Cluster, &NO_NAMES);
    let (limited, free) = (clusters(&first), clusters(&free));
    assert!(limited[0].get(b).is_none() && free[0].get(b).is_some());
    // A cluster that means the same is the same, whoever plans it.
    let shared = |sets: &[Arc<ResourceSet>]| sets[0].get(a).map(Arc::as_ptr);
    assert_eq!(shared(&limited), shared(&free));
    // A cluster that a proxy does not have has no endpoints for it.
    let endpoints = generate(&generator, &first, XdsType::Endpoint, &[b]);
    let free = generate(
        &generator,
        &context(&published, "default", 1),
        XdsType::Endpoint,
        &[b],
    );
    let bytes = |sets: &[Arc<ResourceSet>]| sets[0].get(b).map(|item| item.body.clone());
    assert_ne!(bytes(&endpoints), bytes(&free));
}

#[test]
fn another_namespace_shares_every_resource_that_means_the_same() {
    let mut builder = mesh();
    builder.apply(private_rule());
    let (generator, published) = (generator(), builder.publish());
    let all = generate(
        &generator,
        &context(&published, "default", 1),
        XdsType::Cluster,
        &[],
    );
    let own = generate(
        &generator,
        &context(&published, "private", 9),
        XdsType::Cluster,
        &[],
    );
    assert!(!Arc::ptr_eq(&all[0], &own[0]));
    let is_shared = |name: &str| {
        let (all, own) = (
            all[0].get(name).expect("planned"),
            own[0].get(name).expect("planned"),
        );
        Arc::ptr_eq(all, own)
    };
    assert!(is_shared("outbound|80||b.default.svc.cluster.local"));
    assert!(!is_shared("outbound|80||a.default.svc.cluster.local"));
}

#[test]
fn p9_4_a_change_of_endpoints_leaves_everything_else_as_it_is() {
    let (generator, mut builder) = (generator(), mesh());
    let before = builder.publish();
    builder.apply(endpoints("a", &[1, 3]));
    let after = builder.publish();
    let eds = ["a", "b"].map(|name| format!("outbound|80||{name}.default.svc.cluster.local"));
    let eds = eds.each_ref().map(String::as_str);
    let get = |published, xds_type, names: &[&str]| {
        generate(&generator, &context(published, "default", 1), xds_type, names)
    };
    for (xds_type, names) in [
        (XdsType::Cluster, &NO_NAMES[..]),
        (XdsType::Listener, &[]),
        (XdsType::Route, &["80"]),
    ] {
        let (before, after) = (get(&before, xds_type, names), get(&after, xds_type, names));
        assert!(Arc::ptr_eq(&before[0], &after[0]), "{xds_type}");
    }
    let (before, after) = (
        get(&before, XdsType::Endpoint, &eds),
        get(&after, XdsType::Endpoint, &eds),
    );
    let difference = after[0].difference_from(&before[0]);
    assert_eq!(difference.changed.len(), 1);
    assert_eq!(&*difference.changed[0].name, eds[0]);
    assert!(Arc::ptr_eq(
        before[0].get(eds[1]).expect("asked for"),
        after[0].get(eds[1]).expect("asked for")
    ));
}

#[test]
fn what_nobody_uses_any_more_is_forgotten() {
    let (generator, mut builder) = (generator(), mesh());
    let mut sizes = Vec::new();
    let mut held = Vec::new();
    for round in 0..20u8 {
        builder.apply(endpoints("a", &[round]));
        builder.apply(Change::Mesh(Box::new(MeshConfig {
            root_namespace: format!("root-{round}"),
            ..MeshConfig::default()
        })));
        let published = builder.publish();
        let context = context(&published, "default", 1);
        held = XdsType::ALL
            .into_iter()
            .flat_map(|xds_type| {
                let names: &[&str] = match xds_type {
                    XdsType::Endpoint => &["outbound|80||a.default.svc.cluster.local"],
                    XdsType::Route => &["80"],
                    XdsType::Cluster | XdsType::Listener => &[],
                };
                generate(&generator, &context, xds_type, names)
            })
            .collect();
        generator.sweep(published.generation);
        sizes.push(generator.cache_sizes().into_values().sum::<usize>());
    }
    assert_eq!(sizes[5], sizes[19], "{sizes:?}");
    assert!(!held.is_empty());
}

#[test]
fn the_parts_of_a_route_are_kept_as_long_as_the_route() {
    let (generator, mut builder) = (generator(), mesh());
    let published = builder.publish();
    let routes = generate(
        &generator,
        &context(&published, "default", 1),
        XdsType::Route,
        &["80"],
    );
    let parts = generator.cache_sizes()["virtual_hosts"];
    assert!(parts > 1, "{parts}");
    for round in 0..5 {
        builder.apply(endpoints("a", &[round]));
        generator.sweep(builder.publish().generation);
    }
    assert_eq!(generator.cache_sizes()["virtual_hosts"], parts);
    drop(routes);
}

#[test]
fn a_proxy_that_no_registry_knows_is_what_it_says() {
    let published = mesh().publish();
    let context = context(&published, "elsewhere", 77);
    assert_eq!(&*context.workload.namespace, "elsewhere");
    assert!(context.workload.instances.is_empty());
    let generator = generator();
    let inbound = &generate(&generator, &context, XdsType::Cluster, &[])[1];
    assert!(inbound.items().is_empty());
}

#[test]
fn p9_4_an_endpoint_change_builds_the_assignments_of_its_host_alone() {
    let mut builder = mesh();
    let generator = generator();
    let eds = [
        "outbound|80||a.default.svc.cluster.local",
        "outbound|80||b.default.svc.cluster.local",
    ];
    let assignments = |generator: &Generator, published: &Published| {
        generate(
            generator,
            &context(published, "default", 1),
            XdsType::Endpoint,
            &eds,
        )
    };
    let first = assignments(&generator, &builder.publish());
    let built = generator.cache_sizes()["endpoints"];

    builder.apply(endpoints("b", &[2, 3]));
    let published = builder.publish();
    let second = assignments(&generator, &published);
    assert_eq!(generator.cache_sizes()["endpoints"], built + 1);
    assert!(Arc::ptr_eq(&first[0].items()[0], &second[0].items()[0]));
    let difference = second[0].difference_from(&first[0]);
    assert_eq!(difference.changed.len(), 1);
    assert_eq!(&*difference.changed[0].name, eds[1]);
    assert!(difference.removed.is_empty());

    // What the proxy does not ask for is no change at all.
    builder.apply(endpoints("c", &[7]));
    let third = assignments(&generator, &builder.publish());
    assert!(Arc::ptr_eq(&second[0], &third[0]));

    // A stream that is two publications behind.
    let late = assignments(&generator, &published);
    assert!(late[0].is_same(&second[0]));
}

#[test]
fn what_is_made_from_the_former_set_is_what_would_have_been_made_anew() {
    let mut builder = mesh();
    let (incremental, eds) = (
        generator(),
        [
            "outbound|80||a.default.svc.cluster.local",
            "outbound|80||b.default.svc.cluster.local",
            "outbound|80||c.default.svc.cluster.local",
        ],
    );
    let changes = [
        vec![endpoints("a", &[])],
        vec![service("c"), endpoints("c", &[4])],
        vec![endpoints("c", &[4, 5])],
        vec![Change::ServiceGone(ServiceId {
            namespace: "default".into(),
            name: "b".into(),
            host: host("b"),
            index: 0,
            registry: "Kubernetes".into(),
        })],
        vec![Change::Endpoints {
            registry: "Kubernetes".into(),
            host: host("a"),
            endpoints: None,
        }],
        vec![private_rule()],
        vec![endpoints("a", &[1]), endpoints("b", &[2])],
        vec![service("b"), endpoints("c", &[6])],
    ];
    for changes in changes {
        changes.into_iter().for_each(|change| builder.apply(change));
        let published = builder.publish();
        let context = context(&published, "default", 1);
        let anew = generate(&generator(), &context, XdsType::Endpoint, &eds);
        let set = generate(&incremental, &context, XdsType::Endpoint, &eds);
        assert!(set[0].is_same(&anew[0]), "{:?}", published.changes);
        incremental.sweep(published.generation);
    }
}
