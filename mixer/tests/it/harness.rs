//! A running `mixs` with a directory of its own, and calls of it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mesh_api::istio::mixer::v1::mixer_client::MixerClient;
use mesh_api::istio::mixer::v1::{
    CheckRequest, CheckResponse, CompressedAttributes, ReportRequest, ReportResponse,
};
use mesh_testing::eventually;
use mesh_testing::process::Process;
use mixer_attribute::encode::{self, Attributes, Sent};
use mixer_attribute::{self as attribute, QuotaParams, Semantics, StringMap, dictionary};
use prost::Message as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Longer than anything here takes, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Words of the dictionary that callers know: all.
const WORDS: u32 = dictionary::LEN as u32;

/// Attributes that the tests use.
const MANIFEST: &str = "
apiVersion: config.istio.io/v1alpha2
kind: attributemanifest
metadata: {name: all, namespace: istio-system}
spec:
  attributes:
    source.name: {valueType: STRING}
    source.ip: {valueType: IP_ADDRESS}
    source.user: {valueType: STRING}
    destination.namespace: {valueType: STRING}
    request.path: {valueType: STRING}
    request.url_path: {valueType: STRING}
    request.method: {valueType: STRING}
    request.headers: {valueType: STRING_MAP}
    response.code: {valueType: INT64}
    context.protocol: {valueType: STRING}
    connection.event: {valueType: STRING}
    connection.received.bytes: {valueType: INT64}
";

/// A process, killed when dropped.
pub(crate) struct Mixer {
    process: Process,
    folder: Option<TempDir>,
    pub(crate) service: SocketAddr,
    monitoring: SocketAddr,
    control: SocketAddr,
    channel: Channel,
}

/// A request for a page of somebody who listens here.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: mixer\r\nConnection: close\r\n\r\n");
    exchange(address, head.as_bytes()).await
}

async fn post(address: SocketAddr, path: &str, body: &[u8]) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: mixer\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    );
    exchange(address, &[head.as_bytes(), body].concat()).await
}

async fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The value of a series in Prometheus' text; 0 if it is not there.
pub(crate) fn metric(text: &str, series: &str) -> f64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

/// Waits until the log names the address at which somebody listens.
pub(crate) async fn address(process: &mut Process, name: &str) -> SocketAddr {
    process.wait_for_address(PATIENCE, name).await.unwrap()
}

pub(crate) fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{name: {name}, namespace: istio-system}}\nspec: {spec}\n---\n"
    )
}

/// An example of the book with the attributes that it needs.
pub(crate) fn example(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/examples");
    ["attributes.yaml", file]
        .map(|file| fs::read_to_string(folder.join(file)).unwrap())
        .concat()
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
        let mixer = Self::at(&format!("fs://{}", folder.path().display()), flags).await;
        Self {
            folder: Some(folder),
            ..mixer
        }
    }

    /// Starts it with a store, and waits until its configuration is in force.
    pub(crate) async fn at(store: &str, flags: &[&str]) -> Self {
        let mixer = Self::launch(store, flags).await;
        eventually(PATIENCE, async || match mixer.get("/ready").await {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status} {body}")),
        })
        .await
        .unwrap();
        mixer
    }

    /// Starts it with a store, and does not wait for its configuration.
    pub(crate) async fn launch(store: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixs"));
        command
            .arg("server")
            .arg(format!("--configStoreURL={store}"))
            .args([
                "--address=127.0.0.1:0",
                "--monitoringAddr=127.0.0.1:0",
                "--prometheusAddr=127.0.0.1:0",
                "--ctrlz_port=0",
                "--log_as_json",
            ])
            .args(flags);
        let mut process = Process::start("mixs", command).unwrap();
        let service = address(&mut process, "--address").await;
        let monitoring = address(&mut process, "--monitoringAddr").await;
        let control = address(&mut process, "--ctrlz_port").await;
        let channel = Endpoint::from_shared(format!("http://{service}"))
            .unwrap()
            .connect_lazy();
        Self {
            process,
            folder: None,
            service,
            monitoring,
            control,
            channel,
        }
    }

    /// Where its services are.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Replaces the configuration at once, so that nobody reads a part of it.
    pub(crate) fn write(&self, config: &str) {
        let folder = self.folder.as_ref().expect("a folder of its own");
        let file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
        fs::write(file.path(), config).unwrap();
        file.persist(folder.path().join("config.yaml")).unwrap();
    }

    /// Replaces the configuration, and waits until it is in force.
    pub(crate) async fn configure(&self, config: &str) {
        let before = self.json("/debug/configz").await["id"].clone();
        self.write(config);
        eventually(PATIENCE, async || match self.json("/debug/configz").await["id"] {
            ref id if *id == before => Err("the former configuration is in force"),
            _ => Ok(()),
        })
        .await
        .unwrap();
    }

    pub(crate) async fn check(&self, request: CheckRequest) -> Result<CheckResponse, Status> {
        Ok(self.check_with(Request::new(request)).await?.into_inner())
    }

    /// A check with metadata, in both directions.
    pub(crate) async fn check_with(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        MixerClient::new(self.channel.clone()).check(request).await
    }

    pub(crate) async fn report(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        let mut client = MixerClient::new(self.channel.clone());
        Ok(client.report(request).await?.into_inner())
    }

    /// How it explains a request at its control server.
    pub(crate) async fn explain(&self, request: &CheckRequest) -> Value {
        let (status, body) = post(self.control, "/debug/explain", &request.encode_to_vec()).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The status of the same at the port that shows metrics.
    pub(crate) async fn explain_to_everybody(&self, request: &CheckRequest) -> u16 {
        let (status, _) = post(self.monitoring, "/debug/explain", &request.encode_to_vec()).await;
        status
    }

    /// The value of a metric of its own; 0 if it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        metric(&text, name)
    }

    /// Status and body of a page.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(self.monitoring, path).await
    }

    /// Where Prometheus would scrape.
    pub(crate) async fn exporter(&mut self) -> SocketAddr {
        address(&mut self.process, "prometheus handlers").await
    }

    /// What Prometheus would see, line by line.
    pub(crate) async fn scrape(&mut self) -> Vec<String> {
        let exporter = self.exporter().await;
        let (status, body) = get(exporter, "/metrics").await;
        assert_eq!(status, 200, "{body}");
        body.lines().map(str::to_owned).collect()
    }

    /// Waits until it has written so many lines of JSON with a field, and returns them.
    pub(crate) async fn lines_with(&self, field: &str, count: usize) -> Vec<Value> {
        eventually(PATIENCE, async || {
            let log = self.process.log();
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<_> = lines.filter(|line| line.get(field).is_some()).collect();
            match lines.len() == count {
                true => Ok(lines),
                false => Err(format!("{} lines", lines.len())),
            }
        })
        .await
        .unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

/// What is told of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts(Attributes<'static>);

// === impl Facts ===

impl Facts {
    fn with(mut self, name: &str, value: attribute::Value<'static>) -> Self {
        self.0.insert(name.to_owned(), Sent::Value(value));
        self
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.with(name, attribute::Value::String(value.to_owned().into()))
    }

    pub(crate) fn number(self, name: &str, value: i64) -> Self {
        self.with(name, attribute::Value::Int64(value))
    }

    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.with(name, attribute::Value::Bool(value))
    }

    pub(crate) fn millis(self, name: &str, value: u64) -> Self {
        let duration = Duration::from_millis(value).try_into().unwrap();
        self.with(name, attribute::Value::Duration(duration))
    }

    pub(crate) fn time(self, name: &str, seconds: i64) -> Self {
        let time = prost_types::Timestamp { seconds, nanos: 0 };
        self.with(name, attribute::Value::Timestamp(time))
    }

    pub(crate) fn address(self, name: &str, value: IpAddr) -> Self {
        self.with(name, attribute::Value::IpAddress(value))
    }

    pub(crate) fn map(self, name: &str, entries: &[(&'static str, &'static str)]) -> Self {
        let map = StringMap::borrowed(entries.iter().copied()).into_owned();
        self.with(name, attribute::Value::StringMap(map))
    }

    /// A question about it.
    pub(crate) fn check(&self) -> CheckRequest {
        self.check_with(&[])
    }

    /// A question about it that also asks for quotas, all or nothing.
    pub(crate) fn check_with(&self, quotas: &[(&str, i64)]) -> CheckRequest {
        let quota = |(name, amount): &(&str, i64)| {
            let params = QuotaParams {
                amount: *amount,
                best_effort: false,
            };
            ((*name).to_owned(), params)
        };
        let quotas = quotas.iter().map(quota).collect();
        encode::check_request(&self.0, &quotas, String::new(), WORDS)
    }
}

/// A report of such, as sidecars send it.
pub(crate) fn report(requests: &[Facts]) -> ReportRequest {
    let sets: Vec<_> = requests.iter().map(|facts| facts.0.clone()).collect();
    encode::report_request(&sets, Semantics::Independent, WORDS).unwrap()
}
