use mesh_api::envoy::config::listener::v3::{Filter as NetworkFilter, FilterChain};
use mesh_api::istio::networking::v1alpha3::EnvoyFilter;
use mesh_api::istio::networking::v1alpha3::envoy_filter::filter::FilterType;
use mesh_api::istio::networking::v1alpha3::envoy_filter::insert_position::Index;
use mesh_api::istio::networking::v1alpha3::envoy_filter::{Filter, InsertPosition, ListenerMatch};
use prost_types::Struct;

use super::*;
use crate::fixture::Mesh;

const ROUTER: &str = "envoy.filters.network.tcp_proxy";

/// A network filter, which needs no configuration, at a position.
fn sni_cluster(index: Index, relative_to: &str) -> Filter {
    Filter {
        insert_position: Some(InsertPosition {
            index: index.into(),
            relative_to: relative_to.to_owned(),
        }),
        filter_type: FilterType::Network.into(),
        filter_name: "envoy.filters.network.sni_cluster".to_owned(),
        filter_config: Some(Struct::default()),
        ..Filter::default()
    }
}

fn on(conditions: ListenerMatch) -> Filter {
    Filter {
        listener_match: Some(conditions),
        ..sni_cluster(Index::First, "")
    }
}

fn selected(filters: Vec<Filter>) -> Selected {
    let spec = EnvoyFilter {
        filters,
        ..EnvoyFilter::default()
    };
    let view = Mesh::new().envoy_filter("default", "a", spec).view("default");
    Selected::new(&view, &Labels::default())
}

const TARGET: Target<'_> = Target {
    listener_type: ListenerType::SidecarOutbound,
    port: 9090,
    port_name: "tcp-Feed",
    address: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 30))),
    chains: Chains::TCP,
};

/// The names in a chain that had `a`, `b`, `a` and what ends it, and how many findings there are.
fn inserted(filters: Vec<Filter>) -> (Vec<String>, usize) {
    let filter = |name: &str| NetworkFilter {
        name: name.to_owned(),
        config_type: None,
    };
    let mut chain = FilterChain {
        filters: ["a", "b", "a", ROUTER].map(filter).to_vec(),
        ..FilterChain::default()
    };
    let mut warnings = Vec::new();
    selected(filters)
        .on(TARGET)
        .insert_into([&mut chain], &mut warnings);
    let names = chain.filters.iter().map(|filter| {
        let short = filter.name.rsplit('.').next();
        short.unwrap_or_default().to_owned()
    });
    (names.collect(), warnings.len())
}

#[test]
fn p12_6_positions() {
    for (index, relative_to, expected) in [
        (Index::First, "", "sni_cluster a b a tcp_proxy"),
        (Index::Last, "", "a b a sni_cluster tcp_proxy"),
        (Index::Before, "a", "sni_cluster a b a tcp_proxy"),
        (Index::Before, "b", "a sni_cluster b a tcp_proxy"),
        (Index::After, "a", "a b a sni_cluster tcp_proxy"),
        (Index::After, "b", "a b sni_cluster a tcp_proxy"),
        (Index::Before, ROUTER, "a b a sni_cluster tcp_proxy"),
        (Index::Before, "envoy.tcp_proxy", "a b a sni_cluster tcp_proxy"),
    ] {
        let (names, warnings) = inserted(vec![sni_cluster(index, relative_to)]);
        assert_eq!(
            (names.join(" ").as_str(), warnings),
            (expected, 0),
            "{index:?} {relative_to}"
        );
    }
}

#[test]
fn p12_6_a_filter_without_its_neighbour_is_left_out_and_reported() {
    for index in [Index::Before, Index::After] {
        assert_eq!(
            inserted(vec![sni_cluster(index, "c")]).0,
            ["a", "b", "a", "tcp_proxy"]
        );
        assert_eq!(inserted(vec![sni_cluster(index, "c")]).1, 1);
    }
}

#[test]
fn p12_6_nothing_stands_behind_the_end() {
    let (names, warnings) = inserted(vec![sni_cluster(Index::After, ROUTER)]);
    assert_eq!((names.len(), warnings), (4, 1));
}

#[test]
fn p12_6_filters_may_refer_to_those_before_them() {
    let (names, warnings) = inserted(vec![
        sni_cluster(Index::Last, ""),
        Filter {
            filter_name: "envoy.filters.network.set_filter_state".to_owned(),
            ..sni_cluster(Index::Before, "envoy.filters.network.sni_cluster")
        },
    ]);
    assert_eq!(names.join(" "), "a b a set_filter_state sni_cluster tcp_proxy");
    assert_eq!(warnings, 0);
}

#[test]
fn p12_6_all_conditions_must_hold() {
    let listener = |listener_type: ListenerType| ListenerMatch {
        listener_type: listener_type.into(),
        ..ListenerMatch::default()
    };
    let port = |port_number| ListenerMatch {
        port_number,
        ..ListenerMatch::default()
    };
    let name = |prefix: &str| ListenerMatch {
        port_name_prefix: prefix.to_owned(),
        ..ListenerMatch::default()
    };
    let address = |addresses: &[&str]| ListenerMatch {
        address: addresses.iter().map(|address| (*address).to_owned()).collect(),
        ..ListenerMatch::default()
    };
    let protocol = |protocol: ListenerProtocol| ListenerMatch {
        listener_protocol: protocol.into(),
        ..ListenerMatch::default()
    };
    for (conditions, expected) in [
        (ListenerMatch::default(), true),
        (listener(ListenerType::Any), true),
        (listener(ListenerType::SidecarOutbound), true),
        (listener(ListenerType::SidecarInbound), false),
        (listener(ListenerType::Gateway), false),
        (port(9090), true),
        (port(90), false),
        (name("TCP-f"), true),
        (name("tcp-feeds"), false),
        (name("http"), false),
        (address(&["10.96.0.30"]), true),
        (address(&["192.0.2.1", "10.96.0.0/16"]), true),
        (address(&["10.96.0.31", "fd00::/8", "nonsense"]), false),
        (protocol(ListenerProtocol::All), true),
        (protocol(ListenerProtocol::Tcp), true),
        (protocol(ListenerProtocol::Http), false),
        (
            ListenerMatch {
                port_number: 9090,
                ..name("http")
            },
            false,
        ),
    ] {
        let got = selected(vec![on(conditions.clone())]).on(TARGET);
        assert_eq!(got.0.len() == 1, expected, "{conditions:?}");
    }
}

#[test]
fn p12_6_an_http_filter_aimed_at_other_listeners_is_reported() {
    let lua = |conditions| Filter {
        filter_type: FilterType::Http.into(),
        filter_name: "envoy.filters.http.lua".to_owned(),
        ..on(conditions)
    };
    let aimed = ListenerMatch {
        port_number: 9090,
        ..ListenerMatch::default()
    };
    for (conditions, findings) in [(ListenerMatch::default(), 0), (aimed, 1)] {
        let mut selected = selected(vec![lua(conditions.clone())]);
        assert_eq!(selected.on(TARGET), UserFilters::default());
        assert_eq!(selected.warnings.len(), findings, "{conditions:?}");
    }
}

#[test]
fn p12_6_objects_are_for_the_labels_that_they_name_whatever_their_namespace() {
    let spec = |app: &str| EnvoyFilter {
        workload_labels: [("app".to_owned(), app.to_owned())].into(),
        filters: vec![sni_cluster(Index::First, "")],
    };
    let view = Mesh::new()
        .envoy_filter("elsewhere", "web", spec("web"))
        .envoy_filter("default", "db", spec("db"))
        .view("default");
    let labels: Labels = [("app", "web"), ("version", "v1")].into_iter().collect();
    let mut selected = Selected::new(&view, &labels);
    let filters = selected.on(TARGET);
    let objects: Vec<String> = filters
        .0
        .iter()
        .map(|filter| filter.object.key.to_string())
        .collect();
    assert_eq!(objects, ["EnvoyFilter elsewhere/web"]);
}
