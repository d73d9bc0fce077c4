//! What waits for what (P8.3): no route before its cluster, no cluster gone before its routes.

use pilot_networking::XdsType::{Cluster, Endpoint, Listener, Route};

use super::mesh::Mesh;
use super::server::{Sent, Server};
use crate::stream::Protocol::{self, Delta, StateOfTheWorld};
use crate::stream::Request;

const BOTH: [Protocol; 2] = [StateOfTheWorld, Delta];

fn settled(protocol: Protocol) -> Server {
    Server::settled(protocol, Mesh::sample())
}

/// A new cluster `c` and routes that lead to it.
fn new_cluster(mesh: Mesh) -> Mesh {
    mesh.cluster("c", "eds 1")
        .endpoints("c", "10.0.0.3")
        .route("http", "2 c")
}

/// Asks for the endpoints of `c` besides those of `a` and `b`.
fn ask_for_endpoints_of_c(server: &mut Server) {
    let names: &[&str] = match server.protocol {
        StateOfTheWorld => &["a", "b", "c"],
        Delta => &["c"],
    };
    let endpoints = server.state.subscription(Endpoint).expect("open");
    let nonce = match server.protocol {
        StateOfTheWorld => endpoints.report().nonce_sent.clone(),
        Delta => String::new(),
    };
    server.request(
        Endpoint,
        &Request {
            nonce,
            subscribe: super::server::owned(names).into_iter().collect(),
            ..Request::default()
        },
    );
}

/// Asks for these routes: all of them in state of the world, those that come or go in delta.
fn ask_for_routes(server: &mut Server, all: &[&str], new: &[&str]) {
    let routes = server.state.subscription(Route).expect("open");
    let request = match server.protocol {
        StateOfTheWorld => Request {
            nonce: routes.report().nonce_sent.clone(),
            subscribe: super::server::owned(all).into_iter().collect(),
            ..Request::default()
        },
        Delta => Request {
            subscribe: super::server::owned(new).into_iter().collect(),
            unsubscribe: routes
                .names()
                .iter()
                .filter(|name| !all.contains(&&***name))
                .map(ToString::to_string)
                .collect(),
            ..Request::default()
        },
    };
    server.request(Route, &request);
}

#[track_caller]
fn expect(server: &mut Server, short: &str) -> Sent {
    let sent = server.next().expect("a response");
    assert_eq!(sent.short(), short);
    sent
}

fn whole(protocol: Protocol, sotw: &'static str, delta: &'static str) -> &'static str {
    match protocol {
        StateOfTheWorld => sotw,
        Delta => delta,
    }
}

#[test]
fn routes_wait_until_clusters_and_their_endpoints_are_acknowledged() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(new_cluster);
        let clusters = expect(
            &mut server,
            whole(
                protocol,
                "cds +a eds 1 +b eds 1 +c eds 1 +inbound 1",
                "cds +c eds 1",
            ),
        );
        server.nothing();
        assert!(server.state.is_waiting_for_clusters());
        server.ack(&clusters);
        // Envoy has the cluster, but warms it until it has endpoints.
        server.nothing();
        assert!(server.state.is_waiting_for_clusters());
        ask_for_endpoints_of_c(&mut server);
        let endpoints = expect(&mut server, "eds +c 10.0.0.3");
        server.nothing();
        server.ack(&endpoints);
        assert!(!server.state.is_waiting_for_clusters());
        let routes = expect(&mut server, "rds +http 2 c");
        server.nothing();
        server.ack(&routes);
        assert!(server.state.is_settled());
    }
}

#[test]
fn the_client_may_ask_for_endpoints_before_it_acknowledges_clusters() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(new_cluster);
        let clusters = server.next().expect("clusters");
        ask_for_endpoints_of_c(&mut server);
        let endpoints = expect(&mut server, "eds +c 10.0.0.3");
        server.ack(&endpoints);
        server.nothing();
        server.ack(&clusters);
        expect(&mut server, "rds +http 2 c");
    }
}

#[test]
fn a_client_that_does_not_answer_gets_its_routes_in_the_end() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(new_cluster);
        let clusters = server.next().expect("clusters");
        server.nothing();
        server.state.give_up_waiting();
        assert!(!server.state.is_waiting_for_clusters());
        let routes = expect(&mut server, "rds +http 2 c");
        server.ack(&routes);
        server.ack(&clusters);
        server.nothing();
        // The client never asked for the endpoints of `c`; that holds nothing back the next time.
        server.publish(|mesh| mesh.route("http", "3 c"));
        expect(&mut server, "rds +http 3 c");
    }
}

#[test]
fn a_cluster_that_goes_before_its_endpoints_were_asked_for_is_not_waited_for() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(|mesh| mesh.cluster("c", "eds 1"));
        let clusters = server.next().expect("clusters");
        server.ack(&clusters);
        server.publish(|mesh| mesh.without(Cluster, "c").listener("80", "2 http"));
        let listeners = expect(
            &mut server,
            whole(protocol, "lds +80 2 http +inbound 1", "lds +80 2 http"),
        );
        server.ack(&listeners);
        let clusters = expect(
            &mut server,
            whole(protocol, "cds +a eds 1 +b eds 1 +inbound 1", "cds -c"),
        );
        server.ack(&clusters);
        assert!(server.state.is_settled());
    }
}

#[test]
fn a_rejected_cluster_is_not_waited_for() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(new_cluster);
        let clusters = server.next().expect("clusters");
        server.nack(&clusters);
        expect(&mut server, "rds +http 2 c");
    }
}

#[test]
fn a_request_is_answered_whatever_is_waited_for() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(|mesh| new_cluster(mesh).listener("81", "1 other").route("other", "1 a"));
        server.next().expect("clusters");
        server.nothing();
        let names: &[&str] = match protocol {
            StateOfTheWorld => &["http", "other"],
            Delta => &["other"],
        };
        let nonce = match protocol {
            StateOfTheWorld => server
                .state
                .subscription(Route)
                .expect("open")
                .report()
                .nonce_sent
                .clone(),
            Delta => String::new(),
        };
        server.request(
            Route,
            &Request {
                nonce,
                subscribe: super::server::owned(names).into_iter().collect(),
                ..Request::default()
            },
        );
        let sent = server.next().expect("routes");
        assert_eq!(sent.xds_type, Route);
        assert_eq!(sent.resources.get("other").map(String::as_str), Some("1 a"));
    }
}

#[test]
fn what_is_asked_for_takes_no_route_along_that_waits() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(|mesh| mesh.listener("81", "1 other").route("other", "1 a"));
        let listeners = server.only();
        server.ack(&listeners);
        // Only now does the client ask for the routes of its new listener, and there is a newer publication.
        server.publish(|mesh| new_cluster(mesh).route("other", "2 c"));
        let clusters = server.only();
        ask_for_routes(&mut server, &["http", "other"], &["other"]);
        // It has nothing else that it could use.
        let first = expect(&mut server, "rds +other 2 c");
        server.nothing();
        assert!(server.state.is_waiting_for_clusters());
        server.ack(&first);
        server.ack(&clusters);
        ask_for_endpoints_of_c(&mut server);
        // What it drops and asks for again is given as it was.
        ask_for_routes(&mut server, &["other"], &[]);
        ask_for_routes(&mut server, &["http", "other"], &["http"]);
        let endpoints = expect(&mut server, "eds +c 10.0.0.3");
        let again = expect(&mut server, "rds +http 1 a");
        server.nothing();
        server.ack(&again);
        server.ack(&endpoints);
        let routes = expect(&mut server, "rds +http 2 c");
        server.ack(&routes);
        assert!(server.state.is_settled());
    }
}

#[test]
fn endpoints_that_change_later_are_sent_and_not_waited_for() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(new_cluster);
        let clusters = server.only();
        server.ack(&clusters);
        ask_for_endpoints_of_c(&mut server);
        let awaited = expect(&mut server, "eds +c 10.0.0.3");
        server.publish(|mesh| mesh.endpoints("a", "10.0.0.4"));
        let later = expect(&mut server, "eds +a 10.0.0.4");
        server.nothing();
        server.ack(&awaited);
        server.publish(|mesh| mesh.endpoints("a", "10.0.0.5"));
        let last = expect(&mut server, "eds +a 10.0.0.5");
        let routes = expect(&mut server, "rds +http 2 c");
        for sent in [&later, &last, &routes] {
            server.ack(sent);
        }
        assert!(server.state.is_settled());
    }
}

#[test]
fn endpoints_that_were_on_their_way_before_are_waited_for() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(|mesh| mesh.endpoints("b", "10.0.0.4"));
        let endpoints = expect(&mut server, "eds +b 10.0.0.4");
        server.publish(|mesh| mesh.route("http", "2 b"));
        server.nothing();
        server.ack(&endpoints);
        expect(&mut server, "rds +http 2 b");
    }
}

#[test]
fn what_brings_a_client_nearer_to_its_routes_is_seen() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        assert_eq!(server.state.waits_for(), None);
        server.publish(new_cluster);
        let clusters = server.only();
        let mut waits_for = server.state.waits_for();
        assert!(waits_for.is_some());
        let mut comes_nearer = |server: &Server| {
            let before = std::mem::replace(&mut waits_for, server.state.waits_for());
            before != waits_for
        };
        server.publish(|mesh| mesh.endpoints("a", "10.0.0.4"));
        let other = server.only();
        server.ack(&other);
        assert!(!comes_nearer(&server));
        server.ack(&clusters);
        assert!(comes_nearer(&server));
        ask_for_endpoints_of_c(&mut server);
        assert!(comes_nearer(&server));
        let endpoints = server.only();
        comes_nearer(&server);
        server.ack(&endpoints);
        assert!(comes_nearer(&server));
        assert_eq!(server.state.waits_for(), None);
    }
}

#[test]
fn a_changed_cluster_brings_its_endpoints_along() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(|mesh| mesh.cluster("a", "eds 2").cluster("inbound", "2"));
        let clusters = expect(
            &mut server,
            whole(
                protocol,
                "cds +a eds 2 +b eds 1 +inbound 2",
                "cds +a eds 2 +inbound 2",
            ),
        );
        // Envoy warms it anew and does not ask for endpoints that it has asked for before.
        let endpoints = expect(&mut server, "eds +a 10.0.0.1");
        server.ack(&clusters);
        server.ack(&endpoints);
        server.nothing();
        assert!(server.state.is_settled());
    }
}

#[test]
fn a_cluster_that_goes_and_comes_back_gets_its_endpoints() {
    for protocol in BOTH {
        let mut server = settled(protocol);
        server.publish(|mesh| mesh.without(Cluster, "b"));
        let clusters = expect(&mut server, whole(protocol, "cds +a eds 1 +inbound 1", "cds -b"));
        server.ack(&clusters);
        server.nothing();
        // It comes back before the client has dropped the name of its endpoints.
        server.publish(|mesh| mesh.cluster("b", "eds 1").endpoints("b", "10.0.0.2"));
        let clusters = server.next().expect("clusters");
        assert!(clusters.resources.contains_key("b"));
        expect(&mut server, "eds +b 10.0.0.2");
    }
}

#[test]
fn a_cluster_stays_until_its_routes_are_gone() {
    for protocol in BOTH {
        let mut server = Server::settled(protocol, Mesh::sample().route("http", "1 b"));
        server.publish(|mesh| {
            mesh.without(Cluster, "b")
                .route("http", "2 a")
                .listener("80", "2 http")
        });
        // Nothing about clusters, and the endpoints of `b` stay as they are.
        let listeners = expect(
            &mut server,
            whole(protocol, "lds +80 2 http +inbound 1", "lds +80 2 http"),
        );
        let routes = expect(&mut server, "rds +http 2 a");
        server.nothing();
        server.ack(&listeners);
        server.nothing();
        server.ack(&routes);
        let clusters = expect(&mut server, whole(protocol, "cds +a eds 1 +inbound 1", "cds -b"));
        server.ack(&clusters);
        server.nothing();
        assert!(server.state.is_settled());
    }
}

#[test]
fn a_cluster_stays_as_long_as_the_routes_without_it_are_rejected() {
    for protocol in BOTH {
        let mut server = Server::settled(protocol, Mesh::sample().route("http", "1 b"));
        server.publish(|mesh| mesh.without(Cluster, "b").route("http", "2 a"));
        let routes = expect(&mut server, "rds +http 2 a");
        server.nack(&routes);
        server.nothing();
        server.publish(|mesh| mesh.route("http", "3 a"));
        let routes = expect(&mut server, "rds +http 3 a");
        server.ack(&routes);
        expect(&mut server, whole(protocol, "cds +a eds 1 +inbound 1", "cds -b"));
    }
}

#[test]
fn a_held_cluster_stands_in_every_response_until_it_is_released() {
    for protocol in BOTH {
        let mut server = Server::settled(protocol, Mesh::sample().route("http", "1 b"));
        server.publish(|mesh| {
            mesh.without(Cluster, "b")
                .cluster("plain", "1")
                .route("http", "2 a")
        });
        let clusters = expect(
            &mut server,
            whole(
                protocol,
                "cds +a eds 1 +b eds 1 +inbound 1 +plain 1",
                "cds +plain 1",
            ),
        );
        server.ack(&clusters);
        let routes = expect(&mut server, "rds +http 2 a");
        server.ack(&routes);
        let clusters = expect(
            &mut server,
            whole(protocol, "cds +a eds 1 +inbound 1 +plain 1", "cds -b"),
        );
        server.ack(&clusters);
        server.nothing();
    }
}

#[test]
fn a_cluster_that_comes_back_while_it_is_held_was_never_gone() {
    for protocol in BOTH {
        let mut server = Server::settled(protocol, Mesh::sample().route("http", "1 b"));
        server.publish(|mesh| mesh.without(Cluster, "b").route("http", "2 a"));
        let away = expect(&mut server, "rds +http 2 a");
        server.publish(|mesh| {
            mesh.cluster("b", "eds 1")
                .endpoints("b", "10.0.0.2")
                .route("http", "1 b")
        });
        server.ack(&away);
        // The client has it; being told again is allowed, being told that it is gone is not.
        while let Some(sent) = server.next() {
            assert_eq!(sent.removed, Vec::<String>::new());
            if sent.xds_type == Cluster && protocol == StateOfTheWorld {
                assert!(sent.resources.contains_key("b"));
            }
            server.ack(&sent);
        }
        assert!(server.state.is_settled());
        assert!(
            server
                .state
                .subscription(Cluster)
                .expect("open")
                .held()
                .next()
                .is_none()
        );
    }
}

#[test]
fn a_client_of_clusters_alone_is_told_at_once_what_is_gone() {
    for protocol in BOTH {
        let mut server = Server::new(protocol, Mesh::sample());
        server.ask(Cluster, &[]);
        let sent = server.only();
        server.ack(&sent);
        server.publish(|mesh| mesh.without(Cluster, "b"));
        let sent = expect(&mut server, whole(protocol, "cds +a eds 1 +inbound 1", "cds -b"));
        server.ack(&sent);
        server.publish(|mesh| mesh);
        server.nothing();
    }
}

#[test]
fn after_a_reconnect_a_cluster_that_is_gone_stays_until_the_routes_are_acknowledged() {
    let mut before = Server::settled(Delta, Mesh::sample().route("http", "1 b"));
    before.state.resend_all();
    let mut versions: Vec<_> = before.next().expect("clusters").versions.into_iter().collect();
    versions.sort();

    let mut server = Server::new(Delta, Mesh::sample().without(Cluster, "b").route("http", "2 a"));
    server.request(
        Cluster,
        &Request {
            initial_versions: versions,
            ..Request::default()
        },
    );
    server.ask(Listener, &[]);
    server.ask(Route, &["http"]);
    let clusters = expect(&mut server, "cds");
    let listeners = expect(&mut server, "lds +80 1 http +inbound 1");
    let routes = expect(&mut server, "rds +http 2 a");
    server.ack(&clusters);
    server.ack(&listeners);
    server.nothing();
    server.ack(&routes);
    let clusters = expect(&mut server, "cds -b");
    server.ack(&clusters);
    server.nothing();
}

#[test]
fn a_type_that_nobody_asked_for_is_waited_for_by_nobody() {
    for protocol in BOTH {
        let mut server = Server::new(protocol, Mesh::sample());
        server.ask(Listener, &[]);
        let listeners = server.only();
        server.ack(&listeners);
        server.publish(|mesh| mesh.listener("80", "2 http").cluster("c", "eds 1"));
        assert_eq!(server.only().xds_type, Listener);
    }
}
