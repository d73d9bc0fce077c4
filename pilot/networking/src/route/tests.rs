//! Which proxies share routes, and what changes them. What routes say is the business of the cases in `testdata`.

use mesh_api::istio::networking::v1alpha3::load_balancer_settings::consistent_hash_lb::HashKey;
use mesh_api::istio::networking::v1alpha3::load_balancer_settings::{ConsistentHashLb, LbPolicy, SimpleLb};
use mesh_api::istio::networking::v1alpha3::{
    Destination, DestinationRule, Gateway, HttpMatchRequest, HttpRoute, HttpRouteDestination,
    LoadBalancerSettings, Port, Server, TrafficPolicy, VirtualService,
};
use mesh_config::Host;
use pilot_model::{InterceptionMode, ProxyType, Service};

use super::*;
use crate::fixture::{Mesh, proxy, rule, service, workload};

/// The service `name` in another namespace than the fixture's.
fn foreign(name: &str, namespace: &str, ports: &[(&str, u16)]) -> Service {
    let mut service = service(name, "10.96.0.9", ports);
    service.id.namespace = namespace.into();
    service.id.host = Host::from(format!("{name}.{namespace}.svc.cluster.local"));
    service
}

fn sidecar(namespace: &str) -> Proxy {
    Proxy {
        namespace: namespace.into(),
        domain: format!("{namespace}.svc.cluster.local").into(),
        ..proxy(InterceptionMode::Redirect)
    }
}

fn labelled(app: &str, version: &str) -> Workload {
    Workload {
        labels: [("app", app), ("version", version)].into_iter().collect(),
        ..workload(&[])
    }
}

fn to(host: &str) -> HttpRoute {
    let destination = Destination {
        host: host.to_owned(),
        ..Destination::default()
    };
    HttpRoute {
        route: vec![HttpRouteDestination {
            destination: Some(destination),
            ..HttpRouteDestination::default()
        }],
        ..HttpRoute::default()
    }
}

fn rules(host: &str, http: Vec<HttpRoute>) -> VirtualService {
    VirtualService {
        hosts: vec![host.to_owned()],
        http,
        ..VirtualService::default()
    }
}

fn routes(mesh: Mesh, proxy: &Proxy, workload: &Workload) -> RoutePlan {
    plan(
        &mesh.view(&proxy.namespace),
        proxy,
        workload,
        &Features::default(),
        &"80".into(),
    )
}

fn find<'a>(plan: &'a RoutePlan, name: &str) -> &'a VirtualHostKey {
    let found = plan
        .key
        .virtual_hosts
        .iter()
        .find(|key| VirtualHosts::name(key) == name);
    found.unwrap_or_else(|| panic!("no virtual host {name}"))
}

#[test]
fn names_that_are_not_the_proxys_get_an_empty_configuration() {
    let mesh = || Mesh::new().service(service("web", "10.96.0.1", &[("http", 80), ("tcp", 90)]));
    let router = Proxy {
        proxy_type: ProxyType::Router,
        ..sidecar("default")
    };
    for (proxy, name) in [
        (sidecar("default"), "81"),
        (sidecar("default"), "90"),
        (sidecar("default"), "0"),
        (sidecar("default"), "80x"),
        (sidecar("default"), ""),
        (sidecar("default"), "http.80"),
        (router.clone(), "80"),
        (router.clone(), "http.80"),
        (router, "http_proxy"),
    ] {
        let view = mesh().view("default");
        let plan = plan(
            &view,
            &proxy,
            &workload(&[]),
            &Features {
                fallthrough_route: true,
                ..Features::default()
            },
            &name.into(),
        );
        let names: Vec<_> = plan.key.virtual_hosts.iter().map(VirtualHosts::name).collect();
        // A port without services may have a listener for other reasons; its unknown hosts follow the policy.
        assert!(names.is_empty() || names == ["allow_any"], "{name}: {names:?}");
        assert_eq!(*plan.key.name, *name);
    }
}

#[test]
fn proxies_of_other_namespaces_share_the_virtual_host_of_a_service() {
    let mesh = || {
        Mesh::new()
            .service(foreign("web", "shop", &[("http", 80)]))
            .virtual_service("shop", "web", rules("web", vec![to("web")]))
            .service(foreign("api", "shop", &[("http", 80)]))
    };
    let [one, other, own] =
        ["one", "other", "shop"].map(|name| routes(mesh(), &sidecar(name), &workload(&[])));
    assert_eq!(one.key, other.key);
    for name in ["web.shop.svc.cluster.local:80", "api.shop.svc.cluster.local:80"] {
        assert_eq!(find(&one, name), find(&other, name));
        // Inside its namespace it has one name more.
        assert_ne!(find(&one, name), find(&own, name));
        let domains = |plan| VirtualHosts::build(find(plan, name)).message.domains;
        assert_eq!(domains(&own).len(), domains(&one).len() + 2);
    }
}

#[test]
fn r_vs_5_only_labels_that_rules_ask_for_tell_proxies_apart() {
    let condition = HttpMatchRequest {
        source_labels: [("version".to_owned(), "v2".to_owned())].into(),
        ..HttpMatchRequest::default()
    };
    let route = HttpRoute {
        r#match: vec![condition],
        ..to("web")
    };
    let view = Mesh::new()
        .service(service("web", "10.96.0.1", &[("http", 80)]))
        .virtual_service("default", "web", rules("web", vec![route]))
        .view("default");
    let scope =
        |workload: &Workload| RouteScope::new(&view, &sidecar("default"), workload, &Features::default());
    assert_eq!(scope(&labelled("a", "v1")), scope(&labelled("b", "v3")));
    assert_eq!(scope(&labelled("a", "v2")), scope(&labelled("b", "v2")));
    assert_ne!(scope(&labelled("a", "v1")), scope(&labelled("a", "v2")));
}

#[test]
fn routers_that_execute_the_same_gateways_share_everything() {
    let gateway = |app: &str| Gateway {
        selector: [("app".to_owned(), app.to_owned())].into(),
        servers: vec![Server {
            port: Some(Port {
                number: 80,
                protocol: "HTTP".to_owned(),
                name: "http".to_owned(),
            }),
            hosts: vec!["*".to_owned()],
            ..Server::default()
        }],
    };
    let view = Mesh::new()
        .gateway("default", "a", gateway("a"))
        .gateway("default", "b", gateway("b"))
        .view("default");
    let router = Proxy {
        proxy_type: ProxyType::Router,
        ..sidecar("default")
    };
    let scope = |workload: &Workload| RouteScope::new(&view, &router, workload, &Features::default());
    assert_eq!(scope(&labelled("a", "v1")), scope(&labelled("a", "v2")));
    assert_ne!(scope(&labelled("a", "v1")), scope(&labelled("b", "v1")));
}

#[test]
fn a_destination_rule_changes_routes_only_by_its_hash_key() {
    let policy = |policy: LbPolicy| DestinationRule {
        traffic_policy: Some(TrafficPolicy {
            load_balancer: Some(LoadBalancerSettings {
                lb_policy: Some(policy),
            }),
            ..TrafficPolicy::default()
        }),
        ..rule("web")
    };
    let hash = LbPolicy::ConsistentHash(ConsistentHashLb {
        hash_key: Some(HashKey::HttpHeaderName("x-user".to_owned())),
        ..ConsistentHashLb::default()
    });
    let key_under = |rule: Option<DestinationRule>| {
        let mut mesh = Mesh::new().service(service("web", "10.96.0.1", &[("http", 80)]));
        if let Some(rule) = rule {
            mesh = mesh.rule("default", "web", rule);
        }
        routes(mesh, &sidecar("default"), &workload(&[])).key
    };
    let without = key_under(None);
    assert_eq!(
        without,
        key_under(Some(policy(LbPolicy::Simple(SimpleLb::Random.into()))))
    );
    assert_ne!(without, key_under(Some(policy(hash))));
}

#[test]
fn a_virtual_service_changes_only_the_virtual_hosts_that_it_is_about() {
    let mesh = |timeout| {
        let route = HttpRoute {
            timeout: Some(prost_types::Duration {
                seconds: timeout,
                nanos: 0,
            }),
            ..to("web")
        };
        Mesh::new()
            .service(service("api", "10.96.0.2", &[("http", 80)]))
            .service(service("web", "10.96.0.1", &[("http", 80)]))
            .virtual_service("default", "web", rules("web", vec![route]))
    };
    let [before, after] = [1, 2].map(|timeout| routes(mesh(timeout), &sidecar("default"), &workload(&[])));
    let api = "api.default.svc.cluster.local:80";
    assert_eq!(find(&before, api), find(&after, api));
    let built = |plan| VirtualHosts::build(find(plan, "web.default.svc.cluster.local:80")).message;
    assert_ne!(built(&before), built(&after));
}

#[test]
fn rules_are_shared_only_where_their_destinations_mean_the_same() {
    let hash = LbPolicy::ConsistentHash(ConsistentHashLb {
        hash_key: Some(HashKey::HttpHeaderName("x-user".to_owned())),
        ..ConsistentHashLb::default()
    });
    let own_rule = DestinationRule {
        host: "web.shop.svc.cluster.local".to_owned(),
        traffic_policy: Some(TrafficPolicy {
            load_balancer: Some(LoadBalancerSettings {
                lb_policy: Some(hash),
            }),
            ..TrafficPolicy::default()
        }),
        ..DestinationRule::default()
    };
    let published = Mesh::new()
        .service(foreign("web", "shop", &[("http", 80)]))
        .virtual_service("shop", "web", rules("web", vec![to("web")]))
        .rule("own", "web", own_rule)
        .publish();
    let hashes = |namespace: &str| {
        let (view, proxy) = (published.snapshot.view(namespace), sidecar(namespace));
        let plan = plan(&view, &proxy, &workload(&[]), &Features::default(), &"80".into());
        let routes = VirtualHosts::build(find(&plan, "web.shop.svc.cluster.local:80"))
            .message
            .routes;
        match routes[0].action.clone() {
            Some(mesh_api::envoy::config::route::v3::route::Action::Route(action)) => {
                action.hash_policy.len()
            }
            other => panic!("{other:?}"),
        }
    };
    // Whoever comes first, and again.
    assert_eq!(["one", "own", "other", "own", "one"].map(hashes), [0, 1, 0, 1, 0]);
}
