//! What a publication shares with the one before, and what it says has changed.

use std::sync::Arc;

use mesh_api::istio::mesh::v1alpha1::network::IstioNetworkGateway;
use mesh_api::istio::mesh::v1alpha1::network::istio_network_gateway::Gw;
use mesh_api::istio::mesh::v1alpha1::{MeshConfig, MeshNetworks, Network};
use mesh_api::istio::networking::v1alpha3::tls_settings::TlSmode;
use mesh_api::istio::networking::v1alpha3::{TlsSettings, TrafficPolicy};
use mesh_config::Kind;

use super::mesh::*;
use crate::{Change, Networks, Published, Rev, Visibility};

const HOST: &str = "forecast.weather.svc.cluster.local";

/// One object of every kind, endpoints and a workload.
fn everything() -> Vec<Change> {
    vec![
        added(service("weather", "forecast", 1)),
        virtual_service("weather", "forecast", &["forecast"], &[], ""),
        destination_rule("weather", "forecast", "forecast", ""),
        gateway("weather", "edge", &[("istio", "ingressgateway")]),
        endpoints("Kubernetes", HOST, Some(&["10.0.0.1", "10.0.0.2"])),
        workload("10.0.0.1", Some("forecast-v1-0")),
    ]
}

/// Which parts two publications share: services, VirtualServices, DestinationRules, Gateways.
fn shared_tables(a: &Published, b: &Published) -> [bool; 4] {
    let (a, b) = (&a.snapshot, &b.snapshot);
    [
        Arc::ptr_eq(&a.services, &b.services),
        Arc::ptr_eq(&a.virtual_services, &b.virtual_services),
        Arc::ptr_eq(&a.destination_rules, &b.destination_rules),
        Arc::ptr_eq(&a.gateways, &b.gateways),
    ]
}

fn table_revs(published: &Published) -> [Rev; 4] {
    let snapshot = &published.snapshot;
    [
        snapshot.services.rev(),
        snapshot.virtual_services.rev(),
        snapshot.destination_rules.rev(),
        snapshot.gateways.rev(),
    ]
}

#[test]
fn what_is_delivered_again_unchanged_changes_nothing() {
    let mut builder = builder();
    apply(&mut builder, everything());
    let first = builder.publish();

    apply(&mut builder, everything());
    builder.apply(Change::Mesh(Box::new(mesh())));
    builder.apply(endpoints(
        "Kubernetes",
        HOST,
        Some(&["10.0.0.2", "10.0.0.1", "10.0.0.1"]),
    ));
    builder.apply(endpoints("Kubernetes", "unknown.example.com", None));
    builder.apply(workload("10.9.9.9", None));
    builder.apply(gone(Kind::Gateway, "weather", "unknown"));
    assert!(!builder.has_changes(), "{:?}", builder.changes());

    let second = builder.publish();
    assert_eq!(second.generation, first.generation + 1);
    assert!(Arc::ptr_eq(&first.snapshot, &second.snapshot));
    assert!(Arc::ptr_eq(&first.endpoints, &second.endpoints));
    assert!(Arc::ptr_eq(&first.workloads, &second.workloads));
}

#[test]
fn a_change_of_one_kind_shares_the_tables_of_all_others() {
    let cases = [
        (added(service("weather", "frontend", 2)), 0),
        (virtual_service("weather", "forecast", &["other"], &[], ""), 1),
        (destination_rule("weather", "new", "forecast", ""), 2),
        (gateway("weather", "edge", &[]), 3),
    ];
    for (change, position) in cases {
        let mut builder = builder();
        apply(&mut builder, everything());
        let first = builder.publish();
        builder.apply(change);
        let second = builder.publish();
        let mut expected = [true; 4];
        expected[position] = false;
        assert_eq!(shared_tables(&first, &second), expected);
        assert!(!second.changes.is_incremental());
        assert!(Arc::ptr_eq(&first.endpoints, &second.endpoints));
        assert!(Arc::ptr_eq(&first.workloads, &second.workloads));
        assert_eq!(first.snapshot.mesh, second.snapshot.mesh);
    }
}

#[test]
fn an_object_that_is_gone_changes_the_revision_of_its_table() {
    let id = service("weather", "forecast", 1).id;
    let cases = [
        (Change::ServiceGone(id), 0),
        (gone(Kind::VirtualService, "weather", "forecast"), 1),
        (gone(Kind::DestinationRule, "weather", "forecast"), 2),
        (gone(Kind::Gateway, "weather", "edge"), 3),
    ];
    for (change, position) in cases {
        let mut builder = builder();
        apply(&mut builder, everything());
        let first = builder.publish();
        builder.apply(change);
        let second = builder.publish();
        let same: Vec<bool> = std::iter::zip(table_revs(&first), table_revs(&second))
            .map(|(first, second)| first == second)
            .collect();
        let mut expected = [true; 4];
        expected[position] = false;
        assert_eq!(same, expected);
    }
}

#[test]
fn p9_4_endpoints_and_workloads_alone_keep_the_snapshot() {
    let mut builder = builder();
    apply(&mut builder, everything());
    let first = builder.publish();

    builder.apply(endpoints("Kubernetes", HOST, Some(&["10.0.0.3"])));
    builder.apply(workload("10.0.0.3", Some("forecast-v1-1")));
    let second = builder.publish();
    assert!(second.changes.is_incremental());
    assert_eq!(second.changes.endpoints, [host(HOST)].into());
    assert_eq!(second.changes.workloads, [address("10.0.0.3")].into());
    assert!(Arc::ptr_eq(&first.snapshot, &second.snapshot));
    assert_ne!(first.endpoints.get(HOST), second.endpoints.get(HOST));
    let kept = |published: &Published| published.workloads.get(address("10.0.0.1")).cloned();
    assert!(Arc::ptr_eq(
        &kept(&first).expect("known"),
        &kept(&second).expect("known")
    ));
}

#[test]
fn t9_a_host_without_endpoints_is_not_a_host_that_nobody_knows() {
    let mut builder = builder();
    apply(&mut builder, everything());
    builder.publish();

    builder.apply(endpoints("Kubernetes", HOST, Some(&[])));
    let scaled_to_zero = builder.publish();
    assert_eq!(scaled_to_zero.changes.endpoints, [host(HOST)].into());
    let known = scaled_to_zero.endpoints.get(HOST).expect("still known");
    assert_eq!(known.iter().count(), 0);

    builder.apply(endpoints("Kubernetes", HOST, None));
    assert!(builder.publish().endpoints.get(HOST).is_none());
}

#[test]
fn p9_4_registries_do_not_overwrite_the_endpoints_of_each_other() {
    let mut builder = builder();
    builder.apply(endpoints("Kubernetes", HOST, Some(&["10.0.0.1"])));
    builder.apply(endpoints("ServiceEntry/weather/extra", HOST, Some(&["10.0.0.2"])));
    let published = builder.publish();
    let known = published.endpoints.get(HOST).expect("known");
    let ips: Vec<_> = known
        .iter()
        .filter_map(|endpoint| endpoint.address.ip())
        .collect();
    assert_eq!(ips, [address("10.0.0.1"), address("10.0.0.2")]);

    builder.apply(endpoints("Kubernetes", HOST, None));
    let published = builder.publish();
    let known = published.endpoints.get(HOST).expect("known");
    assert_eq!(known.shards().len(), 1);
    assert_eq!(known.iter().count(), 1);
}

#[test]
fn the_changes_of_a_publication_name_what_changed_since_the_one_before() {
    let mut builder = builder();
    assert!(
        builder.has_changes(),
        "the first publication brings the mesh configuration"
    );
    assert!(builder.publish().changes.mesh);
    assert!(!builder.has_changes());

    builder.apply(added(service("weather", "forecast", 1)));
    builder.apply(gateway("weather", "edge", &[]));
    let changes = builder.publish().changes;
    assert!(!changes.mesh);
    assert_eq!(changes.services, [service("weather", "forecast", 1).id].into());
    assert_eq!(changes.configs.len(), 1);
    assert!(builder.publish().changes.is_empty());
}

/// `R-N-11`.
#[test]
fn p15_2_the_defaults_of_export_to_follow_the_mesh_configuration() {
    let visibility = |published: &Published| {
        let virtual_services = published.snapshot.virtual_services.iter();
        virtual_services
            .map(|object| (object.key.name.to_string(), object.export_to))
            .collect::<Vec<_>>()
    };
    let mut builder = builder();
    builder.apply(virtual_service("weather", "default", &["a"], &[], ""));
    builder.apply(virtual_service("weather", "explicit", &["a"], &[], "*"));
    builder.apply(destination_rule("weather", "default", "forecast", ""));
    builder.apply(added(service("weather", "forecast", 1)));
    let first = builder.publish();
    assert_eq!(
        visibility(&first),
        [
            ("default".to_owned(), Visibility::Public),
            ("explicit".to_owned(), Visibility::Public)
        ]
    );
    let forecast = service("weather", "forecast", 1);
    assert!(first.snapshot.view("other").rules(&forecast).is_some());

    builder.apply(Change::Mesh(Box::new(MeshConfig {
        default_virtual_service_export_to: vec![".".to_owned()],
        default_destination_rule_export_to: vec![".".to_owned()],
        ..mesh()
    })));
    builder.apply(virtual_service("weather", "later", &["a"], &[], ""));
    let second = builder.publish();
    assert_eq!(
        visibility(&second),
        [
            ("default".to_owned(), Visibility::Private),
            ("explicit".to_owned(), Visibility::Public),
            ("later".to_owned(), Visibility::Private)
        ]
    );
    assert!(second.snapshot.view("other").rules(&forecast).is_none());
    assert!(second.snapshot.view("weather").rules(&forecast).is_some());
    assert!(Arc::ptr_eq(&first.snapshot.services, &second.snapshot.services));
}

/// An endpoint of `HOST` that runs as a service account.
fn running_as(ip: &str, account: &str) -> Change {
    Change::Endpoints {
        registry: "Kubernetes".into(),
        host: host(HOST),
        endpoints: Some(vec![crate::Endpoint {
            service_account: account.into(),
            ..endpoint(ip)
        }]),
    }
}

/// P9.4: a new service account is a change of clusters where callers check it, else of endpoints only.
#[test]
fn p9_4_identities_matter_where_a_rule_checks_them() {
    let mutual = |mode: TlSmode| {
        let mut change = destination_rule("weather", "forecast", "forecast", "");
        if let Change::Config(_, crate::ConfigSpec::DestinationRule(rule)) = &mut change {
            rule.subsets[0].traffic_policy = Some(TrafficPolicy {
                tls: Some(TlsSettings {
                    mode: mode.into(),
                    ..TlsSettings::default()
                }),
                ..TrafficPolicy::default()
            });
        }
        change
    };
    for (mode, matters) in [(TlSmode::Simple, false), (TlSmode::IstioMutual, true)] {
        let mut builder = builder();
        apply(&mut builder, [mutual(mode), running_as("10.0.0.1", "a")]);
        let first = builder.publish();
        assert_eq!(first.snapshot.identities.get(HOST).is_some(), matters);

        builder.apply(running_as("10.0.0.2", "a"));
        assert!(
            builder.publish().changes.is_incremental(),
            "another endpoint of the same account"
        );

        builder.apply(running_as("10.0.0.2", "b"));
        let changed = builder.publish();
        assert_eq!(changed.changes.is_incremental(), !matters);
        let known = changed
            .snapshot
            .identities
            .get(HOST)
            .map(|known| known.contains("b"));
        assert_eq!(known, matters.then_some(true));
    }
}

/// P10.5: a gateway that is named by its service is where that service is reached from outside.
#[test]
fn p10_5_gateways_move_with_their_services() {
    let networks = Network {
        gateways: vec![IstioNetworkGateway {
            gw: Some(Gw::RegistryServiceName(
                "edge.weather.svc.cluster.local".to_owned(),
            )),
            port: 443,
            ..IstioNetworkGateway::default()
        }],
        ..Network::default()
    };
    let networks = MeshNetworks {
        networks: [("n2".to_owned(), networks)].into(),
    };
    let networks = || Change::Networks(Box::new(Networks::new(&networks, &Default::default())));
    let edge = |address: [u8; 4]| {
        added(crate::Service {
            external_addresses: [address.into()].into(),
            ..service("weather", "edge", 1)
        })
    };
    let mut builder = builder();
    apply(&mut builder, [networks(), edge([1, 1, 1, 1])]);
    let first = builder.publish().snapshot;
    assert_eq!(first.networks.gateways("n2"), ["1.1.1.1:443".parse().unwrap()]);

    apply(&mut builder, [networks(), added(service("weather", "other", 1))]);
    let same = builder.publish().snapshot;
    assert_eq!(same.networks, first.networks, "other services do not matter");

    builder.apply(edge([2, 2, 2, 2]));
    let moved = builder.publish().snapshot;
    assert_eq!(moved.networks.gateways("n2"), ["2.2.2.2:443".parse().unwrap()]);
}
