//! The services of the mesh in the form of the discovery API before xDS.

use axum::Json;
use axum::extract::State as Extract;
use mesh_runtime::Metrics;
use mesh_runtime::metrics::MetricsError;
use pilot_model::{Endpoint, EndpointAddress, Service};
use prometheus::{Histogram, IntCounter};
use serde_json::{Value, json};

use crate::state::State;

/// The only method of that API.
const METHOD: &str = "ListAllEndpoints";

/// `pilot_discovery_*{method,build_version}`: how often somebody asked, and how much was answered.
#[derive(Clone, Debug)]
pub(crate) struct RegistrationMetrics {
    calls: IntCounter,
    resources: Histogram,
}

// === impl RegistrationMetrics ===

impl RegistrationMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    ///
    /// When one of the names is taken.
    pub(crate) fn register(metrics: &Metrics, version: &str) -> Result<Self, MetricsError> {
        let labels = ["method", "build_version"];
        let values = [METHOD, version];
        // Nothing can go wrong: the counter is there for those who watch it.
        metrics
            .counter_vec(
                "pilot_discovery_errors",
                "Errors encountered during a given method call within Pilot",
                &labels,
            )?
            .with_label_values(&values);
        Ok(Self {
            calls: metrics
                .counter_vec(
                    "pilot_discovery_calls",
                    "Individual method calls in Pilot",
                    &labels,
                )?
                .with_label_values(&values),
            resources: metrics
                .histogram_vec(
                    "pilot_discovery_resources",
                    "Returned resource counts per method by Pilot",
                    &labels,
                    &[
                        0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1000.0, 10000.0,
                    ],
                )?
                .with_label_values(&values),
        })
    }
}

/// `/v1/registration`: the endpoints of each port of each service inside the mesh, by service key.
pub(super) async fn registration(Extract(state): Extract<State>) -> Json<Value> {
    state.registration.calls.inc();
    let publication = state.publication();
    let mut ports = Vec::new();
    for published in publication.iter().map(|publication| &publication.published) {
        let services = published.snapshot.services.iter();
        for service in services.filter(|service| !service.mesh_external) {
            let endpoints = published.endpoints.get(service.id.host.as_str());
            for port in &service.ports {
                let endpoints = endpoints.into_iter().flat_map(|endpoints| endpoints.iter());
                let hosts = endpoints.filter(|endpoint| endpoint.service_port == port.name);
                ports.push((key(service, &port.name), hosts.map(host).collect()));
            }
        }
    }
    ports.sort_by(|(a, _), (b, _): &(String, Vec<Value>)| a.cmp(b));
    // A count as a bucket of a histogram: exact far beyond any mesh.
    state.registration.resources.observe(ports.len() as f64);
    let describe = |(key, hosts)| json!({ "service-key": key, "hosts": hosts });
    Json(ports.into_iter().map(describe).collect())
}

/// `host|port name`; the host alone where no port has a name.
fn key(service: &Service, port: &str) -> String {
    if port.is_empty() {
        service.id.host.to_string()
    } else {
        format!("{}|{port}", service.id.host)
    }
}

fn host(endpoint: &Endpoint) -> Value {
    let (address, port) = match &endpoint.address {
        EndpointAddress::Ip(address) => (address.ip().to_string(), address.port()),
        EndpointAddress::Dns(name, port) => (name.to_string(), *port),
        EndpointAddress::Unix(path) => (path.to_string(), 0),
    };
    let mut host = json!({ "ip_address": address, "port": port });
    if !endpoint.locality.is_empty() {
        let locality = &endpoint.locality;
        let zone = format!("{}/{}/{}", locality.region, locality.zone, locality.sub_zone);
        host["tags"] = json!({ "az": zone.trim_end_matches('/') });
    }
    host
}
