//! Split horizon (P10.5).

use std::collections::BTreeMap;

use mesh_api::istio::mesh::v1alpha1::network::istio_network_gateway::Gw;
use mesh_api::istio::mesh::v1alpha1::network::network_endpoints::Ne;
use mesh_api::istio::mesh::v1alpha1::network::{IstioNetworkGateway, NetworkEndpoints};
use mesh_api::istio::mesh::v1alpha1::{MeshNetworks, Network};
use pilot_model::{Change, InterceptionMode, Networks, Workload};

use super::*;
use crate::Features;
use crate::fixture::proxy;

/// Networks by name with the addresses of their gateways, and what they span.
fn networks(networks: &[(&str, &[&str], Option<Ne>)]) -> Change {
    let network = |gateways: &[&str], ne: &Option<Ne>| Network {
        endpoints: ne
            .iter()
            .map(|ne| NetworkEndpoints { ne: Some(ne.clone()) })
            .collect(),
        gateways: gateways
            .iter()
            .map(|address| IstioNetworkGateway {
                gw: Some(Gw::Address((*address).to_owned())),
                port: 443,
                ..IstioNetworkGateway::default()
            })
            .collect(),
    };
    let networks = networks
        .iter()
        .map(|(name, gateways, ne)| ((*name).to_owned(), network(gateways, ne)));
    let networks = MeshNetworks {
        networks: networks.collect(),
    };
    Change::Networks(Box::new(Networks::new(&networks, &BTreeMap::new())))
}

fn within(network: &str, address: &str) -> Endpoint {
    Endpoint {
        network: network.into(),
        ..endpoint(&format!("{address}:8080"), "http", "v1")
    }
}

/// What a proxy in a network gets; empty is the default network.
fn seen_from(network: &str, change: Change, endpoints: Vec<Endpoint>) -> Vec<(String, u32, Vec<String>)> {
    let mesh = Mesh::new()
        .change(change)
        .service(service("forecast", "10.96.0.1", &[("http", 80)]))
        .endpoints("Kubernetes", FORECAST, endpoints);
    let (view, index) = mesh.view_and_endpoints("default");
    let mut proxy = proxy(InterceptionMode::Redirect);
    if !network.is_empty() {
        proxy.metadata.insert("NETWORK".into(), network.into());
    }
    let vantage = Vantage::new(&view, &proxy, &Workload::default(), &Features::default());
    let key = key(
        &view,
        &index,
        &format!("outbound|80||{FORECAST}").into(),
        &vantage,
    );
    content(&Endpoints::build(&key).message)
}

#[test]
fn p10_5_remote_endpoints_are_reached_through_the_gateways_of_their_network() {
    let configured = || {
        networks(&[
            ("n1", &["1.1.1.1"], None),
            ("n2", &["2.2.2.2"], None),
            ("n3", &[], None),
            ("n4", &[], None),
        ])
    };
    let endpoints = || {
        vec![
            within("n1", "10.0.0.1"),
            within("n1", "10.0.0.2"),
            within("n2", "20.0.0.1"),
            within("n4", "40.0.0.1"),
        ]
    };
    for (network, weight, expected) in [
        ("n1", 3, &["10.0.0.1", "10.0.0.2", "2.2.2.2"][..]),
        ("n2", 3, &["20.0.0.1", "1.1.1.1=2"]),
        ("n3", 3, &["1.1.1.1=2", "2.2.2.2"]),
        ("n4", 4, &["40.0.0.1", "1.1.1.1=2", "2.2.2.2"]),
        ("unknown", 3, &["1.1.1.1=2", "2.2.2.2"]),
        ("", 3, &["1.1.1.1=2", "2.2.2.2"]),
    ] {
        assert_eq!(
            seen_from(network, configured(), endpoints()),
            [group("", weight, expected)],
            "{network:?}"
        );
    }
}

/// One instance in n1, two in n2, three in n3 behind two gateways, four in n4 without one: every instance that can be
/// reached gets the same share.
#[test]
fn p10_5_the_gateways_of_a_network_share_its_load() {
    let configured = || {
        networks(&[
            ("n1", &["159.122.219.1"], None),
            ("n2", &["179.114.119.2"], None),
            ("n3", &["179.114.119.3", "179.114.119.4"], None),
            ("n4", &[], None),
        ])
    };
    let endpoints = || {
        let mut endpoints = vec![within("n1", "10.0.0.1")];
        endpoints.extend((1..=2).map(|last| within("n2", &format!("20.0.0.{last}"))));
        endpoints.extend((1..=3).map(|last| within("n3", &format!("30.0.0.{last}"))));
        endpoints.extend((1..=4).map(|last| within("n4", &format!("40.0.0.{last}"))));
        endpoints
    };
    assert_eq!(
        seen_from("n1", configured(), endpoints()),
        [group(
            "",
            12,
            &[
                "10.0.0.1=2",
                "179.114.119.2=4",
                "179.114.119.3=3",
                "179.114.119.4=3"
            ]
        )]
    );
    assert_eq!(
        seen_from("n3", configured(), endpoints()),
        [group(
            "",
            12,
            &[
                "30.0.0.1=2",
                "30.0.0.2=2",
                "30.0.0.3=2",
                "159.122.219.1=2",
                "179.114.119.2=4"
            ]
        )]
    );
}

#[test]
fn p10_5_locality_and_weights_are_kept() {
    let configured = networks(&[("n2", &["2.2.2.2"], None)]);
    let endpoints = vec![
        Endpoint {
            weight: 3,
            locality: Locality::parse("us/a"),
            ..within("", "10.0.0.1")
        },
        Endpoint {
            weight: 400,
            locality: Locality::parse("us/b"),
            ..within("n2", "20.0.0.1")
        },
        Endpoint {
            locality: Locality::parse("eu/a"),
            ..within("unknown", "30.0.0.1")
        },
    ];
    assert_eq!(
        seen_from("", configured, endpoints),
        [
            group("us/a/", 3, &["10.0.0.1=3"]),
            group("us/b/", 400, &["2.2.2.2=400"])
        ]
    );
}

#[test]
fn p4_2_an_endpoint_that_names_no_network_is_in_that_of_its_registry_or_range() {
    let endpoints = || {
        vec![
            within("", "10.0.0.1"),
            within("", "20.0.0.1"),
            within("n1", "20.0.0.2"),
        ]
    };
    let by_range = networks(&[
        ("n1", &["1.1.1.1"], Some(Ne::FromCidr("10.0.0.0/8".to_owned()))),
        ("n2", &["2.2.2.2"], Some(Ne::FromCidr("20.0.0.0/8".to_owned()))),
    ]);
    assert_eq!(
        seen_from("n1", by_range, endpoints()),
        [group("", 3, &["10.0.0.1", "20.0.0.2", "2.2.2.2"])]
    );
    let by_registry = networks(&[
        ("n1", &["1.1.1.1"], Some(Ne::FromCidr("10.0.0.0/8".to_owned()))),
        (
            "n2",
            &["2.2.2.2"],
            Some(Ne::FromRegistry("Kubernetes".to_owned())),
        ),
    ]);
    assert_eq!(
        seen_from("n2", by_registry, endpoints()),
        [group("", 3, &["10.0.0.1", "20.0.0.1", "1.1.1.1"])]
    );
}

#[test]
fn p10_5_weights_that_envoy_could_not_add_up_are_scaled() {
    let configured = networks(&[("n2", &["2.2.2.2"], None)]);
    let huge = |network, address| Endpoint {
        weight: u32::MAX,
        ..within(network, address)
    };
    let endpoints = vec![
        huge("", "10.0.0.1"),
        huge("", "10.0.0.2"),
        huge("n2", "20.0.0.1"),
        within("", "10.0.0.3"),
    ];
    let groups = seen_from("", configured, endpoints);
    let third = (1 << 30) / 3;
    assert_eq!(
        groups,
        [group(
            "",
            3 * third + 1,
            &[
                format!("10.0.0.1={third}").as_str(),
                &format!("10.0.0.2={third}"),
                "10.0.0.3",
                &format!("2.2.2.2={third}")
            ]
        )]
    );
}
