//! The program against a Mixer that takes down what it is asked.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, Mutex};

use mesh_api::istio::mixer::v1::mixer_server::{Mixer, MixerServer};
use mesh_api::istio::mixer::v1::{CheckRequest, CheckResponse, ReportRequest, ReportResponse};
use mixer_attribute::encode;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Seen>>);

#[derive(Clone, Debug, Default)]
struct Seen {
    checks: Vec<CheckRequest>,
    reports: Vec<ReportRequest>,
}

#[tonic::async_trait]
impl Mixer for Recorder {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let minute = std::time::Duration::from_secs(60);
        let quotas = request.quotas.iter().map(|(name, params)| {
            let granted = encode::quota_result(params.amount, minute, Default::default());
            (name.clone(), granted)
        });
        let response = CheckResponse {
            quotas: quotas.collect(),
            precondition: Some(encode::precondition_result(
                0,
                String::new(),
                minute,
                10_000,
                Default::default(),
                None,
            )),
        };
        self.0.lock().expect("nobody panics with it").checks.push(request);
        Ok(Response::new(response))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Result<Response<ReportResponse>, Status> {
        let request = request.into_inner();
        let refused = request.default_words.iter().any(|word| word == "refuse");
        self.0
            .lock()
            .expect("nobody panics with it")
            .reports
            .push(request);
        if refused {
            return Err(Status::unknown("told nobody"));
        }
        Ok(Response::new(ReportResponse {}))
    }
}

/// What the program printed, and what it asked.
async fn run(args: &[&str]) -> (Output, Seen) {
    let recorder = Recorder::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    let serve = tonic::transport::Server::builder()
        .add_service(MixerServer::new(recorder.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let output = Command::new(env!("CARGO_BIN_EXE_mixc"))
        .args(args)
        .args(["-m", &address.to_string()])
        .output();
    let output = tokio::select! {
        output = output => output.expect("it runs"),
        result = serve => panic!("the server ends: {result:?}"),
    };
    let seen = recorder.0.lock().expect("nobody panics with it").clone();
    (output, seen)
}

fn text(output: &Output) -> &str {
    assert!(output.stderr.is_empty(), "{output:?}");
    str::from_utf8(&output.stdout).expect("it prints text")
}

/// §9.2: a check with attributes of all types and with quotas.
#[tokio::test]
async fn a_check_is_sent_and_its_answer_printed() {
    let (output, seen) = run(&[
        "check",
        "-s",
        "source.name=a,destination.service=b.c",
        "-i",
        "destination.port=80",
        "-d",
        "x.y=0.5",
        "-b",
        "connection.mtls=true",
        "-t",
        "request.time=2017-07-04T00:01:10Z",
        "--duration_attributes",
        "response.duration=1500ms",
        "--bytes_attributes",
        "source.ip=c0:0:0:2",
        "--stringmap_attributes",
        "request.headers=clnt:abc;user-agent:GET",
        "-a",
        "request.size=7,request.path=/p",
        "-q",
        "requestcount=5",
    ])
    .await;
    assert!(output.status.success());
    assert_eq!(
        text(&output),
        "Check RPC completed successfully. Check status was OK
  Valid use count: 10000, valid duration: 1m0s
  Referenced Attributes

  Quota         Granted Amount  Duration
  requestcount  5               1m0s

"
    );
    let [request] = &seen.checks[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(request.global_word_count, 221);
    assert!(!request.deduplication_id.is_empty());
    assert!(request.quotas["requestcount"].best_effort);
    let set = request.attributes.as_ref().expect("it is there");
    assert_eq!(set.strings.keys().copied().collect::<Vec<_>>(), [2, 17, 152]);
    assert_eq!(set.int64s, [(23, 7), (151, 80)].into());
    assert_eq!(set.doubles.len(), 1);
    assert_eq!(set.bools, [(177, true)].into());
    assert_eq!(set.timestamps[&24].seconds, 1_499_126_470);
    assert_eq!(set.durations[&29].nanos, 500_000_000);
    assert_eq!(&set.bytes[&0][..], [0xc0, 0, 0, 2]);
    assert_eq!(set.string_maps[&15].entries[&86], 90);
}

#[tokio::test]
async fn workers_repeat_what_they_are_told() {
    let (output, seen) = run(&[
        "check",
        "-c",
        "3",
        "-r",
        "4",
        "--rate",
        "1000",
        "--print_response=false",
    ])
    .await;
    assert!(output.status.success());
    assert_eq!(text(&output), "");
    let mut ids: Vec<_> = seen.checks.iter().map(|check| &check.deduplication_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 12, "each call has an id of its own");
}

#[tokio::test]
async fn reports_are_sent_in_batches() {
    let (output, seen) = run(&[
        "report",
        "-s",
        "request.path=/p",
        "-r",
        "5",
        "--report_batch_size",
        "2",
    ])
    .await;
    assert!(output.status.success());
    assert_eq!(text(&output), "Report RPC returned OK\n".repeat(3));
    let sizes: Vec<_> = seen
        .reports
        .iter()
        .map(|report| report.attributes.len())
        .collect();
    assert_eq!(sizes, [2, 2, 1]);
    assert_eq!(seen.reports[0].default_words, ["/p"]);
}

#[tokio::test]
async fn what_fails_is_printed_and_shows_in_the_exit_code() {
    let (output, _) = run(&["report", "-s", "request.path=refuse", "--print_response=false"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output), "Report RPC returned Unknown (told nobody)\n");

    let (output, seen) = run(&["check", "-i", "destination.port=x"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "attribute destination.port: \"x\" is not a whole number\n");
    assert!(seen.checks.is_empty());
}
