//! Peers that mean no good: what they do costs them their stream, and nobody else anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use mesh_config::Kind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;

use crate::foreign::wire::{RequestResources, Resources, SinkNode, Status};
use crate::foreign::{Ends, GATEWAYS, channel, open};
use crate::harness::{ConfigDir, Galley, TestSink, gateway, within};

const PATH: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

/// The collection's field number, as a number.
#[derive(Clone, PartialEq, prost::Message)]
struct Nonsense {
    #[prost(uint64, tag = "2")]
    collection: u64,
}

/// Streams may be opened as fast as tests do it.
const NO_HURRY: &str = "--newConnectionBurstSize=1000000";

async fn sink(galley: &Galley) -> Ends<RequestResources, Resources> {
    open(channel(galley.mcp).await, PATH).await.unwrap()
}

/// Somebody else is served as if nothing had happened.
async fn others_are_served(galley: &mut Galley, config: &ConfigDir) {
    let mut other = TestSink::start(galley.mcp, &[Kind::Gateway]);
    other.expect(Kind::Gateway, &["weather/a"]).await;
    config.write("a.yaml", gateway("b", 80));
    other.expect(Kind::Gateway, &["weather/b"]).await;
    assert!(galley.is_running());
    let panics = galley.log_lines(|line| line["msg"].as_str().is_some_and(|text| text.starts_with("panic")));
    assert_eq!(panics, 0);
}

#[tokio::test]
async fn garbage_ends_its_own_stream() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let mut galley = Galley::start_with(config.path(), "127.0.0.1:0", &[NO_HURRY]);
    // No HTTP/2, HTTP/2 that stops in the middle of a frame, and frames that make no sense.
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0; 10_000],
    ] {
        let mut stream = TcpStream::connect(galley.mcp).await.unwrap();
        // The other side may have hung up already.
        let _gone = stream.write_all(bytes).await;
    }
    // A message that is no request.
    let mut nonsense: Ends<Nonsense, Resources> = open(channel(galley.mcp).await, PATH).await.unwrap();
    nonsense.send(Nonsense { collection: 7 });
    let status = nonsense.outcome().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    others_are_served(&mut galley, &config).await;
}

#[tokio::test]
async fn names_without_end_are_not_kept() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let mut galley = Galley::start_with(config.path(), "127.0.0.1:0", &[NO_HURRY]);
    let long = "x".repeat(500_000);
    let mut stream = sink(&galley).await;
    stream.send(RequestResources {
        collection: long.clone(),
        ..RequestResources::default()
    });
    let status = stream.outcome().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().len() < 1000);

    // More than a request may have (--server-maxReceivedMessageSize).
    let mut stream = sink(&galley).await;
    stream.send(RequestResources {
        collection: long.repeat(3),
        ..RequestResources::default()
    });
    assert_eq!(stream.outcome().await.unwrap_err().code(), Code::OutOfRange);

    // A name of the sink, a nonce and a reason.
    let mut stream = sink(&galley).await;
    let request = RequestResources {
        sink_node: Some(SinkNode {
            id: long.clone(),
            ..SinkNode::default()
        }),
        collection: GATEWAYS.to_owned(),
        ..RequestResources::default()
    };
    stream.send(request.clone());
    let nonce = stream.next().await.nonce;
    stream.send(RequestResources {
        response_nonce: long.clone(),
        ..request.clone()
    });
    stream.send(RequestResources {
        response_nonce: nonce,
        error_detail: Some(Status {
            code: 1_000_000,
            message: long,
        }),
        ..request
    });
    let page = within("the refusal", async || {
        let page = galley.json("/debug/mcp").await;
        (page["connections"][0]["watches"][GATEWAYS]["nacks"] == 1).then_some(page)
    })
    .await;
    assert!(
        page.to_string().len() < 10_000,
        "{} bytes",
        page.to_string().len()
    );
    others_are_served(&mut galley, &config).await;
}

/// `G3.1`: 1.1 had the flags and did not apply them. Who is turned away harms nobody.
#[tokio::test]
async fn g3_1_streams_beyond_the_rate_are_turned_away() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let flags = ["--newConnectionBurstSize=1", "--newConnectionFreq=10m"];
    let galley = Galley::start_with(config.path(), "127.0.0.1:0", &flags);
    let mut first = sink(&galley).await;
    let second = open::<RequestResources, Resources>(channel(galley.mcp).await, PATH).await;
    let refused = second.err().unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    first.send(RequestResources {
        collection: GATEWAYS.to_owned(),
        ..RequestResources::default()
    });
    assert_eq!(first.next().await.resources.len(), 1);
}

#[tokio::test]
async fn ten_thousand_requests_of_a_sink_that_does_not_read() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let mut galley = Galley::start_with(config.path(), "127.0.0.1:0", &[NO_HURRY]);
    let stream = sink(&galley).await;
    for number in 0..10_000 {
        stream.send(RequestResources {
            collection: if number % 2 == 0 {
                GATEWAYS.to_owned()
            } else {
                format!("made/up/{}", number % 50)
            },
            response_nonce: if number % 3 == 0 {
                String::new()
            } else {
                number.to_string()
            },
            error_detail: (number % 5 == 0).then(|| Status {
                code: 3,
                message: "no".to_owned(),
            }),
            ..RequestResources::default()
        });
    }
    // Half-open streams: connected, and not a word.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(sink(&galley).await);
    }
    others_are_served(&mut galley, &config).await;
    let lines = galley.log_lines(|line| line["level"] == "warn" || line["level"] == "info");
    assert!(lines < 1000, "{lines} lines were logged");
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are of interest")]
async fn pain_18_sinks_that_come_and_go_leave_nothing_behind() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let mut galley = Galley::start_with(config.path(), "127.0.0.1:0", &[NO_HURRY]);
    let channel = channel(galley.mcp).await;
    let come_and_go = async |number: u32| {
        let mut stream: Ends<RequestResources, Resources> = open(channel.clone(), PATH).await.unwrap();
        for collection in [GATEWAYS.to_owned(), format!("made/up/{number}")] {
            stream.send(RequestResources {
                sink_node: Some(SinkNode {
                    id: format!("sink-{number}"),
                    ..SinkNode::default()
                }),
                collection,
                ..RequestResources::default()
            });
            stream.next().await;
        }
    };
    let kept = async || {
        within("all gone", async || {
            let page = galley.json("/debug/mcp").await;
            page["connections"].as_array()?.is_empty().then_some(())
        })
        .await;
        assert_eq!(galley.metric("galley_mcp_source_clients_total ").await, 0.0);
        // Everything that is kept of a stream would be here.
        let text = galley.get("/metrics").await.1;
        text.lines().filter(|line| line.starts_with("galley_")).count()
    };
    for number in 0..20 {
        come_and_go(number).await;
    }
    let few = kept().await;
    let streams = if std::env::var_os("MESH_TEST_FULL").is_some() {
        100_000
    } else {
        500
    };
    let before = galley.resident();
    for number in 20..streams {
        come_and_go(number).await;
    }
    assert_eq!(kept().await, few);
    // How much memory the process has is for who looks; what is kept decides.
    println!(
        "{streams} streams: {before} kB before, {} kB after",
        galley.resident()
    );
    let reopened = galley.metric("galley_mcp_source_reconnections ").await;
    assert_eq!(reopened, f64::from(streams) - 1.0);
    others_are_served(&mut galley, &config).await;
}
