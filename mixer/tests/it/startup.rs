//! How `mixs` starts, and how much it does at once (`spec 02` §9.1, §9.7).

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use mesh_api::checknothing::HandleCheckNothingRequest;
use mesh_api::checknothing::handle_check_nothing_service_server::{
    HandleCheckNothingService, HandleCheckNothingServiceServer,
};
use mesh_api::google::rpc;
use mesh_api::istio::mixer::adapter::model::v1beta1::CheckResult;
use mesh_runtime::grpc::{self, GrpcMetrics, GrpcOptions};
use mesh_runtime::{Drain, Metrics, Spawner};
use mesh_testing::process::Process;
use mesh_testing::{eventually, ports};
use mixer_runtime::Adapters;
use mixer_template::Template;
use tokio::sync::Barrier;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use crate::harness::{Facts, Mixer, PATIENCE, object};

/// M102: an adapter says what it is called and which templates it serves, and is found by that; M112: two of one name keep
/// Mixer from starting.
#[test]
fn m102_m112_adapters_say_what_they_are() {
    let adapters = Adapters::new(mixer_adapters::all()).unwrap();
    let metric: Vec<_> = adapters
        .names()
        .filter(|name| {
            adapters
                .get(name)
                .unwrap()
                .info()
                .templates
                .contains(&Template::Metric)
        })
        .collect();
    for name in ["bypass", "noop", "prometheus", "statsd", "stdio"] {
        assert!(metric.contains(&name), "{metric:?}");
    }
    let twice = mixer_adapters::all().into_iter().chain(mixer_adapters::all());
    let error = Adapters::new(twice.collect()).unwrap_err();
    assert!(
        error.to_string().starts_with("there are two adapters called "),
        "{error}"
    );
}

/// M112: the socket is there before the configuration, and is a new one; without configuration nobody is told that Mixer is
/// ready. What cannot be a store is refused at once.
#[tokio::test]
async fn m112_the_socket_is_there_before_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mixer.socket");
    // Of a process that was killed.
    drop(UnixListener::bind(&socket).unwrap());
    // Nobody is there.
    let galley = ports::unused().unwrap();
    let mixs = |store: String, socket: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixs"));
        command
            .arg("server")
            .arg(format!("--configStoreURL={store}"))
            .arg(format!("--address=unix://{}", socket.display()))
            .args([
                "--monitoringAddr=127.0.0.1:0",
                "--ctrlz_address=",
                "--log_as_json",
            ]);
        command
    };
    let mut process = Process::start("mixs", mixs(format!("mcp://127.0.0.1:{galley}"), &socket)).unwrap();
    let monitoring = crate::harness::address(&mut process, "--monitoringAddr").await;
    eventually(PATIENCE, async || {
        tokio::net::UnixStream::connect(&socket).await.map(drop)
    })
    .await
    .unwrap();
    let (status, said) = crate::harness::get(monitoring, "/ready").await;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("configuration"), "{said}");

    let output = mixs("http://nowhere".to_owned(), &folder.path().join("other.socket"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("--configStoreURL") && said.contains("http"),
        "{said}"
    );
}

/// A back end that answers when three ask, and remembers how many asked at once.
#[derive(Clone)]
struct Three {
    barrier: Arc<Barrier>,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl HandleCheckNothingService for Three {
    async fn handle_check_nothing(
        &self,
        _: Request<HandleCheckNothingRequest>,
    ) -> Result<Response<CheckResult>, Status> {
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(at_once, Ordering::SeqCst);
        self.barrier.wait().await;
        // Whoever else may come, comes now.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        Ok(Response::new(CheckResult {
            status: Some(rpc::Status::default()),
            ..CheckResult::default()
        }))
    }
}

/// M120: as many calls are worked on as there are workers, and others wait for their turn; none is refused.
#[tokio::test(flavor = "multi_thread")]
async fn m120_calls_wait_for_a_worker() {
    let backend = Three {
        barrier: Arc::new(Barrier::new(3)),
        at_once: Arc::default(),
        most: Arc::default(),
    };
    let (listener, address) = ports::listen().await.unwrap();
    let spawner = Spawner::default();
    spawner.clone().spawn(
        "back end",
        grpc::serve(
            "back end",
            listener,
            Routes::new(HandleCheckNothingServiceServer::new(backend.clone())),
            GrpcOptions::default(),
            GrpcMetrics::register(&Metrics::new()).unwrap(),
            spawner,
            Drain::never(),
        ),
    );
    let config = [
        object(
            "handler",
            "three",
            &format!("{{compiledAdapter: bypass, params: {{backendAddress: '{address}'}}}}"),
        ),
        object("instance", "question", "{compiledTemplate: checknothing}"),
        object(
            "rule",
            "all",
            "{actions: [{handler: three, instances: [question]}]}",
        ),
    ];
    let mixer = Mixer::start(&config.concat(), &["--apiWorkerPoolSize=3"]).await;
    let calls = (0..12).map(|_| mixer.check(Facts::default().check()));
    for answer in join_all(calls).await {
        let status = answer.unwrap().precondition.unwrap().status.unwrap();
        assert_eq!(status.code, 0, "{}", status.message);
    }
    assert_eq!(backend.most.load(Ordering::SeqCst), 3);
}
