//! The process: certificates, health, and its end.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use http::uri::PathAndQuery;
use mesh_runtime::Runtime;
use mesh_runtime::grpc::{ClientOptions, connect_tls};
use mesh_runtime::tls::{CertificateFiles, ClientTls, Credentials, H2, IdentityFiles, ServerCheck};
use mesh_testing::certificates::Authority;
use mesh_testing::eventually;
use mixer_sdk::{Code, Status};
use prost::Message;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::world::{PATIENCE, Recorder, args, channel, check, host_port, params, report, serve};

/// The messages of `grpc.health.v1`, as far as they are needed.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

async fn health(channel: &Channel, path: &'static str, service: &str) -> Result<i32, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let request = tonic::Request::new(Asked {
        service: service.to_owned(),
    });
    let codec = ProstCodec::<Asked, Told>::default();
    let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
    answer.map(|told| told.into_inner().status)
}

const CHECK: &str = "/grpc.health.v1.Health/Check";

#[tokio::test]
async fn spec_02_11_5_probes_are_told_whether_the_process_serves() {
    let recorder = Recorder::new();
    let (runtime, address) = serve(&recorder, &[]).await;
    let channel = channel(address);
    for service in [
        "",
        "metric.HandleMetricService",
        "listentry.HandleListEntryService",
    ] {
        assert_eq!(
            health(&channel, CHECK, service).await.unwrap(),
            SERVING,
            "{service}"
        );
    }
    let error = health(&channel, CHECK, "edge.HandleEdgeService")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let error = health(&channel, "/grpc.health.v1.Health/Watch", "")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    let busy = runtime.readiness().task("caches");
    assert_eq!(health(&channel, CHECK, "").await.unwrap(), NOT_SERVING);
    busy.ready();
    assert_eq!(health(&channel, CHECK, "").await.unwrap(), SERVING);
}

/// Certificate, key and authorities in a folder.
fn identity(folder: &Path, authority: &Authority, name: &str) -> CertificateFiles {
    let files = authority.issue_into(folder, &[name]).unwrap();
    CertificateFiles {
        identity: Some(IdentityFiles {
            certificate: files.certificate,
            key: files.key,
        }),
        authorities: Some(files.authorities),
    }
}

async fn secured(address: std::net::SocketAddr, files: CertificateFiles) -> Channel {
    let credentials = Credentials::load(files).await.unwrap();
    let tls = ClientTls::new(credentials, ServerCheck::Name)
        .with_protocol(H2)
        .with_sni("adapter.test");
    connect_tls(&host_port(address), &ClientOptions::default(), tls).unwrap()
}

#[tokio::test]
async fn spec_02_10_5_callers_are_checked_when_there_are_authorities() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("mesh").unwrap();
    let stranger = Authority::new("stranger").unwrap();
    identity(&folder.path().join("server"), &authority, "adapter.test");
    let caller = identity(
        &folder.path().join("caller"),
        &authority,
        "spiffe://cluster.local/ns/a/sa/b",
    );
    let path = |name: &str| folder.path().join("server").join(name).display().to_string();
    let flags = [
        format!("--certificate={}", path("cert.pem")),
        format!("--key={}", path("key.pem")),
        format!("--ca={}", path("ca.pem")),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let recorder = Recorder::new();

    // Without authorities any caller is served that trusts the certificate.
    let (_tls, address) = serve(&recorder, &flags[..2]).await;
    let anonymous = CertificateFiles {
        identity: None,
        ..caller.clone()
    };
    let call = async |channel: Channel| report(&channel, Some(params("a")), "x").await;
    call(secured(address, anonymous.clone()).await).await.unwrap();
    assert!(call(channel(address)).await.is_err());

    let (_mutual, address) = serve(&recorder, &flags).await;
    call(secured(address, caller.clone()).await).await.unwrap();
    assert!(call(secured(address, anonymous).await).await.is_err());
    // One of another authority, who trusts the server.
    let name = "spiffe://cluster.local/ns/a/sa/b";
    let foreign = identity(&folder.path().join("foreign"), &stranger, name);
    let trusted = [stranger.certificate(), authority.certificate()].concat();
    fs::write(folder.path().join("foreign/ca.pem"), trusted).unwrap();
    assert!(call(secured(address, foreign).await).await.is_err());
    assert_eq!(recorder.events.count("a: x"), 2);
}

#[test]
fn spec_02_11_5_flags_that_make_no_sense_alone_are_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.pem").display().to_string();
    runtime.block_on(async {
        let process = Runtime::builder("adapter").build().unwrap();
        let flags = [format!("--certificate={none}"), format!("--key={none}")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let error = Recorder::new()
            .server()
            .serve(&process, &args(&flags))
            .await
            .unwrap_err();
        assert!(mesh_runtime::error_chain(&error).contains("none.pem"), "{error}");
        // An address that is taken.
        let (_runtime, address) = serve(&Recorder::new(), &[]).await;
        let flags = format!("--address={address}");
        let error = Recorder::new()
            .server()
            .serve(&process, &args(&[&flags]))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_02_11_5_calls_that_have_begun_are_answered_before_the_end() {
    let recorder = Recorder::new();
    let server = recorder.server();
    let (started, start) = mpsc::channel();
    let process = std::thread::spawn(move || {
        mesh_runtime::run(Runtime::builder("adapter"), async move |runtime: Runtime| {
            let address = server.serve(&runtime, &args(&[])).await?;
            started.send((runtime.clone(), address)).unwrap();
            Ok::<_, mixer_sdk::ServeError>(())
        })
    });
    let (runtime, address) = tokio::task::spawn_blocking(move || start.recv().unwrap())
        .await
        .unwrap();
    let channel = channel(address);
    let calling = mesh_runtime::Spawner::default().spawn("call", {
        let channel = channel.clone();
        async move {
            let answer = check(&channel, Some(params("a")), "slow").await;
            assert_eq!(answer.unwrap(), "a refuses slow");
        }
    });
    eventually(PATIENCE, async || match recorder.events.count("slow") {
        1 => Ok(()),
        _ => Err("the call has not begun"),
    })
    .await
    .unwrap();
    runtime.shutdown().request("the test is over");
    eventually(PATIENCE, async || match TcpStream::connect(address).await {
        Ok(_) => Err("is still listening"),
        Err(_) => Ok(()),
    })
    .await
    .unwrap();
    assert!(!calling.is_finished());
    recorder.gate.add_permits(1);
    calling.join().await.unwrap();
    drop(channel);
    let code = tokio::task::spawn_blocking(move || process.join().unwrap())
        .await
        .unwrap();
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
}
