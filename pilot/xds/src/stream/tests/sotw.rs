//! State of the world.

use pilot_networking::XdsType::{Cluster, Endpoint, Listener, Route};

use super::mesh::Mesh;
use super::server::{Server, owned};
use crate::stream::Protocol::StateOfTheWorld;
use crate::stream::{Request, Step};

fn settled() -> Server {
    Server::settled(StateOfTheWorld, Mesh::sample())
}

#[test]
fn p8_6_the_first_request_of_a_type_is_answered_whatever_it_says() {
    for request in [
        Request::default(),
        // After a reconnect: the nonce is another stream's.
        Request {
            nonce: "47".to_owned(),
            ..Request::default()
        },
        Request {
            nonce: "47".to_owned(),
            error: Some((3, "bad".to_owned())),
            ..Request::default()
        },
    ] {
        let mut server = Server::new(StateOfTheWorld, Mesh::sample());
        assert_eq!(server.request(Cluster, &request), Step::Respond);
        let sent = server.only();
        assert_eq!(sent.short(), "cds +a eds 1 +b eds 1 +inbound 1");
        assert_eq!(sent.version, "1");
        assert!(server.state.subscription(Cluster).expect("open").is_awaiting());
    }
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    let mut server = Server::new(StateOfTheWorld, Mesh::sample());
    server.publish(|mesh| mesh);
    server.nothing();
    server.ask(Endpoint, &["a"]);
    assert_eq!(server.only().short(), "eds +a 10.0.0.1");
    server.publish(|mesh| mesh.endpoints("b", "10.0.0.9"));
    server.nothing();
}

#[test]
fn a_type_without_names_yet_has_nothing_to_wait_for() {
    let mut server = Server::new(StateOfTheWorld, Mesh::sample());
    server.ask(Route, &[]);
    server.nothing();
    server.ask(Endpoint, &[]);
    server.nothing();
}

/// `P8.2`.
#[test]
fn an_ack_is_recorded_and_not_answered() {
    let mut server = Server::new(StateOfTheWorld, Mesh::sample());
    server.ask(Cluster, &[]);
    let sent = server.only();
    assert_eq!(server.ack(&sent), Step::Ack);
    server.nothing();
    let report = server.state.subscription(Cluster).expect("open").report().clone();
    assert_eq!(
        (report.nonce_sent, report.nonce_acked),
        (sent.nonce.clone(), sent.nonce)
    );
    assert_eq!((&*report.version_sent, &*report.version_acked), ("1", "1"));
    assert!(server.state.is_settled());
}

#[test]
fn a_rejected_response_is_recorded_and_not_sent_again() {
    let mut server = settled();
    server.publish(|mesh| mesh.cluster("a", "eds 2"));
    let sent = server.next().expect("a response");
    assert_eq!(server.nack(&sent), Step::Nack(3, "bad".to_owned()));
    let report = server.state.subscription(Cluster).expect("open").report().clone();
    assert_eq!(report.last_error, "bad");
    assert_eq!(report.version_sent, "2");
    assert_eq!(report.version_acked, "1");
    assert_ne!(report.nonce_sent, report.nonce_acked);

    // The endpoints that accompany the changed cluster are on their way.
    let endpoints = server.only();
    assert_eq!(endpoints.short(), "eds +a 10.0.0.1");
    server.ack(&endpoints);
    server.nothing();
    // A publication that changes nothing is no reason either.
    server.publish(|mesh| mesh);
    server.nothing();
    // Neither is one that changes something else.
    server.publish(|mesh| mesh.endpoints("b", "10.0.0.9"));
    let endpoints = server.only();
    assert_eq!(endpoints.xds_type, Endpoint);
    server.ack(&endpoints);

    server.publish(|mesh| mesh.cluster("a", "eds 3"));
    let fixed = server.next().expect("a response");
    assert_eq!(fixed.short(), "cds +a eds 3 +b eds 1 +inbound 1");
    assert_eq!(server.ack(&fixed), Step::Ack);
    let report = server.state.subscription(Cluster).expect("open").report().clone();
    assert_eq!((&*report.last_error, &*report.version_acked), ("", "5"));
}

#[test]
fn a_rejection_without_words_is_a_rejection() {
    let mut server = settled();
    server.publish(|mesh| mesh.listener("80", "2 http"));
    let sent = server.only();
    let request = Request {
        nonce: sent.nonce,
        error: Some((13, String::new())),
        ..Request::default()
    };
    assert_eq!(server.request(Listener, &request), Step::Nack(13, String::new()));
    let subscription = server.state.subscription(Listener).expect("open");
    assert!(!subscription.report().last_error.is_empty());
}

#[test]
fn an_answer_to_an_older_response_is_void() {
    let mut server = settled();
    server.publish(|mesh| mesh.listener("80", "2 http"));
    let older = server.only();
    server.publish(|mesh| mesh.listener("80", "3 http"));
    let newer = server.only();
    assert_eq!(server.ack(&older), Step::Stale);
    assert!(server.state.subscription(Listener).expect("open").is_awaiting());
    assert_eq!(server.ack(&newer), Step::Ack);
    assert!(server.state.is_settled());
    assert_eq!(server.ack(&older), Step::Stale);
    server.nothing();

    let invented = Request {
        nonce: "never".to_owned(),
        ..Request::default()
    };
    assert_eq!(server.request(Listener, &invented), Step::Stale);
    server.nothing();
}

#[test]
fn a_rejection_of_an_older_response_counts() {
    let mut server = settled();
    server.publish(|mesh| mesh.listener("80", "2 http"));
    let older = server.only();
    server.publish(|mesh| mesh.listener("80", "3 http"));
    let newer = server.only();
    assert_eq!(server.nack(&older), Step::Nack(3, "bad".to_owned()));
    assert!(server.state.subscription(Listener).expect("open").is_awaiting());
    assert_eq!(server.ack(&newer), Step::Ack);
    let report = server
        .state
        .subscription(Listener)
        .expect("open")
        .report()
        .clone();
    assert_eq!(report.last_error, "");
}

#[test]
fn p8_6_other_names_get_what_is_new_and_nothing_else() {
    let mut server = settled();
    server.publish(|mesh| mesh.route("other", "1 b"));
    server.nothing();
    let last = server
        .state
        .subscription(Route)
        .expect("open")
        .report()
        .nonce_sent
        .clone();
    let with = |names: &[&str]| Request {
        nonce: last.clone(),
        subscribe: owned(names).into_iter().collect(),
        ..Request::default()
    };
    assert_eq!(server.request(Route, &with(&["http"])), Step::Ack);
    server.nothing();
    assert_eq!(server.request(Route, &with(&["http", "other"])), Step::Respond);
    let sent = server.only();
    assert_eq!(sent.short(), "rds +other 1 b");
    assert_eq!(server.ack_with(&sent, &["other"]), Step::Ack);
    server.nothing();
    server.publish(|mesh| mesh.route("http", "2 a"));
    server.nothing();
}

#[test]
fn a_name_that_comes_back_is_sent_again() {
    let mut server = settled();
    let last = server
        .state
        .subscription(Route)
        .expect("open")
        .report()
        .nonce_sent
        .clone();
    let with = |names: &[&str]| Request {
        nonce: last.clone(),
        subscribe: owned(names).into_iter().collect(),
        ..Request::default()
    };
    assert_eq!(server.request(Route, &with(&[])), Step::Ack);
    assert_eq!(server.request(Route, &with(&["http"])), Step::Respond);
    assert_eq!(server.only().short(), "rds +http 1 a");
}

#[test]
fn names_count_even_when_they_come_with_a_stale_answer() {
    let mut server = settled();
    server.publish(|mesh| mesh.route("http", "2 a"));
    let older = server.only();
    server.publish(|mesh| mesh.route("http", "3 a"));
    let newer = server.only();
    // The client drops the name and asks for it again before it sees the second response.
    assert_eq!(server.ack_with(&older, &[]), Step::Stale);
    assert_eq!(server.ack_with(&newer, &["http"]), Step::Respond);
    assert_eq!(server.only().short(), "rds +http 3 a");
}

#[test]
fn a_name_that_does_not_exist_is_answered() {
    let mut server = Server::new(StateOfTheWorld, Mesh::sample());
    server.ask(Route, &["nobody"]);
    assert_eq!(server.only().short(), "rds +nobody none");
}

#[test]
fn a_request_without_nonce_starts_over() {
    let mut server = settled();
    assert_eq!(server.ask(Cluster, &[]), Step::Respond);
    assert_eq!(server.only().short(), "cds +a eds 1 +b eds 1 +inbound 1");
    assert_eq!(server.ask(Endpoint, &["b"]), Step::Respond);
    assert_eq!(server.only().short(), "eds +b 10.0.0.2");
}

#[test]
fn names_mean_nothing_for_clusters_and_listeners() {
    let mut server = Server::new(StateOfTheWorld, Mesh::sample());
    server.ask(Listener, &["80"]);
    let sent = server.only();
    assert_eq!(sent.short(), "lds +80 1 http +inbound 1");
    assert_eq!(server.ack_with(&sent, &["other"]), Step::Ack);
    server.nothing();
}

/// `P8.7`.
#[test]
fn a_response_of_clusters_or_listeners_is_whole_and_one_of_endpoints_or_routes_is_not() {
    let mut server = settled();
    server.publish(|mesh| {
        mesh.cluster("plain", "1")
            .endpoints("a", "10.0.0.7")
            .listener("80", "2 http")
    });
    assert_eq!(
        server.next().expect("clusters").short(),
        "cds +a eds 1 +b eds 1 +inbound 1 +plain 1"
    );
    let endpoints = server.only();
    assert_eq!(endpoints.short(), "eds +a 10.0.0.7");
    let clusters = server
        .state
        .subscription(Cluster)
        .expect("open")
        .report()
        .nonce_sent
        .clone();
    server.request(
        Cluster,
        &Request {
            nonce: clusters,
            ..Request::default()
        },
    );
    server.ack(&endpoints);
    assert_eq!(server.only().short(), "lds +80 2 http +inbound 1");
}

#[test]
fn p9_4_endpoints_alone_move_nothing_else() {
    let mut server = settled();
    server.publish(|mesh| mesh.endpoints("a", "10.0.0.7 10.0.0.8"));
    assert_eq!(server.only().short(), "eds +a 10.0.0.7 10.0.0.8");
    // Scaled to zero.
    server.publish(|mesh| mesh.endpoints("a", ""));
    assert_eq!(server.only().short(), "eds +a ");
}

#[test]
fn a_listener_that_is_gone_is_missing_in_the_next_response() {
    let mut server = settled();
    server.publish(|mesh| mesh.without(Listener, "80"));
    assert_eq!(server.only().short(), "lds +inbound 1");
}

#[test]
fn everything_is_sent_again_when_operators_ask_for_it() {
    let mut server = settled();
    server.state.resend_all();
    let clusters = server.next().expect("clusters");
    assert_eq!(clusters.short(), "cds +a eds 1 +b eds 1 +inbound 1");
    assert_eq!(
        server.all(),
        [
            "eds +a 10.0.0.1 +b 10.0.0.2",
            "lds +80 1 http +inbound 1",
            "rds +http 1 a"
        ]
    );
}

#[test]
fn a_resource_that_cannot_be_built_stays_as_it_was() {
    let mut server = settled();
    server.publish(|mesh| {
        mesh.listener("80", "2 http")
            .failing(Listener, "80")
            .listener("81", "1")
            .route("http", "2 b")
            .failing(Route, "http")
    });
    assert_eq!(server.only().short(), "lds +80 1 http +81 1 +inbound 1");
    server.publish(|mut mesh| {
        mesh.failing.clear();
        mesh
    });
    assert_eq!(server.all(), ["lds +80 2 http +81 1 +inbound 1", "rds +http 2 b"]);
}
