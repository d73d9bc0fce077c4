//! The configuration that is installed by default (`spec 02` §12), as the charts have it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Facts, Mixer, object, report};

/// Files of what is on by default where there is no API server to ask about pods.
const FILES: [&str; 2] = ["attributes.yaml", "prometheus.yaml"];

fn file(name: &str) -> PathBuf {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/mixer/config");
    charts.join(name)
}

/// A folder with some of the files, and with what a test adds.
fn folder(names: &[&str], more: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in names {
        std::fs::copy(file(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("more.yaml"), more).unwrap();
    folder
}

async fn start(names: &[&str], more: &str) -> (Mixer, TempDir) {
    let folder = folder(names, more);
    let store = format!("fs://{}", folder.path().display());
    let mixer = Mixer::at(&store, &[]).await;
    let errors = mixer.json("/debug/errors").await;
    assert_eq!(errors["errors"].as_array().unwrap().len(), 0, "{errors}");
    (mixer, folder)
}

/// A request that a sidecar has seen, with everything that is known of it.
fn request() -> Facts {
    Facts::default()
        .text("context.protocol", "http")
        .text("source.workload.name", "frontend-v1")
        .text("source.workload.namespace", "weather")
        .text("source.principal", "cluster.local/ns/weather/sa/frontend")
        .map("source.labels", &[("app", "frontend"), ("version", "v1")])
        .text("destination.workload.name", "forecast-v2")
        .text("destination.workload.namespace", "weather")
        .text("destination.principal", "cluster.local/ns/weather/sa/forecast")
        .map("destination.labels", &[("app", "forecast"), ("version", "v2")])
        .text("destination.service.host", "forecast.weather.svc.cluster.local")
        .text("destination.service.name", "forecast")
        .text("destination.service.namespace", "weather")
}

/// What the labels say that both HTTP and TCP metrics have, of [`request`] as the callee sees it.
const LABELS: [(&str, &str); 16] = [
    ("reporter", "destination"),
    ("source_app", "frontend"),
    ("source_principal", "cluster.local/ns/weather/sa/frontend"),
    ("source_workload", "frontend-v1"),
    ("source_workload_namespace", "weather"),
    ("source_version", "v1"),
    ("destination_app", "forecast"),
    ("destination_principal", "cluster.local/ns/weather/sa/forecast"),
    ("destination_workload", "forecast-v2"),
    ("destination_workload_namespace", "weather"),
    ("destination_version", "v2"),
    ("destination_service", "forecast.weather.svc.cluster.local"),
    ("destination_service_name", "forecast"),
    ("destination_service_namespace", "weather"),
    ("connection_security_policy", "mutual_tls"),
    ("response_flags", "-"),
];

/// What the labels say that only HTTP metrics have.
const HTTP_LABELS: [(&str, &str); 4] = [
    ("request_protocol", "http"),
    ("response_code", "200"),
    ("permissive_response_code", "none"),
    ("permissive_response_policyid", "none"),
];

type Labels = BTreeMap<String, String>;

/// A line of what Prometheus scrapes: name, labels, value.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()));
    Some((name.to_owned(), labels.collect(), value.parse().ok()?))
}

/// All samples of a metric.
fn samples(lines: &[String], metric: &str) -> Vec<(Labels, f64)> {
    let samples = lines.iter().filter_map(|line| sample(line));
    samples
        .filter(|(name, ..)| name == metric)
        .map(|(_, labels, value)| (labels, value))
        .collect()
}

fn expected<'a>(labels: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Labels {
    let pairs = labels.into_iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn spec_02_12_the_default_configuration_is_valid() {
    let folder = folder(&["attributes.yaml", "prometheus.yaml", "stdio.yaml"], "");
    let output = Command::new(env!("CARGO_BIN_EXE_mixs"))
        .arg("validator")
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("20 objects"), "{said}");
}

/// `spec 05` §7.3: every metric of HTTP with exactly its labels and buckets, and none of TCP.
#[tokio::test]
async fn m02_m23_m24_m25_m26_a_request_moves_the_metrics_of_http() {
    let (mut mixer, _folder) = start(&FILES, "").await;
    let request = request()
        .text("context.reporter.kind", "inbound")
        .flag("connection.mtls", true)
        .number("response.code", 200)
        .number("request.size", 5)
        .number("response.size", 2_000)
        .millis("response.duration", 30);
    let grpc = request.clone().text("context.protocol", "grpc");
    let probe = request.clone().text("request.useragent", "kube-probe/1.33");
    mixer
        .report(report(&[request.clone(), request, grpc, probe]))
        .await
        .unwrap();

    let lines = mixer.scrape().await;
    let all = expected(LABELS.iter().chain(&HTTP_LABELS));
    let found: BTreeMap<_, _> = samples(&lines, "istio_requests_total").into_iter().collect();
    let mut of_grpc = all.clone();
    of_grpc.insert("request_protocol".to_owned(), "grpc".to_owned());
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(found[&all], 2.0, "a probe of kubelet is not counted");
    assert_eq!(found[&of_grpc], 1.0);

    let buckets = |metric: &str| -> Vec<(String, f64)> {
        let of_http = samples(&lines, metric)
            .into_iter()
            .filter_map(|(mut labels, value)| {
                let bound = labels.remove("le")?;
                (labels == all).then_some((bound, value))
            });
        of_http.collect()
    };
    let explicit = [
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
    ];
    let counts = [0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    let found = buckets("istio_request_duration_seconds_bucket");
    let wanted: Vec<_> = explicit.map(str::to_owned).into_iter().zip(counts).collect();
    assert_eq!(found, wanted);
    for (metric, size) in [
        ("istio_request_bytes_bucket", 5.0),
        ("istio_response_bytes_bucket", 2_000.0),
    ] {
        let found = buckets(metric);
        let bounds: Vec<f64> = found.iter().map(|(bound, _)| bound.parse().unwrap()).collect();
        let powers = (0..=8).map(|power| 10_f64.powi(power));
        assert_eq!(
            bounds,
            powers.chain([f64::INFINITY]).collect::<Vec<_>>(),
            "{metric}"
        );
        for ((_, count), bound) in found.iter().zip(bounds) {
            assert_eq!(*count, if size <= bound { 2.0 } else { 0.0 }, "{metric} {bound}");
        }
    }
    let names: BTreeSet<_> = lines
        .iter()
        .filter_map(|line| sample(line))
        .map(|(name, ..)| name)
        .collect();
    assert!(
        names.iter().all(|name| !name.starts_with("istio_tcp_")),
        "{names:?}"
    );
}

/// What a connection tells while it lasts moves the metrics of TCP, and none of HTTP.
#[tokio::test]
async fn m25_a_connection_moves_the_metrics_of_tcp() {
    let (mut mixer, _folder) = start(&FILES, "").await;
    let connection = |event: &str, sent, received| {
        request()
            .text("context.protocol", "tcp")
            .text("context.reporter.kind", "inbound")
            .flag("connection.mtls", true)
            .text("connection.event", event)
            .number("connection.sent.bytes", sent)
            .number("connection.received.bytes", received)
    };
    let told = [
        connection("open", 0, 10),
        connection("continue", 100, 20),
        connection("close", 5, 0),
    ];
    mixer.report(report(&told)).await.unwrap();
    let lines = mixer.scrape().await;
    for (metric, value) in [
        ("istio_tcp_sent_bytes_total", 105.0),
        ("istio_tcp_received_bytes_total", 30.0),
        ("istio_tcp_connections_opened_total", 1.0),
        ("istio_tcp_connections_closed_total", 1.0),
    ] {
        assert_eq!(samples(&lines, metric), [(expected(&LABELS), value)], "{metric}");
    }
    assert_eq!(samples(&lines, "istio_requests_total"), []);
    assert_eq!(samples(&lines, "istio_request_bytes_count"), []);
}

/// Who tells of a request is in the labels, and what is not known has the value that dashboards expect.
#[tokio::test]
async fn m03_m04_what_is_not_told_has_a_default() {
    let (mut mixer, _folder) = start(&FILES, "").await;
    let http = Facts::default().text("context.protocol", "http");
    let outbound = http
        .clone()
        .text("context.reporter.kind", "outbound")
        .flag("connection.mtls", true);
    let failed = outbound
        .clone()
        .number("response.code", 503)
        .text("context.proxy_error_code", "UH");
    mixer.report(report(&[http, outbound, failed])).await.unwrap();
    let lines = mixer.scrape().await;
    let mut found: Vec<_> = samples(&lines, "istio_requests_total")
        .into_iter()
        .map(|(labels, _)| labels)
        .collect();
    found.sort_by_key(|labels| (labels["reporter"].clone(), labels["response_code"].clone()));
    let shown = |labels: &Labels| {
        [
            "reporter",
            "connection_security_policy",
            "response_code",
            "response_flags",
        ]
        .map(|name| labels[name].clone())
    };
    assert_eq!(shown(&found[0]), ["destination", "none", "200", "-"]);
    assert_eq!(shown(&found[1]), ["source", "unknown", "200", "-"]);
    assert_eq!(shown(&found[2]), ["source", "unknown", "503", "UH"]);
    for (label, _) in LABELS
        .iter()
        .filter(|(name, _)| name.starts_with("source_") || name.starts_with("destination_"))
    {
        assert_eq!(found[0][*label], "unknown", "{label}");
    }
}

/// F-10: a metric of one's own beside the default ones.
#[tokio::test]
async fn m68_a_custom_metric_has_its_labels() {
    let custom = [
        object(
            "handler",
            "customer",
            "{compiledAdapter: prometheus, params: {metrics: [{name: customer_request_count, \
             instanceName: customerrequestcount.instance.istio-system, kind: COUNTER, \
             labelNames: [method, path, user_agent]}]}}",
        ),
        object(
            "instance",
            "customerrequestcount",
            "{compiledTemplate: metric, params: {value: '1', dimensions: {method: 'request.method | \"unknown\"', \
             path: 'request.path | \"unknown\"', user_agent: 'request.useragent | \"unknown\"'}}}",
        ),
        object(
            "rule",
            "customer",
            "{actions: [{handler: customer, instances: [customerrequestcount]}]}",
        ),
    ];
    let (mut mixer, _folder) = start(&FILES, &custom.concat()).await;
    let request = request()
        .text("request.method", "GET")
        .text("request.path", "/ads")
        .text("request.useragent", "curl/8");
    mixer.report(report(&[request])).await.unwrap();
    let lines = mixer.scrape().await;
    let labels = expected(&[("method", "GET"), ("path", "/ads"), ("user_agent", "curl/8")]);
    assert_eq!(samples(&lines, "istio_customer_request_count"), [(labels, 1.0)]);
    assert_eq!(samples(&lines, "istio_requests_total").len(), 1);
}

/// The log is off by default, and one line for each request where it is on.
#[tokio::test]
async fn m09_m11_the_access_log_has_requests_and_connections() {
    let (mixer, _folder) = start(&["attributes.yaml", "stdio.yaml"], "").await;
    let http = request()
        .text("context.reporter.kind", "outbound")
        .number("response.code", 404)
        .millis("response.duration", 7);
    let http = http
        .time("request.time", 1_500_000_000)
        .time("response.time", 1_500_000_001);
    let tcp = request()
        .text("context.protocol", "tcp")
        .text("connection.event", "open");
    mixer.report(report(&[http, tcp])).await.unwrap();
    let lines = mixer.lines_with("instance", 2).await;
    let line = |name: &str| {
        lines
            .iter()
            .find(|line| line["instance"] == name)
            .unwrap_or_else(|| panic!("{lines:#?}"))
    };
    let http = line("accesslog.instance.istio-system");
    assert_eq!(http["level"], "info");
    assert_eq!(http["responseCode"], 404);
    assert_eq!(http["latency"], "7ms");
    assert_eq!(http["reporter"], "source");
    assert_eq!(
        http["destinationServiceHost"],
        "forecast.weather.svc.cluster.local"
    );
    let tcp = line("tcpaccesslog.instance.istio-system");
    assert_eq!(
        (&tcp["protocol"], &tcp["connectionEvent"]),
        (&"tcp".into(), &"open".into())
    );
}
