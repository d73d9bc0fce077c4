//! An installation of its own: namespaces, a service, certificates, a file with the webhook configuration, Galleys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use mesh_testing::certificates::{Authority, Pair};
use mesh_testing::kube::{Access, ApiServer};
use mesh_testing::{Process, eventually, ports};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything takes on a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

pub(super) struct Site {
    pub(super) admin: Access,
    /// Where Galley runs.
    pub(super) namespace: String,
    /// Where users work.
    pub(super) apps: String,
    pub(super) authority: Authority,
    pub(super) port: u16,
    folder: TempDir,
}

/// A running Galley.
pub(super) struct Galley {
    pub(super) process: Process,
    monitoring: String,
}

/// The shared server, with the definitions of all kinds.
pub(super) async fn shared() -> &'static ApiServer {
    ApiServer::shared_with_kinds().await.unwrap()
}

/// A VirtualService that is as it should be.
pub(super) fn good(name: &str) -> String {
    virtual_service(
        name,
        &json!({ "hosts": ["forecast"], "http": [{ "route": [{ "destination": { "host": "forecast" } }] }] }),
    )
}

/// A VirtualService that no webhook admits.
pub(super) fn bad(name: &str) -> String {
    virtual_service(
        name,
        &json!({ "hosts": ["forecast"], "http": [{ "retires": { "attempts": 3 } }] }),
    )
}

fn virtual_service(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": { "name": name },
        "spec": spec,
    })
    .to_string()
}

// === impl Site ===

impl Site {
    /// Everything but a Galley, and but an address of the service.
    pub(super) async fn new(server: &ApiServer) -> Self {
        let namespace = server.namespace("galley").await.unwrap();
        let apps = server.namespace("apps").await.unwrap();
        let site = Self {
            admin: server.admin().clone(),
            namespace,
            apps,
            authority: Authority::new("mesh").unwrap(),
            port: ports::unused().unwrap(),
            folder: TempDir::new().unwrap(),
        };
        // The API server reaches us as it reaches a service outside of the cluster.
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "istio-galley", "namespace": site.namespace },
            "spec": { "type": "ExternalName", "externalName": "localhost" },
        });
        site.done("create -f -", &service.to_string()).await;
        site.write("root-cert.pem", site.authority.certificate());
        site.write_pair(&site.issue());
        site.write("webhook.yaml", &site.configuration().to_string());
        site
    }

    /// A certificate for the service.
    pub(super) fn issue(&self) -> Pair {
        self.authority.issue(&[&*self.host()]).unwrap()
    }

    pub(super) fn host(&self) -> String {
        format!("istio-galley.{}.svc", self.namespace)
    }

    pub(super) fn webhook_name(&self) -> String {
        format!("istio-galley-{}", self.namespace)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file at once.
    pub(super) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    pub(super) fn write_pair(&self, pair: &Pair) {
        self.write("key.pem", &pair.key);
        self.write("cert-chain.pem", &pair.certificate);
    }

    /// The file of the operator; the selector keeps other tests out of it.
    pub(super) fn configuration(&self) -> Value {
        let webhook = |name: &str, path: &str, group: &str, resources: &[&str]| {
            json!({
                "name": name,
                "clientConfig": {
                    "service": {
                        "name": "istio-galley", "namespace": self.namespace, "path": path, "port": self.port,
                    },
                },
                "rules": [{
                    "operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": ["*"],
                    "resources": resources,
                }],
                "namespaceSelector": { "matchExpressions": [{
                    "key": "kubernetes.io/metadata.name", "operator": "In",
                    "values": [self.apps, self.namespace, "kube-system"],
                }] },
            })
        };
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1beta1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "istio-galley", "labels": { "app": "galley" } },
            "webhooks": [
                webhook("pilot.validation.istio.io", "/admitpilot", "networking.istio.io", &["virtualservices"]),
                webhook("mixer.validation.istio.io", "/admitmixer", "config.istio.io", &["deniers", "instances"]),
            ],
        })
    }

    /// Says that the service has an address, ready or not.
    pub(super) async fn address(&self, ready: bool) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": "istio-galley-1", "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": "istio-galley" },
            },
            "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": ready } }],
        });
        self.done("apply -f -", &slice.to_string()).await;
    }

    pub(super) async fn galley(&self, more: &[&str]) -> Galley {
        self.galley_as(&self.admin, more).await
    }

    /// A Galley that validates and does nothing else.
    pub(super) async fn galley_as(&self, access: &Access, more: &[&str]) -> Galley {
        let mut command = Command::new(env!("CARGO_BIN_EXE_galley"));
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.path(name).display());
        command
            .arg("validator")
            .arg(format!("--kubeconfig={}", access.kubeconfig().display()))
            .args([
                file("tlsCertFile", "cert-chain.pem"),
                file("tlsKeyFile", "key.pem"),
                file("caCertFile", "root-cert.pem"),
                file("validation-webhook-config-file", "webhook.yaml"),
            ])
            .arg(format!("--deployment-namespace={}", self.namespace))
            .arg(format!("--webhook-name={}", self.webhook_name()))
            .args([
                "--monitoringAddr=127.0.0.1:0",
                "--ctrlz_address=",
                "--log_as_json",
            ])
            .args(["--livenessProbePath=", "--readinessProbePath="]);
        if !more.iter().any(|flag| flag.starts_with("--validation-port")) {
            command.arg(format!("--validation-port={}", self.port));
        }
        command.args(more);
        let mut process = Process::start_bound("galley", &command).unwrap();
        let listening = process.wait_for_line(PATIENCE, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let found = line["msg"] == "listening" && line["flag"] == "--monitoringAddr";
            found.then(|| line["address"].as_str().map(str::to_owned))?
        });
        let monitoring = listening.await.unwrap();
        Galley { process, monitoring }
    }

    /// A Galley that the API server calls for the objects of users.
    pub(super) async fn serving(&self) -> Galley {
        self.address(true).await;
        let galley = self.galley(&[]).await;
        galley.ready().await;
        self.refused_eventually().await;
        galley
    }

    /// Waits until the API server asks the webhook about objects of users.
    pub(super) async fn refused_eventually(&self) {
        eventually(PATIENCE, async || {
            match self.kubectl("create --dry-run=server -f -", &bad("trial")).await {
                Err(text) if text.contains("retires") && text.contains("denied the request") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    }

    /// The configuration as the API server has it; null when it is gone.
    pub(super) async fn registered(&self) -> Value {
        let get = format!(
            "get validatingwebhookconfiguration {} -o json --ignore-not-found",
            self.webhook_name()
        );
        let text = self.kubectl(&get, "").await.unwrap();
        if text.trim().is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&text).unwrap()
    }

    /// kubectl in the namespace of the users, arguments separated by blanks.
    pub(super) async fn kubectl(&self, line: &str, input: &str) -> Result<String, String> {
        let mut args: Vec<&str> = line.split_whitespace().collect();
        if !line.contains("-n ") && !input.contains("\"namespace\"") {
            args.extend(["-n", &self.apps]);
        }
        let output = self.admin.kubectl(&args, input).await;
        output.map_err(|error| error.to_string())
    }

    pub(super) async fn done(&self, line: &str, input: &str) -> String {
        self.kubectl(line, input).await.unwrap()
    }

    pub(super) async fn refused(&self, line: &str, input: &str) -> String {
        self.kubectl(line, input).await.unwrap_err()
    }

    /// A connection as the API server makes it.
    pub(super) async fn connect(&self, authority: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        let name = ServerName::try_from(self.host()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

// === impl Galley ===

impl Galley {
    /// Status and body of a page.
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.monitoring).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: galley\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(super) async fn ready(&self) {
        eventually(PATIENCE, async || match self.get("/ready").await {
            (200, _) => Ok(()),
            (_, pending) => Err(pending),
        })
        .await
        .unwrap();
    }

    /// Waits until exactly this is waited for.
    pub(super) async fn pending(&self, expected: &[&str]) {
        eventually(PATIENCE, async || {
            let (_, body) = self.get("/ready").await;
            let tasks: Vec<_> = body
                .lines()
                .filter_map(|line| line.strip_prefix("pending: "))
                .collect();
            if tasks == expected { Ok(()) } else { Err(body) }
        })
        .await
        .unwrap();
    }

    /// The sum of the values of a counter with these labels.
    pub(super) async fn metric(&self, prefix: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let values = text.lines().filter(|line| line.starts_with(prefix));
        values
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits for a line of the log with these words.
    pub(super) async fn says(&mut self, words: &str) -> Value {
        let line = self
            .process
            .wait_for_line(PATIENCE, |line| line.contains(words).then(|| line.to_owned()));
        serde_json::from_str(&line.await.unwrap()).unwrap()
    }

    /// SIGTERM, and its end.
    pub(super) async fn terminate(mut self) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        assert!(self.process.wait(PATIENCE).await.unwrap().success());
    }
}

/// Runs `galley` with arguments until it ends; what it says.
pub(super) async fn run(args: &[&str]) -> String {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    let run = move || Command::new(env!("CARGO_BIN_EXE_galley")).args(args).output();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(super) fn display(path: &Path) -> String {
    path.display().to_string()
}
