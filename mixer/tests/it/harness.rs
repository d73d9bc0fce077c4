//! A running `mixs` with a directory of its own, and calls of it.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use mesh_api::istio::mixer::v1::{
    CheckRequest, CheckResponse, CompressedAttributes, ReportRequest, ReportResponse,
};
use mesh_testing::eventually;
use mesh_testing::process::Process;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Longer than anything here takes, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Attributes that the tests use.
const MANIFEST: &str = "
apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: all, namespace: istio-system}
spec:
  attributes:
    source.name: {valueType: STRING}
    destination.namespace: {valueType: STRING}
";

/// A process, killed when dropped.
pub(crate) struct Mixer {
    _process: Process,
    folder: TempDir,
    monitoring: SocketAddr,
    channel: Channel,
}

pub(crate) fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}, namespace: istio-system}}\nspec: {spec}\n---\n"
    )
}

/// Attributes that are strings.
pub(crate) fn attributes(pairs: &[(&str, &str)]) -> CompressedAttributes {
    let mut set = CompressedAttributes::default();
    for (name, value) in pairs {
        let mut word = |word: &str| {
            set.words.push(word.to_owned());
            -i32::try_from(set.words.len()).unwrap()
        };
        let (name, value) = (word(name), word(value));
        set.strings.insert(name, value);
    }
    set
}

impl Mixer {
    /// Starts it with a configuration, and waits until that is in force.
    pub(crate) async fn start(config: &str, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("manifest.yaml"), MANIFEST).unwrap();
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixs"));
        command
            .arg("server")
            .arg(format!("--configStoreURL=fs://{}", folder.path().display()))
            .args([
                "--address=127.0.0.1:0",
                "--monitoringAddr=127.0.0.1:0",
                "--ctrlz_address=",
                "--log_as_json",
            ])
            .args(flags);
        let mut process = Process::start("mixs", command).unwrap();
        let mut address = async |flag: &str| -> SocketAddr {
            let find = |line: &str| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["msg"] == "listening" && line["flag"] == flag)
                    .then(|| line["address"].as_str().unwrap().parse().unwrap())
            };
            process.wait_for_line(PATIENCE, find).await.unwrap()
        };
        let (service, monitoring) = (address("--address").await, address("--monitoringAddr").await);
        let channel = Endpoint::from_shared(format!("http://{service}"))
            .unwrap()
            .connect_lazy();
        let mixer = Self {
            _process: process,
            folder,
            monitoring,
            channel,
        };
        eventually(PATIENCE, async || match mixer.get("/ready").await {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .await
        .unwrap();
        mixer
    }

    /// Replaces the configuration, and waits until it is in force.
    pub(crate) async fn configure(&self, config: &str) {
        let before = self.json("/debug/configz").await["id"].clone();
        fs::write(self.folder.path().join("config.yaml"), config).unwrap();
        eventually(PATIENCE, async || match self.json("/debug/configz").await["id"] {
            ref id if *id == before => Err("the former configuration is in force"),
            _ => Ok(()),
        })
        .await
        .unwrap();
    }

    pub(crate) async fn check(&self, request: CheckRequest) -> Result<CheckResponse, Status> {
        let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/istio.mixer.v1.Mixer/Check");
        Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
    }

    pub(crate) async fn report(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        let codec = tonic_prost::ProstCodec::<ReportRequest, ReportResponse>::default();
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/istio.mixer.v1.Mixer/Report");
        Ok(grpc.unary(Request::new(request), path, codec).await?.into_inner())
    }

    /// Status and body of a page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.monitoring).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: mixer\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}
