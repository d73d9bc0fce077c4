//! How long a change takes from the file to the sink. Prints figures; `--nocapture` shows them.

use std::time::{Duration, Instant};

use mesh_config::Kind;

use crate::harness::{ConfigDir, Galley, TestSink};

const ROUNDS: usize = 7;

/// The three objects of one service of the baseline (spec 07 §1.2).
fn service(number: usize, marker: &str) -> String {
    let host = format!("svc-{number}.example.com");
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {{name: svc-{number}, namespace: ns-0}}
spec:
  hosts: [{host}]
  addresses: [10.{}.{}.1]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{{address: 10.1.0.1, labels: {{version: v1}}}}, {{address: 10.1.0.2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: svc-{number}, namespace: ns-0}}
spec:
  host: {host}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: svc-{number}, namespace: ns-0, annotations: {{marker: \"{marker}\"}}}}
spec:
  hosts: [{host}]
  http: [{{route: [{{destination: {{host: {host}, subset: v1}}}}]}}]
",
        number / 250,
        number % 250,
    )
}

#[allow(clippy::print_stdout, reason = "the figures are the point")]
async fn measure(services: usize) {
    let config = ConfigDir::new();
    for number in 0..services {
        config.write(&format!("svc-{number}.yaml"), service(number, "start"));
    }
    let start = Instant::now();
    let galley = Galley::start(config.path());
    let kinds = [Kind::ServiceEntry, Kind::DestinationRule, Kind::VirtualService];
    let mut sink = TestSink::start(galley.mcp, &kinds);
    for kind in kinds {
        sink.expect_where(kind, |configs| configs.len() == services).await;
    }
    let loaded = start.elapsed();

    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let marker = format!("round-{round}");
        let start = Instant::now();
        config.write("svc-0.yaml", service(0, &marker));
        sink.expect_where(Kind::VirtualService, |configs| {
            configs
                .iter()
                .any(|config| config.meta.annotations.get("marker") == Some(&marker))
        })
        .await;
        rounds.push(start.elapsed());
    }
    rounds.sort_unstable();
    let (fastest, median, slowest) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
    println!(
        "{} resources: start to full state {loaded:.0?}; file change to delivery: median {median:.1?} \
         ({fastest:.1?} to {slowest:.1?}); 1.1.17: 1005 ms",
        3 * services
    );
    assert!(median < Duration::from_secs(5), "far from any budget: {median:?}");
}

#[tokio::test]
async fn a_change_among_102_resources() {
    measure(34).await;
}

#[tokio::test]
async fn a_change_among_1002_resources() {
    measure(334).await;
}
