//! TLS and TCP rules that no validation has seen.

use mesh_api::istio::networking::v1alpha3::{
    L4MatchAttributes, RouteDestination, TcpRoute, TlsMatchAttributes, TlsRoute,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::{destination, host};

pub(super) fn tls_route() -> impl Strategy<Value = TlsRoute> {
    let matches = (vec(host(), 0..3), conditions()).prop_map(|(sni_hosts, conditions)| TlsMatchAttributes {
        sni_hosts,
        destination_subnets: conditions.destination_subnets,
        port: conditions.port,
        source_subnet: conditions.source_subnet,
        source_labels: conditions.source_labels,
        gateways: conditions.gateways,
    });
    (vec(matches, 0..3), route()).prop_map(|(r#match, route)| TlsRoute { r#match, route })
}

pub(super) fn tcp_route() -> impl Strategy<Value = TcpRoute> {
    (vec(conditions(), 0..3), route()).prop_map(|(r#match, route)| TcpRoute { r#match, route })
}

fn conditions() -> impl Strategy<Value = L4MatchAttributes> {
    let subnet = select(vec![
        "10.96.0.0/16",
        "10.96.0.20",
        "192.0.2.0/24",
        "192.0.2.9/24",
        "192.0.2.128/25",
        "0.0.0.0/0",
        "::/0",
        "fd00::1/64",
        "10.0.0.0/33",
        "x",
        "",
    ]);
    let labels = btree_map(
        select(vec!["app", "version"]).prop_map(str::to_owned),
        select(vec!["web", "v1"]).prop_map(str::to_owned),
        0..2,
    );
    let gateway = select(vec!["mesh", "edge", "weather/edge", ""]);
    (
        vec(subnet.prop_map(str::to_owned), 0..3),
        prop_oneof![3 => Just(0), 3 => Just(9000), 3 => Just(443), 1 => any::<u32>()],
        labels,
        vec(gateway.prop_map(str::to_owned), 0..2),
        prop_oneof![9 => Just(String::new()), 1 => Just("10.0.0.0/8".to_owned())],
    )
        .prop_map(
            |(destination_subnets, port, source_labels, gateways, source_subnet)| L4MatchAttributes {
                destination_subnets,
                port,
                source_subnet,
                source_labels,
                gateways,
            },
        )
}

fn route() -> impl Strategy<Value = Vec<RouteDestination>> {
    let share = (proptest::option::weighted(0.9, destination()), any::<i8>());
    let share = share.prop_map(|(destination, weight)| RouteDestination {
        destination,
        weight: weight.into(),
    });
    vec(share, 0..3)
}
