//! Draining over real sockets, and the ages of connections.

use std::sync::Arc;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::drain;

/// Both ends of a handler that waits.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    leave: Arc<Notify>,
}

/// Serves `/now`, which answers at once, and `/wait`, which answers when the gate says so.
async fn start(drain: Drain) -> (SocketAddr, Gate, crate::TaskHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gate = Gate::default();
    let Gate { entered, leave } = gate.clone();
    let router = Router::new().route("/now", get(async || "now")).route(
        "/wait",
        get(async move || {
            entered.notify_one();
            leave.notified().await;
            "waited"
        }),
    );
    let spawner = Spawner::default();
    let task = spawner.spawn(
        "http",
        serve_http("http", listener, router, spawner.clone(), drain),
    );
    (address, gate, task)
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_finishes_requests() {
    let (signal, drain) = drain::channel();
    let (address, gate, task) = start(drain).await;
    let mut idle = ask(address, "/now").await;
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let mut busy = ask(address, "/wait").await;
    gate.entered.notified().await;

    signal.start();
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(!task.is_finished(), "a request is in flight");
    gate.leave.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("waited"), "{answer}");
    task.join().await.unwrap();
    assert_eq!(signal.drained(Duration::from_secs(20)).await, Ok(()));
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn what_is_not_http_does_not_stop_the_server() {
    let (address, _gate, _task) = start(Drain::never()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let mut head = [0; 12];
    ask(address, "/now").await.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
}

#[test]
fn the_ages_of_connections_are_spread_evenly_around_the_given_one() {
    let builder = http2::Builder::new(Spawner::default());
    let age = ConnectionAge {
        max: Duration::from_secs(1000),
        grace: Duration::ZERO,
    };
    let protocol = Protocol::Http2 {
        builder,
        age: Some(age),
    };
    let mut ages: Vec<u64> = (1..=100)
        .map(|number| match protocol.clone().for_connection(number) {
            Protocol::Http2 { age: Some(age), .. } => age.max.as_secs(),
            other => panic!("{other:?}"),
        })
        .collect();
    ages.sort_unstable();
    assert!(ages[0] >= 900 && ages[99] <= 1100, "{ages:?}");
    assert!(
        ages.windows(2).all(|pair| pair[1] - pair[0] <= 5),
        "no two neighbours are far apart: {ages:?}"
    );
}
