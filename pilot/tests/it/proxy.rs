//! A real Envoy that Pilot configures.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use mesh_testing::process::Process;
use mesh_testing::{Envoy, eventually};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::PATIENCE;
use crate::pilot::Pilot;

/// A gateway `app: edge` of namespace `weather` or another one, which several can be of on one machine.
pub(crate) struct Proxy {
    process: Process,
    http: u16,
    admin: PathBuf,
    _directory: TempDir,
}

/// What a proxy says of itself.
#[derive(Default)]
pub(crate) struct Node<'a> {
    /// `region/zone/subzone`.
    pub(crate) locality: &'a str,
    /// Its namespace, `weather` when empty.
    pub(crate) namespace: &'a str,
    pub(crate) metadata: Vec<(&'a str, String)>,
    /// The port of a Zipkin collector, of which the agent makes a cluster.
    pub(crate) collector: Option<u16>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Proxy {
    /// Starts a gateway that serves this port.
    pub(crate) fn start(envoy: &Envoy, pilot: &Pilot, http: u16, node: &Node<'_>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bootstrap = directory.path().join("bootstrap.json");
        std::fs::write(&bootstrap, bootstrap_of(pilot, node).to_string()).unwrap();
        let admin = directory.path().join("admin");
        let mut command = Command::new(&envoy.path);
        command.arg("-c").arg(&bootstrap);
        command.arg("--admin-address-path").arg(&admin);
        command.args([
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ]);
        let process = Process::start("envoy", command).unwrap();
        Self {
            process,
            http,
            admin,
            _directory: directory,
        }
    }

    /// A request for a host.
    pub(crate) async fn get(&self, authority: &str) -> Result<Answer, String> {
        http_get(&format!("127.0.0.1:{}", self.http), authority, "/").await
    }

    /// Sends text to a port of the gateway; the answer to it ends with the connection.
    pub(crate) async fn send(&self, port: u16, text: &str) -> Result<Answer, String> {
        exchange(&format!("127.0.0.1:{port}"), text).await
    }

    /// The port that it serves.
    pub(crate) fn port(&self) -> u16 {
        self.http
    }

    /// Waits until a request gets this status.
    pub(crate) async fn expect(&self, authority: &str, status: u16) -> Answer {
        self.until(authority, &format!("{status}"), |answer| answer.status == status)
            .await
    }

    /// Waits until an answer is as wanted.
    pub(crate) async fn until(
        &self,
        authority: &str,
        what: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let answer = eventually(PATIENCE, async || match self.get(authority).await {
            Ok(answer) if wanted(&answer) => Ok(answer),
            Ok(answer) => Err(format!("{} {:?}", answer.status, answer.body)),
            Err(error) => Err(error),
        })
        .await;
        answer.unwrap_or_else(|error| panic!("{authority} is not {what}: {error}"))
    }

    /// A page of the admin interface.
    pub(crate) async fn admin(&self, path: &str) -> Result<String, String> {
        let address = std::fs::read_to_string(&self.admin).map_err(|error| error.to_string())?;
        let answer = http_get(address.trim(), "admin", path).await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(answer.body)
        }
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

impl Answer {
    /// A field of the body, which is JSON.
    pub(crate) fn field(&self, name: &str) -> Value {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        body[name].clone()
    }
}

fn bootstrap_of(pilot: &Pilot, node: &Node<'_>) -> Value {
    let mut metadata = Map::new();
    metadata.insert("app".to_owned(), json!("edge"));
    for (name, value) in &node.metadata {
        metadata.insert((*name).to_owned(), json!(value));
    }
    let namespace = match node.namespace {
        "" => "weather",
        namespace => namespace,
    };
    let mut place = node.locality.splitn(3, '/');
    let mut next = || place.next().unwrap_or_default();
    let xds = pilot.addresses.xds.unwrap();
    let ads = json!({ "resourceApiVersion": "V3", "ads": {} });
    let mut clusters = vec![json!({
        "name": "xds-grpc",
        "type": "STATIC",
        "connectTimeout": "5s",
        "typedExtensionProtocolOptions": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicitHttpConfig": { "http2ProtocolOptions": {} },
        } },
        "loadAssignment": assignment("xds-grpc", xds),
    })];
    clusters.extend(node.collector.map(|port| {
        json!({
            "name": "zipkin",
            "type": "STATIC",
            "loadAssignment": assignment("zipkin", SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        })
    }));
    json!({
        "node": {
            "id": format!("router~10.1.0.5~edge-0.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": "edge",
            "metadata": metadata,
            "locality": { "region": next(), "zone": next(), "subZone": next() },
        },
        "admin": { "address": { "socketAddress": { "address": "127.0.0.1", "portValue": 0 } } },
        "dynamicResources": {
            "cdsConfig": ads,
            "ldsConfig": ads,
            "adsConfig": {
                "apiType": "GRPC",
                "transportApiVersion": "V3",
                "grpcServices": [{ "envoyGrpc": { "clusterName": "xds-grpc" } }],
            },
        },
        "staticResources": { "clusters": clusters },
    })
}

/// One address as the only endpoint of a cluster.
fn assignment(cluster: &str, address: SocketAddr) -> Value {
    json!({ "clusterName": cluster, "endpoints": [{ "lbEndpoints": [{ "endpoint": {
        "address": { "socketAddress": { "address": address.ip().to_string(), "portValue": address.port() } },
    } }] }] })
}

async fn http_get(address: &str, authority: &str, path: &str) -> Result<Answer, String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    exchange(address, &request).await
}

async fn exchange(address: &str, request: &str) -> Result<Answer, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = exchange.await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    // Pages of the admin interface come in chunks, of which only the text matters.
    Ok(Answer {
        status: status.ok_or("no status")?,
        body: body.to_owned(),
    })
}
