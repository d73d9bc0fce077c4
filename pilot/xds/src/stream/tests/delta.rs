//! Incremental streams.

use pilot_networking::XdsType::{Cluster, Endpoint, Listener, Route};

use super::mesh::Mesh;
use super::server::{Server, owned};
use crate::stream::Protocol::Delta;
use crate::stream::{Request, Step};

fn settled() -> Server {
    Server::settled(Delta, Mesh::sample())
}

fn unsubscribe(names: &[&str]) -> Request {
    Request {
        unsubscribe: owned(names),
        ..Request::default()
    }
}

#[test]
fn the_first_request_gets_everything_that_it_asks_for() {
    for names in [&[][..], &["*"]] {
        let mut server = Server::new(Delta, Mesh::sample());
        assert_eq!(server.ask(Cluster, names), Step::Respond);
        assert_eq!(server.only().short(), "cds +a eds 1 +b eds 1 +inbound 1");
    }
    let mut server = Server::new(Delta, Mesh::sample());
    assert_eq!(server.ask(Endpoint, &["b"]), Step::Respond);
    assert_eq!(server.only().short(), "eds +b 10.0.0.2");
}

#[test]
fn afterwards_only_differences_are_sent() {
    let mut server = settled();
    server.publish(|mesh| {
        mesh.cluster("plain", "1")
            .listener("80", "2 http")
            .without(Listener, "inbound")
            .endpoints("a", "10.0.0.7")
            .route("http", "2 a")
    });
    let clusters = server.next().expect("clusters");
    assert_eq!(clusters.short(), "cds +plain 1");
    let endpoints = server.only();
    assert_eq!(endpoints.short(), "eds +a 10.0.0.7");
    server.ack(&clusters);
    server.nothing();
    server.ack(&endpoints);
    assert_eq!(server.all(), ["lds +80 2 http -inbound", "rds +http 2 a"]);
    server.publish(|mesh| mesh);
    server.nothing();
}

#[test]
fn an_ack_is_recorded_and_not_answered() {
    let mut server = settled();
    server.publish(|mesh| mesh.listener("80", "2 http"));
    let sent = server.only();
    assert_eq!(server.ack(&sent), Step::Ack);
    server.nothing();
    let report = server
        .state
        .subscription(Listener)
        .expect("open")
        .report()
        .clone();
    assert_eq!(report.nonce_acked, sent.nonce);
    assert_eq!(report.version_acked, "2");
}

#[test]
fn what_was_rejected_is_sent_again_only_when_some_of_it_changes() {
    let mut server = settled();
    server.publish(|mesh| mesh.listener("80", "2 http").listener("81", "1"));
    let sent = server.only();
    assert_eq!(sent.short(), "lds +80 2 http +81 1");
    assert_eq!(server.nack(&sent), Step::Nack(3, "bad".to_owned()));
    server.nothing();
    server.publish(|mesh| mesh);
    server.nothing();

    // Something else is sent alone: with the rejected ones it would be rejected as well.
    server.publish(|mesh| mesh.listener("82", "1"));
    let other = server.only();
    assert_eq!(other.short(), "lds +82 1");
    server.ack(&other);

    // The good one of the rejected comes along with the fixed one, as the client may not have taken it.
    server.publish(|mesh| mesh.listener("80", "3 http"));
    let fixed = server.only();
    assert_eq!(fixed.short(), "lds +80 3 http +81 1");
    server.ack(&fixed);
    server.publish(|mesh| mesh.listener("80", "4 http"));
    assert_eq!(server.only().short(), "lds +80 4 http");
}

#[test]
fn a_removal_that_was_rejected_is_said_again_with_the_rest() {
    let mut server = settled();
    server.publish(|mesh| mesh.listener("80", "2 http").without(Listener, "inbound"));
    let sent = server.only();
    assert_eq!(sent.short(), "lds +80 2 http -inbound");
    server.nack(&sent);
    server.publish(|mesh| mesh.listener("80", "3 http"));
    assert_eq!(server.only().short(), "lds +80 3 http -inbound");
}

#[test]
fn names_are_added_and_dropped_one_by_one() {
    let mut server = settled();
    server.publish(|mesh| mesh.route("other", "1 b"));
    server.nothing();
    assert_eq!(server.ask(Route, &["other"]), Step::Respond);
    let sent = server.only();
    assert_eq!(sent.short(), "rds +other 1 b");

    // The answer may bring names along.
    let request = Request {
        nonce: sent.nonce.clone(),
        subscribe: owned(&["third"]).into_iter().collect(),
        unsubscribe: owned(&["http"]),
        ..Request::default()
    };
    assert_eq!(server.request(Route, &request), Step::Respond);
    let sent = server.only();
    assert_eq!(sent.short(), "rds +third none");
    server.ack(&sent);
    server.publish(|mesh| mesh.route("http", "2 a"));
    server.nothing();
    server.publish(|mesh| mesh.route("other", "2 b"));
    assert_eq!(server.only().short(), "rds +other 2 b");
}

#[test]
fn names_count_even_when_they_come_with_a_stale_answer() {
    let mut server = settled();
    server.publish(|mesh| mesh.route("http", "2 a"));
    let older = server.only();
    server.publish(|mesh| mesh.route("http", "3 a").route("other", "1 b"));
    let newer = server.only();
    server.ack(&newer);
    let request = Request {
        nonce: older.nonce,
        subscribe: owned(&["other"]).into_iter().collect(),
        ..Request::default()
    };
    assert_eq!(server.request(Route, &request), Step::Respond);
    assert_eq!(server.only().short(), "rds +other 1 b");
}

#[test]
fn a_name_that_is_asked_for_again_is_sent_again() {
    let mut server = settled();
    assert_eq!(server.ask(Route, &["http"]), Step::Respond);
    let sent = server.only();
    assert_eq!(sent.short(), "rds +http 1 a");
    server.ack(&sent);
    assert_eq!(server.request(Route, &unsubscribe(&["http"])), Step::Ack);
    server.nothing();
    assert_eq!(server.ask(Route, &["http"]), Step::Respond);
    assert_eq!(server.only().short(), "rds +http 1 a");
}

#[test]
fn a_name_that_does_not_exist_is_said_to_be_gone() {
    let mut server = Server::new(Delta, Mesh::sample());
    server.ask(Cluster, &["a", "nobody"]);
    let sent = server.only();
    assert_eq!(sent.short(), "cds +a eds 1 -nobody");
    server.ack(&sent);
    server.ask(Cluster, &["noone"]);
    let sent = server.only();
    assert_eq!(sent.short(), "cds -noone");
    server.ack(&sent);
    server.publish(|mesh| mesh.cluster("noone", "1"));
    assert_eq!(server.only().short(), "cds +noone 1");
}

#[test]
fn p8_6_all_may_become_some_and_some_may_become_all() {
    let mut server = Server::new(Delta, Mesh::sample());
    server.ask(Cluster, &["*", "a"]);
    let sent = server.only();
    assert_eq!(sent.short(), "cds +a eds 1 +b eds 1 +inbound 1");
    server.ack(&sent);
    server.request(Cluster, &unsubscribe(&["*"]));
    server.nothing();
    server.publish(|mesh| mesh.cluster("b", "eds 2"));
    server.nothing();
    server.publish(|mesh| mesh.cluster("a", "eds 2"));
    let sent = server.only();
    assert_eq!(sent.short(), "cds +a eds 2");
    server.ack(&sent);
    assert_eq!(server.ask(Cluster, &["*"]), Step::Respond);
    let sent = server.only();
    assert_eq!(sent.short(), "cds +a eds 2 +b eds 2 +inbound 1");
    server.ack(&sent);
    server.publish(|mesh| mesh.cluster("inbound", "2"));
    assert_eq!(server.only().short(), "cds +inbound 2");
}

#[test]
fn after_a_reconnect_only_what_changed_meanwhile_is_sent() {
    let mut before = Server::new(Delta, Mesh::sample());
    before.ask(Listener, &[]);
    let mut versions = before.only().versions;
    versions.insert("gone".to_owned(), "0".to_owned());

    let mut server = Server::new(Delta, Mesh::sample().listener("80", "2 http"));
    let request = Request {
        initial_versions: versions.clone().into_iter().collect(),
        ..Request::default()
    };
    assert_eq!(server.request(Listener, &request), Step::Respond);
    assert_eq!(server.only().short(), "lds +80 2 http -gone");

    // Nothing changed: the answer is empty, but there is one.
    versions.remove("gone");
    let mut server = Server::new(Delta, Mesh::sample());
    let request = Request {
        initial_versions: versions.into_iter().collect(),
        ..Request::default()
    };
    server.request(Listener, &request);
    let sent = server.only();
    assert_eq!(sent.short(), "lds");
    server.ack(&sent);
    server.publish(|mesh| mesh.listener("80", "3 http"));
    assert_eq!(server.only().short(), "lds +80 3 http");
}

#[test]
fn a_foreign_nonce_in_the_first_request_means_nothing() {
    let mut server = Server::new(Delta, Mesh::sample());
    let request = Request {
        nonce: "47".to_owned(),
        error: Some((3, "bad".to_owned())),
        subscribe: owned(&["http"]).into_iter().collect(),
        ..Request::default()
    };
    assert_eq!(server.request(Route, &request), Step::Respond);
    assert_eq!(server.only().short(), "rds +http 1 a");
}

#[test]
fn everything_is_sent_again_when_operators_ask_for_it_and_what_is_gone_is_said() {
    let mut server = settled();
    server.publish(|mesh| mesh.without(Listener, "inbound"));
    server.state.resend_all();
    assert_eq!(
        server.all(),
        [
            "cds +a eds 1 +b eds 1 +inbound 1",
            "eds +a 10.0.0.1 +b 10.0.0.2",
            "lds +80 1 http -inbound",
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
    });
    assert_eq!(server.only().short(), "lds +81 1");
    server.publish(|mut mesh| {
        mesh.failing.clear();
        mesh
    });
    assert_eq!(server.only().short(), "lds +80 2 http");
}
