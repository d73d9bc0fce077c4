//! A Kubernetes API server of its own for a test: the real one with its etcd, on loopback.
//!
//! There is no kubelet and no controller: what they would write (pods and their status, endpoints, service accounts of
//! new namespaces, what the cluster roles `view`, `edit` and `admin` may do) tests write themselves. Whether somebody may do something is decided by RBAC, admission webhooks are
//! called, custom resources are served.

mod access;
mod etcd;
mod folder;
mod proxy;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use rcgen::KeyPair;
use tokio::sync::OnceCell;

pub use self::access::Access;
use self::etcd::Etcd;
use self::folder::Folder;
pub use self::proxy::{ApiProxy, Counts, Fault};
use crate::certificates::Authority;
use crate::{Process, eventually, ports, provision};

/// Longer than a start takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Attempts to start on ports that may be taken meanwhile.
const ATTEMPTS: usize = 3;

/// Names by which the server is called.
const NAMES: [&str; 5] = [
    "127.0.0.1",
    "localhost",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// etcd and kube-apiserver. Ends when dropped and with this process.
#[derive(Debug)]
pub struct ApiServer {
    // In the order in which they end.
    server: Option<Process>,
    etcd: Etcd,
    admin: Access,
    port: u16,
    folder: Folder,
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts a server with nothing in it but what Kubernetes puts there, and waits until it is ready.
    ///
    /// A start takes seconds: tests that neither stop the server nor change what belongs to all of it use
    /// [`Self::shared`].
    ///
    /// # Errors
    ///
    /// When the programs cannot be provided ([`provision::kube_apiserver`], [`provision::etcd`]) or do not become ready.
    pub async fn start() -> Result<Self> {
        // The first time this builds programs.
        tokio::task::spawn_blocking(|| -> Result<()> {
            provision::etcd()?;
            provision::kubectl()?;
            provision::kube_apiserver().map(drop)
        })
        .await??;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match Self::attempt().await {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("there is at least one attempt")?)
    }

    /// The server that the tests of this process share, each in namespaces of its own ([`Self::namespace`]).
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// The same, with the kinds of the mesh ([`Self::define_kinds`]).
    ///
    /// # Errors
    ///
    /// As [`Self::start`] and [`Self::define_kinds`].
    pub async fn shared_with_kinds() -> Result<&'static Self> {
        static DEFINED: OnceCell<()> = OnceCell::const_new();
        let server = Self::shared().await?;
        DEFINED.get_or_try_init(|| server.define_kinds()).await?;
        Ok(server)
    }

    async fn attempt() -> Result<Self> {
        let folder = Folder::new()?;
        let port = ports::unused()?;
        let authority = Authority::new("kubernetes")?;
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
        let serving = authority.issue(&NAMES)?;
        write("authority.pem", authority.certificate())?;
        write("server.pem", &serving.certificate)?;
        write("server-key.pem", &serving.key)?;
        let accounts = KeyPair::generate()?;
        write("accounts-key.pem", &accounts.serialize_pem())?;
        write("accounts.pem", &accounts.public_key_pem())?;
        let url = format!("https://127.0.0.1:{port}");
        let admin = authority.issue_client("admin", "system:masters")?;
        let admin = Access::admin(folder.path(), &url, authority.certificate(), &admin)?;
        let etcd = Etcd::start(folder.path().join("etcd")).await?;
        let mut server = Self {
            server: None,
            etcd,
            admin,
            port,
            folder,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Kills the server, as a failure of its machine would. What is stored stays.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts the server again after [`Self::stop`], at the same address, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn resume(&mut self) -> Result<()> {
        self.server = None;
        let mut process = Process::start_bound("kube-apiserver", &self.command()?)?;
        let client = self.client().await?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let ready = eventually(PATIENCE, async || {
            if let Some(status) = process.ended() {
                // It will not become ready any more.
                return Ok(Err(status));
            }
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await?;
            // A controller of the server makes it, after that.
            namespaces.get("default").await?;
            anyhow::Ok(Ok(()))
        })
        .await;
        match ready {
            Ok(Ok(())) => {
                self.server = Some(process);
                Ok(())
            }
            Ok(Err(status)) => bail!("kube-apiserver ended with {status}: {}", end_of(&process.log())),
            Err(error) => bail!("kube-apiserver is not ready: {error}: {}", end_of(&process.log())),
        }
    }

    fn command(&self) -> Result<Command> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new(provision::kube_apiserver()?);
        command
            .arg(format!("--etcd-servers={}", self.etcd.url()))
            // Compaction is a thing that tests ask for.
            .arg("--etcd-compaction-interval=0")
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.port))
            .arg(format!("--client-ca-file={}", file("authority.pem")))
            .arg(format!("--tls-cert-file={}", file("server.pem")))
            .arg(format!("--tls-private-key-file={}", file("server-key.pem")))
            .arg(format!("--cert-dir={}", file("certificates")))
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(format!("--service-account-key-file={}", file("accounts.pem")))
            .arg(format!(
                "--service-account-signing-key-file={}",
                file("accounts-key.pem")
            ))
            .arg("--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112")
            .arg("--authorization-mode=RBAC")
            .arg("--enable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook")
            // Nobody makes the service accounts that it would ask for.
            .arg("--disable-admission-plugins=ServiceAccount")
            .args(["--endpoint-reconciler-type=none", "--allow-privileged=true"])
            .args(["--profiling=false", "--shutdown-delay-duration=0s"]);
        Ok(command)
    }

    /// Kills etcd. The server lives on and answers with errors.
    pub fn stop_etcd(&mut self) {
        self.etcd.stop();
    }

    /// Starts etcd again after [`Self::stop_etcd`], with what it had stored.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn resume_etcd(&mut self) -> Result<()> {
        self.etcd.resume().await
    }

    /// Makes etcd forget everything but the present, as it does every five minutes in a cluster.
    ///
    /// The server's own memory of recent events is not touched: it goes with [`Self::stop`].
    ///
    /// # Errors
    ///
    /// When etcd refuses.
    pub async fn compact(&self) -> Result<()> {
        self.etcd.compact().await
    }

    /// The port of loopback that it serves TLS on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The way in for the administrator, and from there for everybody else.
    #[must_use]
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// A client of the administrator, for the runtime that it is made in.
    ///
    /// # Errors
    ///
    /// As [`Access::client`].
    pub async fn client(&self) -> Result<Client> {
        self.admin.client().await
    }

    /// Defines the kinds of the mesh, from the files that users install, and waits until they are served.
    ///
    /// # Errors
    ///
    /// When the server refuses them.
    pub async fn define_kinds(&self) -> Result<()> {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/istio-init/files");
        let admin = self.admin();
        admin
            .run(&format!("apply --server-side -f {}", files.display()), "")
            .await?;
        let wait = "wait --for=condition=Established --timeout=120s crd -l release=istio";
        // kubectl gives up on a definition that has no conditions yet.
        eventually(PATIENCE, async || admin.run(wait, "").await).await?;
        Ok(())
    }

    /// Makes a namespace that no other test has; its name, which begins as given.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Marks a namespace for deletion. No controller empties it: it stays, and takes no new objects.
    ///
    /// # Errors
    ///
    /// When the server refuses.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        namespaces.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// What the server wrote since it started last.
    #[must_use]
    pub fn log(&self) -> String {
        self.server.as_ref().map(Process::log).unwrap_or_default()
    }
}

/// The last lines of a log, where the reason for an end is.
fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
