//! How long it takes to read the attributes of spec 07 §2.1: 39 of a Check, 49 of a record of a Report.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::{Bencher, black_box, counter::ItemsCount};
use mixer_attribute::encode::{self, Attributes, Sent};
use mixer_attribute::{
    AttributeId, Bag, CheckRequest, Decoder, ReportRequest, Semantics, StringMap, Value, ValueType,
    Vocabulary, dictionary,
};
use prost::Message;
use prost_types::{Duration, Timestamp};

const WORDS: u32 = dictionary::LEN as u32;

/// Sets of one report.
const BATCH: usize = 100;

fn main() {
    divan::main();
}

/// The request of a Check, and its bag.
#[divan::bench]
fn check(bencher: Bencher<'_, '_>) {
    let record = record(7, false);
    let decoder = decoder(&record);
    let bytes = encode::check_request(&record, &BTreeMap::new(), "1".to_owned(), WORDS).encode_to_vec();
    bencher.bench_local(|| {
        let request = CheckRequest::read(black_box(&bytes)).expect("it is one");
        black_box(decoder.bag(request.attributes).expect("it is one"));
    });
}

/// A report of 100 records with words of their own, and all values of each.
#[divan::bench]
fn report_with_own_words(bencher: Bencher<'_, '_>) {
    let mut report = report();
    for (number, set) in report.attributes.iter_mut().enumerate() {
        let one = encode::report_request(&[record(number, true)], Semantics::Independent, WORDS);
        let one = one.expect("nothing is lost");
        set.clone_from(&one.attributes[0]);
        set.words = one.default_words;
    }
    report.default_words.clear();
    read(bencher, &report.encode_to_vec());
}

/// A report of 100 records that share their words, as sidecars send it, and all values of each.
#[divan::bench]
fn report_with_default_words(bencher: Bencher<'_, '_>) {
    read(bencher, &report().encode_to_vec());
}

fn report() -> mesh_api::istio::mixer::v1::ReportRequest {
    let records: Vec<_> = (0..BATCH).map(|number| record(number, true)).collect();
    encode::report_request(&records, Semantics::Independent, WORDS).expect("nothing is lost")
}

fn read(bencher: Bencher<'_, '_>, bytes: &[u8]) {
    let decoder = decoder(&record(0, true));
    let vocabulary = decoder.vocabulary();
    let ids: Vec<AttributeId> = record(0, true)
        .keys()
        .map(|name| vocabulary.id(name).expect("it is there"))
        .collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let request = ReportRequest::read(black_box(bytes)).expect("it is one");
        let mut reader = decoder.reader(&request.default_words);
        let mut bag = Bag::new(vocabulary);
        for set in &request.attributes {
            reader.read(&mut bag, *set).expect("it is one");
            for id in &ids {
                match bag.get(*id) {
                    Some(Value::StringMap(map)) => drop(black_box(map.get("app"))),
                    value => drop(black_box(value)),
                }
            }
        }
    });
}

fn decoder(record: &Attributes<'_>) -> Decoder {
    let mut vocabulary = Vocabulary::default();
    for (name, sent) in record {
        let value_type = match sent {
            Sent::Bytes(_) | Sent::Value(Value::IpAddress(_)) => ValueType::IpAddress,
            Sent::Value(Value::String(_)) => ValueType::String,
            Sent::Value(Value::Int64(_)) => ValueType::Int64,
            Sent::Value(Value::Double(_)) => ValueType::Double,
            Sent::Value(Value::Bool(_)) => ValueType::Bool,
            Sent::Value(Value::Timestamp(_)) => ValueType::Timestamp,
            Sent::Value(Value::Duration(_)) => ValueType::Duration,
            Sent::Value(Value::StringMap(_)) => ValueType::StringMap,
        };
        vocabulary.add(name, value_type).expect("each is there once");
    }
    // What a configuration has besides.
    for number in 0..60 {
        let name = format!("other.attribute{number}");
        vocabulary
            .add(&name, ValueType::String)
            .expect("each is there once");
    }
    Decoder::new(Arc::new(vocabulary))
}

/// Record `k` of the load of spec 07.
fn record(k: usize, report: bool) -> Attributes<'static> {
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
