//! A source that can be killed and a sink that tells what it got.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use mesh_config::{Config, ConfigKey, Kind, Meta, Scope, Timestamp};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::source::{ConnectionStatus, Everybody};
use mesh_mcp::{
    Apply, Callout, Change, Content, Entry, Sink, SinkHandle, SinkOptions, SinkServer, Snapshot,
    SnapshotCache, Source, SourceOptions,
};
use mesh_runtime::drain::{self, Drain, DrainSignal};
use mesh_runtime::grpc::{self, ClientOptions, GrpcMetrics, GrpcOptions};
use mesh_runtime::{Metrics, Spawner, TaskHandle};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Channel;

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A source with a runtime of its own, so that it can be killed with everything it has open.
pub(crate) struct TestSource {
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
    snapshots: SnapshotCache,
    snapshot: Snapshot,
    source: Source,
    metrics: Metrics,
    drain: DrainSignal,
}

pub(crate) struct TestSink {
    pub(crate) changes: mpsc::Receiver<Change>,
    pub(crate) handle: SinkHandle,
    pub(crate) task: TaskHandle,
    metrics: Metrics,
}

/// Asks again and again until there is an answer.
pub(crate) async fn within<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

// === impl TestSource ===

impl TestSource {
    pub(crate) fn start(options: SourceOptions) -> Self {
        Self::start_on(0, options)
    }

    pub(crate) fn start_on(port: u16, options: SourceOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();

        let metrics = Metrics::new();
        let (signal, drain) = drain::channel();
        let snapshots = SnapshotCache::new();
        let mcp_metrics = McpMetrics::register(&metrics, "mcp").unwrap();
        let source = Source::new(snapshots.clone(), options, mcp_metrics, drain.clone());
        let routes = Routes::new(source.service()).add_service(source.legacy_service());
        let grpc_metrics = GrpcMetrics::register(&metrics).unwrap();
        let spawner = Spawner::default();
        let guard = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        spawner.clone().spawn("grpc", async move {
            grpc::serve(
                "mcp",
                listener,
                routes,
                GrpcOptions::default(),
                grpc_metrics,
                spawner,
                drain,
            )
            .await;
        });
        drop(guard);
        let snapshot = Snapshot::default();
        Self {
            runtime: Some(runtime),
            address,
            snapshots,
            snapshot,
            source,
            metrics,
            drain: signal,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(self.port())
    }

    /// Calls the sink at this port, again and again.
    pub(crate) fn call(&self, port: u16) {
        // Its connections end with the source.
        let _inside = self.runtime.as_ref().unwrap().enter();
        let sink = format!("127.0.0.1:{port}");
        let callout = Callout::new(self.source.clone(), channel(port), sink, MetadataMap::new());
        Spawner::default().spawn("call", callout.run(Drain::never()));
    }

    pub(crate) fn publish(&mut self, kind: Kind, version: &str, names: &[&str]) {
        let mut builder = self.snapshot.builder();
        builder.set(
            kind.collection(),
            version,
            names.iter().map(|name| entry(kind, name, version)),
        );
        self.snapshot = builder.build();
        self.snapshots.publish(self.snapshot.clone());
    }

    pub(crate) fn connections(&self) -> Vec<ConnectionStatus> {
        self.source.connections()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.metrics, name)
    }

    pub(crate) async fn drain(&self) {
        self.drain.start();
        self.drain.drained(PATIENCE).await.unwrap();
    }

    /// Drops every socket without a word, and returns when all are closed.
    pub(crate) fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed inside the runtime of the test.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
                .join()
                .unwrap();
        }
    }
}

impl Drop for TestSource {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be dropped inside another one.
            runtime.shutdown_background();
        }
    }
}

// === impl TestSink ===

impl TestSink {
    pub(crate) fn start(port: u16, options: SinkOptions) -> Self {
        Self::start_with(port, options, |changes| changes)
    }

    pub(crate) fn start_with<A: Apply + 'static>(
        port: u16,
        options: SinkOptions,
        consumer: impl FnOnce(mpsc::Sender<Change>) -> A,
    ) -> Self {
        let metrics = Metrics::new();
        let mcp_metrics = McpMetrics::register(&metrics, "mcp").unwrap();
        let (sender, changes) = mpsc::channel(1);
        let (sink, handle) = Sink::new(channel(port), format!("127.0.0.1:{port}"), options, mcp_metrics);
        let task = Spawner::default().spawn("sink", sink.run(consumer(sender)));
        Self {
            changes,
            handle,
            task,
            metrics,
        }
    }

    /// Version and names of the next change; those that are gone with a minus sign.
    pub(crate) async fn next(&mut self) -> (String, Vec<String>) {
        let change = tokio::time::timeout(PATIENCE, self.changes.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(change.errors, []);
        let objects = change.content.objects().iter();
        let mut names: Vec<String> = objects.map(|config| config.meta.key.resource_name()).collect();
        if let Content::Changes { gone, .. } = &change.content {
            names.extend(gone.iter().map(|key| format!("-{}", key.resource_name())));
        }
        (change.version, names)
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        metric(&self.metrics, name)
    }
}

/// A sink that waits for its source to call.
pub(crate) struct TestSinkServer {
    pub(crate) port: u16,
    pub(crate) sink: TestSink,
}

// === impl TestSinkServer ===

impl TestSinkServer {
    pub(crate) async fn start(options: SinkOptions) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let metrics = Metrics::new();
        let mcp_metrics = McpMetrics::register(&metrics, "mcp").unwrap();
        let (sender, changes) = mpsc::channel(1);
        let (signal, drain) = drain::channel();
        let (server, handle) = SinkServer::new(
            "source",
            options,
            mcp_metrics,
            sender,
            Arc::new(Everybody),
            drain.clone(),
        );
        let grpc_metrics = GrpcMetrics::register(&metrics).unwrap();
        let spawner = Spawner::default();
        let task = spawner.clone().spawn("sink", async move {
            let _never = signal;
            let (routes, options) = (Routes::new(server), GrpcOptions::default());
            grpc::serve("mcp", listener, routes, options, grpc_metrics, spawner, drain).await;
        });
        let sink = TestSink {
            changes,
            handle,
            task,
            metrics,
        };
        Self { port, sink }
    }

    pub(crate) fn channel(&self) -> Channel {
        channel(self.port)
    }
}

impl Drop for TestSink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn channel(port: u16) -> Channel {
    grpc::connect(
        &format!("127.0.0.1:{port}").parse().unwrap(),
        &ClientOptions::default(),
    )
    .unwrap()
}

fn entry(kind: Kind, name: &str, version: &str) -> Arc<Entry> {
    let namespace = match kind.schema().scope {
        Scope::Namespace => "ns",
        Scope::Cluster => "",
    };
    Arc::new(Entry::new(&Config {
        meta: Meta {
            key: ConfigKey::new(kind, namespace, name),
            labels: [].into(),
            annotations: [].into(),
            created: Timestamp::default(),
            version: version.to_owned(),
        },
        body: mesh_api::Any {
            type_url: format!("type.googleapis.com/{}", kind.schema().message),
            ..mesh_api::Any::default()
        },
    }))
}

fn metric(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.encode().unwrap();
    let prefix = format!("mcp_{name} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&prefix)?.parse().ok())
        .unwrap_or_else(|| panic!("{name} is missing in:\n{text}"))
}
