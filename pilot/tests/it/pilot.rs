//! The Pilot under test.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser as _;
use mesh_runtime::Runtime;
use mesh_testing::ads::node;
use mesh_testing::eventually;
use pilot::args::{Args, Command};
use pilot::server::{self, Addresses};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PATIENCE;
use crate::envoy::Envoy;
use crate::galley::Galley;

pub(crate) const FRONTEND: &str = "sidecar~10.1.0.3~frontend-v1-0.weather~weather.svc.cluster.local";
pub(crate) const FORECAST: &str = "sidecar~10.1.0.1~forecast-v1-0.weather~weather.svc.cluster.local";
pub(crate) const INGRESS: &str =
    "router~10.1.0.4~istio-ingressgateway-0.istio-system~istio-system.svc.cluster.local";

pub(crate) struct Pilot {
    pub(crate) addresses: Addresses,
    directory: TempDir,
}

impl Pilot {
    /// A Pilot that follows a source and has published what the source has.
    pub(crate) async fn of(galley: &Galley) -> Self {
        let pilot = Self::start(galley, &[]).await;
        pilot.ready().await;
        pilot
    }

    pub(crate) async fn start(galley: &Galley, flags: &[&str]) -> Self {
        Self::try_start(galley, flags).await.unwrap()
    }

    /// The same, where it may not start.
    pub(crate) async fn try_start(galley: &Galley, flags: &[&str]) -> anyhow::Result<Self> {
        let source = format!("--mcpServerAddrs=mcp://{}", galley.address());
        let flags: Vec<&str> = [source.as_str()]
            .into_iter()
            .chain(flags.iter().copied())
            .collect();
        Self::try_alone("rootNamespace: istio-system\n", &flags).await
    }

    /// A Pilot with a mesh configuration, and without sources that flags and configuration do not name.
    pub(crate) async fn alone(mesh_config: &str, flags: &[&str]) -> Self {
        Self::try_alone(mesh_config, flags).await.unwrap()
    }

    async fn try_alone(mesh_config: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mesh = directory.path().join("mesh");
        std::fs::write(&mesh, mesh_config).unwrap();
        let mesh = format!("--meshConfig={}", mesh.display());
        let fixed = [
            "pilot-discovery",
            "discovery",
            "--httpAddr=127.0.0.1:0",
            "--grpcAddr=127.0.0.1:0",
            "--monitoringAddr=127.0.0.1:0",
            "--ctrlz_address=",
            "--networksConfig=",
            "--debounceAfter=10ms",
            &mesh,
        ];
        // What a test says itself is not said twice.
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let fixed = fixed
            .iter()
            .filter(|fixed| flags.iter().all(|flag| name(flag) != name(fixed)));
        let args = Args::try_parse_from(fixed.chain(flags)).unwrap();
        let Command::Discovery(args) = args.command else {
            panic!("not the discovery command");
        };
        let runtime = Runtime::builder("pilot-discovery").build().unwrap();
        let addresses = server::start(&runtime, *args).await?;
        Ok(Self { addresses, directory })
    }

    /// Waits until everything was received and published.
    pub(crate) async fn ready(&self) {
        eventually(PATIENCE, async || match self.get("/ready").await {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .await
        .unwrap();
    }

    pub(crate) fn xds(&self) -> String {
        format!("http://{}", self.addresses.xds.unwrap())
    }

    /// The file with the mesh configuration.
    pub(crate) fn mesh_config(&self) -> PathBuf {
        self.directory.path().join("mesh")
    }

    /// A sidecar or gateway that was just started.
    pub(crate) async fn envoy(&self, id: &str) -> Envoy {
        Envoy::sotw(&self.xds(), node(id, &json!({}))).await
    }

    /// A proxy that holds everything.
    pub(crate) async fn settled(&self, id: &str) -> Envoy {
        let mut envoy = self.envoy(id).await;
        envoy.settle().await;
        envoy
    }

    /// Status and body of a page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(self.addresses.http.unwrap(), path).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error} in {body}"))
    }

    /// All metrics as Prometheus reads them.
    pub(crate) async fn metrics(&self) -> String {
        let (status, text) = get(self.addresses.monitoring.unwrap(), "/metrics").await;
        assert_eq!(status, 200);
        text
    }

    /// Status and body of a page at the port for monitoring.
    pub(crate) async fn get_monitoring(&self, path: &str) -> (u16, String) {
        get(self.addresses.monitoring.unwrap(), path).await
    }

    /// The value of a metric; 0 when it has none yet. `name` holds the labels as Prometheus writes them.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until_metric(&self, name: &str, expected: f64) {
        eventually(PATIENCE, async || match self.metric(name).await {
            value if value == expected => Ok(()),
            value => Err(format!("{name} is {value}")),
        })
        .await
        .unwrap();
    }

    /// Waits until a proxy has accepted everything; its entry in `/debug/syncz`.
    pub(crate) async fn synced(&self, proxy: &str) -> Value {
        eventually(PATIENCE, async || {
            let status = self.find_sync_status(proxy).await.ok_or(Value::Null)?;
            let mut types = ["cluster", "endpoint", "listener", "route"].iter();
            let is_synced = types.all(|name| {
                let nonce = |what| &status[format!("{name}_{what}")];
                nonce("sent") == nonce("acked")
            });
            if is_synced { Ok(status) } else { Err(status) }
        })
        .await
        .unwrap()
    }

    /// The entry of a proxy in `/debug/syncz`, which is connected.
    pub(crate) async fn sync_status(&self, proxy: &str) -> Value {
        let status = self.find_sync_status(proxy).await;
        status.unwrap_or_else(|| panic!("{proxy} is not connected"))
    }

    /// The entry of a proxy in `/debug/syncz`, if it is connected.
    pub(crate) async fn find_sync_status(&self, proxy: &str) -> Option<Value> {
        let all = self.json("/debug/syncz").await;
        let mut entries = all.as_array().unwrap().iter();
        entries.find(|entry| entry["proxy"] == proxy).cloned()
    }
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nhost: pilot\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().unwrap(), body.to_owned())
}
