//! What proxies of several clusters see (P2.1, P4.1, T4).

use super::mesh::*;
use crate::{Published, Service, ServiceAddress, ServiceId, Workload};

fn in_cluster(registry: &str, name: &str, ip: &str) -> Service {
    let service = service("weather", name, 1);
    Service {
        id: ServiceId {
            registry: registry.into(),
            ..service.id
        },
        address: ServiceAddress::Ip(address(ip)),
        ..service
    }
}

fn published(services: impl IntoIterator<Item = Service>) -> Published {
    let mut builder = builder();
    apply(&mut builder, services.into_iter().map(added));
    builder.publish()
}

/// The services that a proxy of a cluster sees, each with its address.
fn seen(published: &Published, cluster: &str) -> Vec<String> {
    let workload = Workload {
        cluster: cluster.into(),
        ..Workload::default()
    };
    let view = published.snapshot.view_of(&proxy("weather"), &workload);
    let mut seen: Vec<_> = view
        .services()
        .map(|service| format!("{} {}", service.id.name, service.address.ip().unwrap()))
        .collect();
    seen.sort();
    seen
}

#[test]
fn t4_a_service_of_several_clusters_has_the_address_of_the_proxys_own() {
    let published = published([
        in_cluster("Kubernetes", "forecast", "10.0.0.1"),
        in_cluster("east", "forecast", "10.9.0.1"),
        // The same address is another service's elsewhere.
        in_cluster("east", "shop", "10.0.0.1"),
        in_cluster("west", "shop", "10.8.0.1"),
        in_cluster("ServiceEntry", "forecast", "192.0.2.1"),
        in_cluster("Consul", "forecast", "192.0.2.2"),
    ]);
    let others = ["forecast 192.0.2.1", "forecast 192.0.2.2"];
    for (cluster, own) in [
        ("Kubernetes", ["forecast 10.0.0.1", "shop 10.0.0.1"]),
        ("east", ["forecast 10.9.0.1", "shop 10.0.0.1"]),
        ("west", ["forecast 10.0.0.1", "shop 10.8.0.1"]),
        ("unknown", ["forecast 10.0.0.1", "shop 10.0.0.1"]),
    ] {
        let mut expected = [&own[..], &others].concat();
        expected.sort_unstable();
        assert_eq!(seen(&published, cluster), expected, "{cluster}");
    }
}

#[test]
fn p2_1_what_a_proxy_says_of_its_cluster_counts_first() {
    let published = published([
        in_cluster("Kubernetes", "forecast", "10.0.0.1"),
        in_cluster("east", "forecast", "10.9.0.1"),
    ]);
    let mut proxy = proxy("weather");
    proxy.metadata.insert("CLUSTER_ID".into(), "east".into());
    let workload = Workload {
        cluster: "Kubernetes".into(),
        ..Workload::default()
    };
    let view = published.snapshot.view_of(&proxy, &workload);
    let addresses: Vec<_> = view.services().map(|service| service.address).collect();
    assert_eq!(addresses, [ServiceAddress::Ip(address("10.9.0.1"))]);
}

#[test]
fn p4_1_views_of_a_cluster_are_shared_and_change_with_its_services_only() {
    let mut builder = builder();
    let services = [
        in_cluster("Kubernetes", "forecast", "10.0.0.1"),
        in_cluster("east", "forecast", "10.9.0.1"),
    ];
    apply(&mut builder, services.map(added));
    let first = builder.publish();
    let rev = |published: &Published, cluster: &str| {
        let workload = Workload {
            cluster: cluster.into(),
            ..Workload::default()
        };
        let view = published.snapshot.view_of(&proxy("weather"), &workload);
        view.revs().services
    };
    assert_ne!(rev(&first, "Kubernetes"), rev(&first, "east"));
    assert_eq!(rev(&first, "Kubernetes"), rev(&first, "unknown"));
    builder.apply(virtual_service("weather", "forecast", &["forecast"], &[], ""));
    let second = builder.publish();
    assert_eq!(rev(&first, "east"), rev(&second, "east"));
    builder.apply(added(in_cluster("east", "forecast", "10.9.0.2")));
    let third = builder.publish();
    assert_ne!(rev(&second, "east"), rev(&third, "east"));

    // With one cluster everybody sees the same.
    let one = published([in_cluster("east", "forecast", "10.9.0.1")]);
    assert_eq!(rev(&one, "east"), rev(&one, "unknown"));
}
