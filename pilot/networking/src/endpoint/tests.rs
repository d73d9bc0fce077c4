use mesh_api::envoy::config::core::v3::address;
use mesh_api::envoy::config::endpoint::v3::lb_endpoint;
use pilot_model::{Endpoint, EndpointAddress, Locality, ProxyType, Resolution};

use super::*;
use crate::fixture::{Mesh, endpoint, rule, service, subset};

mod balance;
mod horizon;

const FORECAST: &str = "forecast.default.svc.cluster.local";

/// What a load assignment holds: locality, its weight, and `address` or `address=weight` where that is not 1.
fn content(assignment: &ClusterLoadAssignment) -> Vec<(String, u32, Vec<String>)> {
    assignment
        .endpoints
        .iter()
        .map(|group| {
            let locality = group.locality.as_ref().map_or_else(String::new, |locality| {
                format!("{}/{}/{}", locality.region, locality.zone, locality.sub_zone)
            });
            let members = group.lb_endpoints.iter().map(|member| {
                let Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)) = &member.host_identifier else {
                    panic!("not an endpoint");
                };
                let address = match endpoint
                    .address
                    .as_ref()
                    .and_then(|address| address.address.as_ref())
                {
                    Some(address::Address::SocketAddress(socket)) => socket.address.clone(),
                    Some(address::Address::Pipe(pipe)) => pipe.path.clone(),
                    _ => panic!("no address"),
                };
                match member.load_balancing_weight {
                    Some(1) => address,
                    weight => format!("{address}={}", weight.unwrap_or_default()),
                }
            });
            (
                locality,
                group.load_balancing_weight.unwrap_or_default(),
                members.collect(),
            )
        })
        .collect()
}

fn group(locality: &str, weight: u32, members: &[&str]) -> (String, u32, Vec<String>) {
    (
        locality.to_owned(),
        weight,
        members.iter().map(|member| (*member).to_owned()).collect(),
    )
}

fn build_all(endpoints: &[Endpoint]) -> ClusterLoadAssignment {
    resolved("x", endpoints.iter(), None)
}

fn sidecar() -> Vantage {
    Vantage::of_role(ProxyType::Sidecar)
}

fn weighted(address: &str, weight: u32) -> Endpoint {
    Endpoint {
        weight,
        ..endpoint(address, "http", "v1")
    }
}

fn in_locality(address: &str, locality: &str) -> Endpoint {
    Endpoint {
        locality: Locality::parse(locality),
        ..endpoint(address, "http", "v1")
    }
}

#[test]
fn p10_2_port_name_and_labels_select() {
    let mut rule = rule("forecast");
    rule.subsets = vec![
        subset("v1", &[("version", "v1")]),
        subset("v9", &[("version", "v9")]),
        subset("all", &[]),
    ];
    let mesh = Mesh::new()
        .service(service(
            "forecast",
            "10.96.0.1",
            &[("http", 80), ("http-admin", 81)],
        ))
        .rule("default", "forecast", rule)
        .endpoints(
            "a",
            FORECAST,
            vec![
                endpoint("10.1.0.2:8080", "http", "v1"),
                endpoint("10.1.0.1:8080", "http", "v2"),
                endpoint("10.1.0.1:8080", "http-admin", "v2"),
            ],
        )
        .endpoints(
            "b",
            FORECAST,
            vec![
                endpoint("10.1.0.3:8080", "http", "v1"),
                endpoint("10.1.0.2:8080", "http", "v1"),
            ],
        );
    let (view, index) = mesh.view_and_endpoints("default");

    for (cluster, expected) in [
        (
            "outbound|80||forecast.default.svc.cluster.local",
            &["10.1.0.1", "10.1.0.2", "10.1.0.3"][..],
        ),
        ("outbound|81||forecast.default.svc.cluster.local", &["10.1.0.1"]),
        (
            "outbound|80|v1|forecast.default.svc.cluster.local",
            &["10.1.0.2", "10.1.0.3"],
        ),
        (
            "outbound|80|all|forecast.default.svc.cluster.local",
            &["10.1.0.1", "10.1.0.2", "10.1.0.3"],
        ),
        (
            "outbound_.80_.v1_.forecast.default.svc.cluster.local",
            &["10.1.0.2", "10.1.0.3"],
        ),
        ("outbound|80|v9|forecast.default.svc.cluster.local", &[]),
        ("outbound|80|undeclared|forecast.default.svc.cluster.local", &[]),
        ("outbound|82||forecast.default.svc.cluster.local", &[]),
        ("outbound|80||other.default.svc.cluster.local", &[]),
        ("inbound|80|http|forecast.default.svc.cluster.local", &[]),
        ("", &[]),
    ] {
        let key = key(&view, &index, &cluster.into(), &sidecar());
        let built = Endpoints::build(&key).message;
        assert_eq!(built.cluster_name, cluster);
        let members: Vec<_> = content(&built)
            .into_iter()
            .flat_map(|(_, _, members)| members)
            .collect();
        assert_eq!(members, expected, "{cluster}");
    }
}

#[test]
fn a_service_whose_clusters_do_not_use_eds_has_no_load_assignment() {
    for resolution in [Resolution::Dns, Resolution::Passthrough] {
        let mut forecast = service("forecast", "10.96.0.1", &[("http", 80)]);
        forecast.resolution = resolution;
        let mesh = Mesh::new().service(forecast).endpoints(
            "a",
            FORECAST,
            vec![endpoint("10.1.0.1:1", "http", "v1")],
        );
        let (view, index) = mesh.view_and_endpoints("default");
        assert_eq!(
            key(
                &view,
                &index,
                &format!("outbound|80||{FORECAST}").into(),
                &sidecar()
            )
            .selection,
            None
        );
    }
}

#[test]
fn the_key_changes_with_the_endpoints_of_its_host_only() {
    let mesh = |address: &str| {
        Mesh::new()
            .service(service("forecast", "10.96.0.1", &[("http", 80)]))
            .service(service("other", "10.96.0.2", &[("http", 80)]))
            .endpoints("a", FORECAST, vec![endpoint("10.1.0.1:1", "http", "v1")])
            .endpoints(
                "a",
                "other.default.svc.cluster.local",
                vec![endpoint(address, "http", "v1")],
            )
            .view_and_endpoints("default")
    };
    let cluster = format!("outbound|80||{FORECAST}").into();
    let (view, index) = mesh("10.1.0.2:1");
    let (other_view, other_index) = mesh("10.1.0.3:1");
    assert_eq!(
        key(&view, &index, &cluster, &sidecar()),
        key(&other_view, &other_index, &cluster, &sidecar())
    );
}

/// `P10.1`.
#[test]
fn p10_3_groups_are_sorted_and_weigh_the_sum_of_their_members() {
    let assignment = build_all(&[
        in_locality("10.1.0.3:1", "us/b/"),
        Endpoint {
            weight: 4,
            ..in_locality("10.1.0.2:1", "us/a/")
        },
        in_locality("10.1.0.1:1", "us/b/"),
        weighted("10.1.0.9:1", 0),
    ]);
    assert_eq!(
        content(&assignment),
        [
            group("", 1, &["10.1.0.9"]),
            group("us/a/", 4, &["10.1.0.2=4"]),
            group("us/b/", 2, &["10.1.0.1", "10.1.0.3"]),
        ]
    );
}

#[test]
fn p10_3_weights_over_128_are_rescaled_on_their_level() {
    // 200 of 300 and 100 of 300 parts of 128, rounded up.
    let assignment = build_all(&[weighted("10.1.0.1:1", 200), weighted("10.1.0.2:1", 100)]);
    assert_eq!(
        content(&assignment),
        [group("", 128, &["10.1.0.1=86", "10.1.0.2=43"])]
    );

    let many = (0..=255).map(|last| endpoint(&format!("10.1.1.{last}:1"), "http", "v1"));
    let many: Vec<Endpoint> = many.chain([in_locality("10.2.0.1:1", "us")]).collect();
    let assignment = build_all(&many);
    let weights: Vec<_> = content(&assignment)
        .into_iter()
        .map(|(_, weight, _)| weight)
        .collect();
    assert_eq!(weights, [128, 1]);

    let huge = build_all(&[weighted("10.1.0.1:1", u32::MAX), weighted("10.1.0.2:1", u32::MAX)]);
    assert_eq!(content(&huge), [group("", 128, &["10.1.0.1=64", "10.1.0.2=64"])]);
}

#[test]
fn envoy_is_not_given_addresses_that_it_rejects() {
    let dns = Endpoint {
        address: EndpointAddress::Dns("b.example.com".into(), 80),
        ..endpoint("10.1.0.1:1", "http", "v1")
    };
    let unix = Endpoint {
        address: EndpointAddress::Unix("/run/x".into()),
        ..dns.clone()
    };
    let all = vec![dns, unix];
    assert_eq!(content(&build_all(&all)), [group("", 1, &["b.example.com"])]);
    let mesh = Mesh::new()
        .service(service("forecast", "10.96.0.1", &[("http", 80)]))
        .endpoints("a", FORECAST, all);
    let (view, index) = mesh.view_and_endpoints("default");
    let key = key(
        &view,
        &index,
        &format!("outbound|80||{FORECAST}").into(),
        &sidecar(),
    );
    let served = Endpoints::build(&key).message;
    assert_eq!(content(&served), [group("", 1, &["/run/x"])]);
}

#[test]
fn p3_2_metadata_names_workload_and_network_where_known() {
    let known = Endpoint {
        uid: "kubernetes://forecast-v1-0.default".into(),
        network: "n1".into(),
        ..endpoint("10.1.0.1:1", "http", "v1")
    };
    let assignment = build_all(&[known, endpoint("10.1.0.2:1", "http", "v1")]);
    let metadata: Vec<_> = assignment.endpoints[0]
        .lb_endpoints
        .iter()
        .map(|member| &member.metadata)
        .collect();
    let fields = &metadata[0].as_ref().expect("metadata").filter_metadata["istio"].fields;
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["network", "uid"]);
    assert_eq!(metadata[1], &None);
}
