//! The requests with which Istio 1.1.17 was measured (`spec 07` §2.1): 39 attributes of a Check, 49 of a record of a
//! Report, from 50 clients to 50 servers.

use prost_types::{Duration, Timestamp};

use crate::encode::{Attributes, Sent};
use crate::text::StringMap;
use crate::value::Value;

/// Record `k`: what a sidecar says before a request, or afterwards.
#[must_use]
pub fn record(k: usize, report: bool) -> Attributes<'static> {
    let mut all = Attributes::new();
    let mut put = |name: &str, value: Value<'static>| {
        all.insert(name.to_owned(), Sent::Value(value));
    };
    let text = |text: String| Value::String(text.into());
    let map = |entries: &[(&str, &str)]| {
        Value::StringMap(StringMap::borrowed(entries.iter().copied()).into_owned())
    };
    let time = |seconds| Value::Timestamp(Timestamp { seconds, nanos: 5 });
    let (source, destination) = (k % 50, (k * 7 + k / 50) % 50);
    for (side, workload, index) in [
        ("source", format!("client-{source:02}"), source),
        ("destination", format!("server-{destination:02}"), destination),
    ] {
        let namespace = format!("ns-{}", index % 10);
        let pod = format!("{workload}-v1-5d8f9c7b6-x{index:03}");
        let app = if side == "destination" && index % 5 == 0 {
            "ratings"
        } else {
            &workload
        };
        let labels = [
            ("app", app),
            ("version", "v1"),
            ("pod-template-hash", "5d8f9c7b6"),
        ];
        let address = [
            10,
            0,
            u8::from(side == "source"),
            u8::try_from(index).unwrap_or(0),
        ];
        put(
            &format!("{side}.uid"),
            text(format!("kubernetes://{pod}.{namespace}")),
        );
        put(&format!("{side}.ip"), Value::IpAddress(address.into()));
        put(&format!("{side}.name"), text(pod));
        put(&format!("{side}.namespace"), text(namespace.clone()));
        put(
            &format!("{side}.principal"),
            text(format!("cluster.local/ns/{namespace}/sa/{workload}")),
        );
        put(&format!("{side}.labels"), map(&labels));
        put(&format!("{side}.workload.name"), text(workload.clone()));
        put(&format!("{side}.workload.namespace"), text(namespace.clone()));
        put(
            &format!("{side}.workload.uid"),
            text(format!("istio://{namespace}/workloads/{workload}")),
        );
        if side == "source" {
            let owner = format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{workload}");
            put("source.owner", text(owner));
        } else {
            let host = format!("{workload}.{namespace}.svc.cluster.local");
            put("destination.port", Value::Int64(9080));
            put("destination.service", text(host.clone()));
            put("destination.service.host", text(host));
            put("destination.service.name", text(workload.clone()));
            put("destination.service.namespace", text(namespace.clone()));
            put(
                "destination.service.uid",
                text(format!("istio://{namespace}/services/{workload}")),
            );
            put(
                "context.reporter.uid",
                text(format!("kubernetes://{workload}.{namespace}")),
            );
        }
    }
    put("context.protocol", text("http".to_owned()));
    put("context.reporter.kind", text("inbound".to_owned()));
    put("connection.mtls", Value::Bool(true));
    put(
        "connection.requested_server_name",
        text(format!("outbound_.9080_._.server-{destination:02}")),
    );
    let id = format!("6f2d6a0c-{k:04}-4d4e-9c1b-0123456789ab");
    let path = format!("/details/{}", k % 10);
    let host = format!("server-{destination:02}:9080");
    put(
        "request.headers",
        map(&[
            (":authority", &host),
            (":method", "GET"),
            (":path", &path),
            (":scheme", "http"),
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("clnt", "xyz"),
            ("user-agent", "Mozilla/5.0"),
            ("x-b3-sampled", "1"),
            ("x-b3-spanid", "00f067aa0ba902b7"),
            ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("x-forwarded-proto", "http"),
            ("x-request-id", &id),
            ("content-length", "0"),
        ]),
    );
    put("request.host", text(host));
    put("request.method", text("GET".to_owned()));
    put("request.path", text(path.clone()));
    put("request.url_path", text(path));
    put("request.scheme", text("http".to_owned()));
    put("request.id", text(id));
    put("request.useragent", text("Mozilla/5.0".to_owned()));
    put("request.time", time(1_550_000_000));
    if !report {
        return all;
    }
    let mut put = |name: &str, value: Value<'static>| {
        all.insert(name.to_owned(), Sent::Value(value));
    };
    let code = match k {
        _ if k % 20 == 19 => 404,
        _ if k % 100 == 50 => 503,
        _ => 200,
    };
    put("request.size", Value::Int64(0));
    put("request.total_size", Value::Int64(620));
    put("response.code", Value::Int64(code));
    let nanos = i32::try_from(1 + k % 97).unwrap_or(1) * 1_000_000;
    put(
        "response.duration",
        Value::Duration(Duration { seconds: 0, nanos }),
    );
    put(
        "response.headers",
        map(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("content-length", "178"),
            ("date", "Tue, 12 Feb 2019 19:33:20 GMT"),
            ("server", "envoy"),
            ("x-envoy-upstream-service-time", "7"),
        ]),
    );
    put("response.size", Value::Int64(178));
    put("response.total_size", Value::Int64(370));
    put("response.time", time(1_550_000_001));
    put("check.cache_hit", Value::Bool(true));
    put("quota.cache_hit", Value::Bool(false));
    all
}
