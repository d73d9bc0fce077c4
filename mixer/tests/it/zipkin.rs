//! The adapter zipkin in a whole Mixer, against the real Zipkin.

use std::time::{SystemTime, UNIX_EPOCH};

use mesh_api::istio::mixer::v1::{CompressedAttributes, ReportRequest, StringMap};
use mesh_testing::eventually;
use mesh_testing::zipkin::ZipkinServer;
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Mixer, PATIENCE, attributes, object};

const VOCABULARY: &str = "{attributes: {request.headers: {valueType: STRING_MAP}, request.path: {valueType: STRING}, \
    request.time: {valueType: TIMESTAMP}, response.time: {valueType: TIMESTAMP}, \
    response.code: {valueType: INT64}, context.reporter.kind: {valueType: STRING}, \
    source.workload.name: {valueType: STRING}, destination.workload.name: {valueType: STRING}}}";

/// F-4 with the names of the workloads.
fn configuration(collector: &str, probability: &str) -> String {
    [
        object("attributemanifest", "zipkin", VOCABULARY),
        object(
            "handler",
            "zipkin",
            &format!("{{compiledAdapter: zipkin, params: {{url: \"{collector}\", sampleProbability: {probability}}}}}"),
        ),
        object(
            "instance",
            "span",
            "{compiledTemplate: tracespan, params: {\
             traceId: 'request.headers[\"x-b3-traceid\"] | \"\"', \
             spanId: 'request.headers[\"x-b3-spanid\"] | \"\"', \
             parentSpanId: 'request.headers[\"x-b3-parentspanid\"] | \"\"', \
             spanName: 'request.path | \"/\"', startTime: request.time, endTime: response.time, \
             clientSpan: '(context.reporter.kind | \"inbound\") == \"outbound\"', \
             httpStatusCode: 'response.code | 0', sourceName: 'source.workload.name | \"\"', \
             destinationName: 'destination.workload.name | \"\"'}}",
        ),
        object("rule", "zipkin", "{actions: [{handler: zipkin, instances: [span]}]}"),
    ]
    .concat()
}

/// A request with the B3 headers `trace`, `span` and `parent`, as one of the sides reports it.
struct Call<'a> {
    ids: [&'a str; 3],
    kind: &'a str,
    from: &'a str,
    to: &'a str,
    code: i64,
}

impl Call<'_> {
    fn attributes(&self) -> CompressedAttributes {
        let mut set = attributes(&[
            ("request.path", "/weather"),
            ("context.reporter.kind", self.kind),
            ("source.workload.name", self.from),
            ("destination.workload.name", self.to),
        ]);
        let mut word = |name: &str| {
            set.words.push(name.to_owned());
            -i32::try_from(set.words.len()).unwrap()
        };
        let mut headers = StringMap::default();
        for (header, id) in ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid"]
            .iter()
            .zip(self.ids)
        {
            if !id.is_empty() {
                headers.entries.insert(word(header), word(id));
            }
        }
        let (map, code) = (word("request.headers"), word("response.code"));
        let (start, end) = (word("request.time"), word("response.time"));
        set.string_maps.insert(map, headers);
        set.int64s.insert(code, self.code);
        // Zipkin forgets what is old.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let seconds = i64::try_from(now).unwrap();
        set.timestamps.insert(start, Timestamp { seconds, nanos: 0 });
        let nanos = 2_000_000;
        set.timestamps.insert(end, Timestamp { seconds, nanos });
        set
    }
}

async fn send(mixer: &Mixer, calls: &[Call<'_>]) {
    let report = ReportRequest {
        attributes: calls.iter().map(Call::attributes).collect(),
        repeated_attributes_semantics: 1,
        ..ReportRequest::default()
    };
    mixer.report(report).await.unwrap();
}

/// The spans of a trace, once there are so many: `(kind, id, parent)`.
async fn spans(zipkin: &ZipkinServer, trace: &str, count: usize) -> Vec<Value> {
    eventually(PATIENCE, async || {
        let spans = zipkin.trace(trace).await?;
        anyhow::ensure!(spans.len() == count, "{spans:?}");
        Ok(spans)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn m33_m34_m35_spans_of_a_request_are_linked_in_zipkin() {
    let zipkin = ZipkinServer::shared().await.unwrap();
    for (number, path) in ["/api/v1/spans", "/api/v2/spans"].into_iter().enumerate() {
        let mixer = Mixer::start(&configuration(&(zipkin.url() + path), "1.0"), &[]).await;
        assert_eq!(mixer.json("/debug/errors").await["errors"], json!([]));
        let trace = format!(
            "{:032x}",
            0x463a_c35c_9f64_13ad_0000_0000_0000_0001_u128 + number as u128
        );
        let other = format!("{:016x}", 0x5000_0000_0000_0001_u64 + number as u64);
        let (first, second) = ("00000000000000a1", "00000000000000a2");
        let call = |ids, kind, from, to, code| Call {
            ids,
            kind,
            from,
            to,
            code,
        };
        let calls = [
            call([&trace, first, ""], "inbound", "ingressgateway", "frontend", 200),
            call([&trace, second, first], "outbound", "frontend", "forecast", 503),
            // It did not pass its headers on.
            call(
                [&other, "00000000000000b1", ""],
                "inbound",
                "frontend",
                "advertisement",
                200,
            ),
            // It has none at all.
            call(["", "", ""], "inbound", "frontend", "advertisement", 200),
        ];
        send(&mixer, &calls).await;
        let mut spans_of_trace = spans(zipkin, &trace, 2).await;
        spans_of_trace.sort_by_key(|span| span["id"].to_string());
        let [root, child] = &spans_of_trace[..] else {
            panic!("{spans_of_trace:?}");
        };
        for span in [root, child] {
            assert_eq!(span["traceId"], trace, "{span}");
            assert_eq!(
                (&span["name"], &span["duration"]),
                (&json!("/weather"), &json!(2000)),
                "{span}"
            );
        }
        assert_eq!((&root["id"], &root["parentId"]), (&json!(first), &Value::Null));
        assert_eq!(
            (&child["id"], &child["parentId"]),
            (&json!(second), &json!(first))
        );
        assert_eq!(
            (&root["kind"], &child["kind"]),
            (&json!("SERVER"), &json!("CLIENT"))
        );
        assert_eq!(root["localEndpoint"]["serviceName"], "frontend");
        assert_eq!(child["localEndpoint"]["serviceName"], "frontend");
        assert_eq!(child["remoteEndpoint"]["serviceName"], "forecast");
        assert_eq!(root["tags"]["http.status_code"], "200");
        assert_eq!(child["tags"]["error"], "UNAVAILABLE");
        let unlinked = spans(zipkin, &other, 1).await;
        assert_eq!(unlinked[0]["parentId"], Value::Null);

        // Probability 0 sends none: what follows it overtakes nothing.
        let none = format!("{:016x}", 0x6000_0000_0000_0001_u64 + number as u64);
        let all = format!("{:016x}", 0x7000_0000_0000_0001_u64 + number as u64);
        mixer
            .configure(&configuration(&(zipkin.url() + path), "0.0"))
            .await;
        send(&mixer, &[call([&none, first, ""], "inbound", "a", "b", 200)]).await;
        mixer
            .configure(&configuration(&(zipkin.url() + path), "1.0"))
            .await;
        send(&mixer, &[call([&all, first, ""], "inbound", "a", "b", 200)]).await;
        spans(zipkin, &all, 1).await;
        assert!(zipkin.trace(&none).await.is_err());
    }
}
