//! A configuration source that can be killed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use mesh_config::{Config, ConfigKey, Kind, decode, yaml};
use mesh_mcp::metrics::McpMetrics;
use mesh_mcp::{Entry, Snapshot, SnapshotCache, Source, SourceOptions};
use mesh_runtime::grpc::{self, GrpcMetrics, GrpcOptions};
use mesh_runtime::{Drain, Metrics, Spawner};
use tonic::service::Routes;

use crate::PATIENCE;

/// The weather application: `frontend` calls `forecast`, a gateway stands at the edge.
const WEATHER: &str = "
apiVersion: v1
kind: Service
metadata: {name: forecast, namespace: weather}
spec: {clusterIP: 10.0.1.1, selector: {app: forecast}, ports: [{name: http, port: 3002}]}
---
apiVersion: v1
kind: Service
metadata: {name: frontend, namespace: weather}
spec: {clusterIP: 10.0.1.2, selector: {app: frontend}, ports: [{name: http, port: 3000}]}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {clusterIP: 10.0.1.3, selector: {istio: ingressgateway}, ports: [{name: http2, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: forecast-v1-0, namespace: weather, labels: {app: forecast, version: v1}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: forecast-v2-0, namespace: weather, labels: {app: forecast, version: v2}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 10.1.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: frontend-v1-0, namespace: weather, labels: {app: frontend}}
spec: {containers: [{name: app}]}
status: {phase: Running, podIP: 10.1.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: istio-ingressgateway-0, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.1.0.4}
---
apiVersion: v1
kind: Endpoints
metadata: {name: forecast, namespace: weather}
subsets: [{addresses: [{ip: 10.1.0.1}, {ip: 10.1.0.2}], ports: [{name: http, port: 3002}]}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: frontend, namespace: weather}
subsets: [{addresses: [{ip: 10.1.0.3}], ports: [{name: http, port: 3000}]}]
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: forecast, namespace: weather}
spec:
  host: forecast
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: forecast, namespace: weather}
spec:
  hosts: [forecast]
  http: [{route: [{destination: {host: forecast, subset: v1}}]}]
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: weather, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: edge, namespace: weather}
spec:
  hosts: ['*']
  gateways: [istio-system/weather]
  http: [{route: [{destination: {host: frontend}}]}]
";

/// The route of `forecast` with another subset.
pub(crate) fn forecast_to(subset: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService,
           metadata: {{name: forecast, namespace: weather}},
           spec: {{hosts: [forecast], http: [{{route: [{{destination: {{host: forecast, subset: {subset}}}}}]}}]}}}}"
    )
}

/// The ready addresses of `forecast`.
pub(crate) fn forecast_at(addresses: &[&str]) -> String {
    let addresses: Vec<String> = addresses
        .iter()
        .map(|address| format!("{{ip: {address}}}"))
        .collect();
    format!(
        "{{apiVersion: v1, kind: Endpoints, metadata: {{name: forecast, namespace: weather}},
           subsets: [{{addresses: [{}], ports: [{{name: http, port: 3002}}]}}]}}",
        addresses.join(", ")
    )
}

/// A service `name` of namespace `weather` with one endpoint.
pub(crate) fn new_service(name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: weather}},
           spec: {{clusterIP: 10.0.2.1, ports: [{{name: http, port: {port}}}]}}}}
---
{{apiVersion: v1, kind: Endpoints, metadata: {{name: {name}, namespace: weather}},
           subsets: [{{addresses: [{{ip: 10.1.0.9}}], ports: [{{name: http, port: {port}}}]}}]}}"
    )
}

/// The source. It has a runtime of its own, so that it can be killed with everything it has open.
pub(crate) struct Galley {
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
    snapshots: SnapshotCache,
    snapshot: Snapshot,
    objects: BTreeMap<ConfigKey, Config>,
    publications: u64,
}

impl Galley {
    /// A source that has nothing to say yet.
    pub(crate) fn silent() -> Self {
        Self::on_port(0)
    }

    /// A source of the weather application.
    pub(crate) fn start() -> Self {
        let mut galley = Self::silent();
        galley.set(WEATHER);
        galley.publish();
        galley
    }

    fn on_port(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();

        let metrics = Metrics::new();
        let snapshots = SnapshotCache::new();
        let source = Source::new(
            snapshots.clone(),
            SourceOptions {
                incremental: true,
                ..SourceOptions::default()
            },
            McpMetrics::register(&metrics, "galley/mcp/source").unwrap(),
            Drain::never(),
        );
        let grpc_metrics = GrpcMetrics::register(&metrics).unwrap();
        let spawner = Spawner::default();
        let guard = runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        spawner.clone().spawn("mcp", async move {
            let routes = Routes::new(source.service());
            let options = GrpcOptions::default();
            grpc::serve(
                "mcp",
                listener,
                routes,
                options,
                grpc_metrics,
                spawner,
                Drain::never(),
            )
            .await;
        });
        drop(guard);
        Self {
            runtime: Some(runtime),
            address,
            snapshots,
            snapshot: Snapshot::default(),
            objects: BTreeMap::new(),
            publications: 0,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds or replaces objects without telling anybody.
    pub(crate) fn set(&mut self, text: &str) {
        for document in yaml::documents("test.yaml", text) {
            self.set_config(decode::object(&document.unwrap()).unwrap());
        }
    }

    pub(crate) fn set_config(&mut self, config: Config) {
        self.objects.insert(config.meta.key.clone(), config);
    }

    /// Has these objects and no others, without telling anybody.
    pub(crate) fn replace(&mut self, objects: impl IntoIterator<Item = Config>) {
        let objects = objects.into_iter();
        self.objects = objects.map(|config| (config.meta.key.clone(), config)).collect();
    }

    pub(crate) fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.objects
            .remove(&ConfigKey::new(kind, namespace, name))
            .expect("the object exists");
    }

    /// The object as it is now.
    pub(crate) fn object(&self, kind: Kind, namespace: &str, name: &str) -> Config {
        self.objects[&ConfigKey::new(kind, namespace, name)].clone()
    }

    /// Tells the sinks, whether or not anything changed.
    pub(crate) fn publish(&mut self) {
        self.publications += 1;
        let mut builder = self.snapshot.builder();
        for kind in pilot_registry::kinds() {
            let objects = self
                .objects
                .values()
                .filter(|config| config.meta.key.kind == kind);
            let entries: Vec<_> = objects.map(|config| Arc::new(Entry::new(config))).collect();
            builder.set(kind.collection(), self.publications.to_string(), entries);
        }
        self.snapshot = builder.build();
        self.snapshots.publish(self.snapshot.clone());
    }

    /// Adds or replaces objects and tells the sinks.
    pub(crate) fn apply(&mut self, text: &str) {
        self.set(text);
        self.publish();
    }

    /// Drops every socket without a word; returns what another process would know after it.
    pub(crate) fn kill(mut self) -> Dead {
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed inside the runtime of the test.
            std::thread::spawn(move || runtime.shutdown_timeout(PATIENCE))
                .join()
                .unwrap();
        }
        Dead {
            port: self.address.port(),
            objects: std::mem::take(&mut self.objects),
        }
    }
}

impl Drop for Galley {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime must not be dropped inside another one.
            runtime.shutdown_background();
        }
    }
}

/// What is left of a source that was killed: its files and its address.
pub(crate) struct Dead {
    port: u16,
    objects: BTreeMap<ConfigKey, Config>,
}

impl Dead {
    /// Starts it again with one more edit.
    pub(crate) fn restart(self, edit: &str) -> Galley {
        let mut galley = Galley::on_port(self.port);
        galley.objects = self.objects;
        galley.apply(edit);
        galley
    }
}
