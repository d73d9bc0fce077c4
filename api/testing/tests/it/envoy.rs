//! What Envoy accepts, by Envoy itself.

use mesh_api::Any;
use mesh_api::envoy::config::cluster::v3::Cluster;
use mesh_api::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use mesh_api::envoy::config::core::v3::address::Address as Place;
use mesh_api::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use mesh_api::envoy::config::core::v3::socket_address::PortSpecifier;
use mesh_api::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, SocketAddress,
};
use mesh_api::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mesh_api::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use mesh_api::envoy::config::listener::v3::filter::ConfigType;
use mesh_api::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use mesh_api::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use mesh_api::envoy::extensions::filters::http::router::v3::Router;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_filter,
};
use mesh_testing::envoy::{AssembleError, assemble};
use mesh_testing::envoys;

fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())),
        ..ConfigSource::default()
    })
}

fn eds(name: &str) -> Any {
    Any::pack(&Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: ads(),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    })
}

fn address(ip: &str, port: u32) -> Option<Address> {
    let port = Some(PortSpecifier::PortValue(port));
    let place = SocketAddress {
        address: ip.to_owned(),
        port_specifier: port,
        ..SocketAddress::default()
    };
    Some(Address {
        address: Some(Place::SocketAddress(place)),
    })
}

fn endpoints(cluster: &str, ip: &str) -> Any {
    let endpoint = Endpoint {
        address: address(ip, 80),
        ..Endpoint::default()
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
        ..LbEndpoint::default()
    };
    let locality = LocalityLbEndpoints {
        lb_endpoints: vec![endpoint],
        ..LocalityLbEndpoints::default()
    };
    Any::pack(&ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![locality],
        ..ClusterLoadAssignment::default()
    })
}

/// A listener that asks for the route configuration `80`.
fn listener(name: &str, port: u32) -> Any {
    let router = HttpFilter {
        name: "router".to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(
            Any::pack(&Router::default()),
        )),
        ..HttpFilter::default()
    };
    let manager = HttpConnectionManager {
        stat_prefix: "x".to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            route_config_name: "80".to_owned(),
            config_source: ads(),
        })),
        http_filters: vec![router],
        ..HttpConnectionManager::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(&manager))),
    };
    Any::pack(&Listener {
        name: name.to_owned(),
        address: address("0.0.0.0", port),
        filter_chains: vec![FilterChain {
            filters: vec![filter],
            ..FilterChain::default()
        }],
        ..Listener::default()
    })
}

fn routes(name: &str, domains: &[&str]) -> Any {
    let host = VirtualHost {
        name: "a".to_owned(),
        domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
        ..VirtualHost::default()
    };
    Any::pack(&RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    })
}

#[test]
fn resources_become_static_and_what_is_missing_stays_dynamic() {
    let all = [
        eds("a"),
        eds("b"),
        endpoints("a", "10.0.0.1"),
        listener("l", 80),
        routes("80", &["a.com"]),
        routes("81", &["*"]),
    ];
    let bootstrap = assemble(&all).unwrap();
    let clusters = bootstrap["staticResources"]["clusters"].as_array().unwrap();
    let cluster = |name: &str| clusters.iter().find(|cluster| cluster["name"] == name).unwrap();
    assert_eq!(cluster("a")["type"], "STATIC");
    assert_eq!(cluster("a")["loadAssignment"]["clusterName"], "a");
    assert_eq!(cluster("b")["type"], "EDS");
    let listeners = bootstrap["staticResources"]["listeners"].as_array().unwrap();
    let manager = |listener: usize| &listeners[listener]["filterChains"][0]["filters"][0]["typedConfig"];
    assert_eq!(listeners[0]["name"], "judge of 81");
    assert_eq!(manager(0)["routeConfig"]["name"], "81");
    assert_eq!(manager(1)["routeConfig"]["name"], "80");
    assert!(manager(1).get("rds").is_none());

    assert!(matches!(
        assemble(&[eds("a"), eds("a")]),
        Err(AssembleError::Duplicate { .. })
    ));
    assert!(matches!(
        assemble(&[Any {
            type_url: "x/y".to_owned(),
            value: Default::default()
        }]),
        Err(AssembleError::Type(_))
    ));
}

#[test]
fn every_envoy_accepts_what_is_right_and_says_what_is_wrong() {
    for envoy in envoys() {
        let right = [
            eds("a"),
            endpoints("a", "10.0.0.1"),
            endpoints("b", "10.0.0.2"),
            listener("l", 80),
            routes("80", &["a.com"]),
        ];
        assert_eq!(envoy.validate(&assemble(&right).unwrap()), Ok(()));
        for (wrong, reason) in [
            (vec![endpoints("a", "host")], "malformed IP address: host"),
            (vec![routes("80", &[])], "Domains"),
            (
                vec![listener("l", 80), routes("80", &["a", "a"])],
                "Duplicate entry of domain a",
            ),
        ] {
            let rejected = envoy.validate(&assemble(&wrong).unwrap()).unwrap_err();
            assert!(rejected.reason.contains(reason), "{rejected}");
        }
    }
}

#[test]
fn many_cases_are_judged_together_and_named_alone() {
    for envoy in envoys() {
        let case = |name: &str, resources: Vec<Any>| (name.to_owned(), resources);
        let cases = [
            case(
                "one",
                vec![
                    eds("a"),
                    endpoints("a", "10.0.0.1"),
                    listener("l", 80),
                    routes("80", &["a.com"]),
                ],
            ),
            // The same names with other content, and the same address under another name.
            case("two", vec![eds("a"), endpoints("a", "10.0.0.2")]),
            case("three", vec![listener("m", 80), routes("80", &["b.com"])]),
            case("bad", vec![eds("c"), endpoints("c", "nowhere")]),
            case("broken", vec![eds("a"), eds("a")]),
        ];
        let rejected = envoy.validate_all(&cases);
        let names: Vec<&str> = rejected.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["broken", "bad"]);
        assert!(
            rejected[1]
                .1
                .to_string()
                .starts_with(&format!("envoy {}: malformed IP address", envoy.version))
        );
    }
}
