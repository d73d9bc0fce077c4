use mesh_api::envoy::config::core::v3::HeaderMap;
use mesh_api::google::rpc;
use mesh_api::istio::mixer::v1::RouteDirective;
use mixer_attribute::ValueType;
use serde_json::{Value as Json, json};
use std::time::Duration;

use super::*;

fn context(context: &Json) -> AttributeContext {
    let name = "envoy.service.auth.v3.AttributeContext";
    let any = mesh_config::decode::message(name, context).unwrap();
    AttributeContext::decode(any.value).unwrap()
}

fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    for (name, value_type) in [
        ("source.ip", ValueType::IpAddress),
        ("source.port", ValueType::Int64),
        ("source.principal", ValueType::String),
        ("source.namespace", ValueType::String),
        ("source.labels", ValueType::StringMap),
        ("destination.port", ValueType::Int64),
        ("destination.namespace", ValueType::String),
        ("connection.mtls", ValueType::Bool),
        ("connection.event", ValueType::String),
        ("connection.requested_server_name", ValueType::String),
        ("context.protocol", ValueType::String),
        ("context.reporter.kind", ValueType::String),
        ("request.id", ValueType::String),
        ("request.path", ValueType::String),
        ("request.url_path", ValueType::String),
        ("request.query_params", ValueType::StringMap),
        ("request.headers", ValueType::StringMap),
        ("request.size", ValueType::Int64),
        ("request.auth.principal", ValueType::String),
        ("request.auth.audiences", ValueType::String),
        ("request.auth.claims", ValueType::StringMap),
    ] {
        vocabulary.add(name, value_type).unwrap();
    }
    vocabulary
}

/// Every attribute that is there, as text.
fn read(context: &AttributeContext) -> Vec<String> {
    let vocabulary = vocabulary();
    let headers = headers(context);
    let bag = attributes(&vocabulary, context, &headers);
    let text = |id| Some(format!("{} {:?}", vocabulary.name(id), bag.get(id)?));
    vocabulary.ids().filter_map(text).collect()
}

#[test]
fn design_6_peers_request_and_token_become_attributes() {
    let address = |ip: &str, port: u16| json!({"socketAddress": {"address": ip, "portValue": port}});
    let context = context(&json!({
        "source": {
            "address": address("10.0.0.1", 4000),
            "principal": "spiffe://cluster.local/ns/weather/sa/frontend",
            "labels": {"app": "frontend"},
        },
        "destination": {"address": address("::ffff:10.0.0.2", 8080)},
        "tlsSession": {"sni": "forecast"},
        "request": {"http": {
            "id": "7", "path": "/a?x=1&y&x=2", "size": -1,
            "headers": {"x-request-id": "id", "content-type": "application/grpc"},
        }},
        "contextExtensions": {
            "context.reporter.kind": "inbound", "destination.namespace": "weather",
            "destination.port": "80", "request.size": "many", "unknown": "1",
        },
        "metadataContext": {"filterMetadata": {"envoy.filters.http.jwt_authn": {
            "payload": {"iss": "issuer", "sub": "alice", "aud": ["a", "b"], "exp": 5},
        }}},
    }));
    assert_eq!(
        read(&context),
        [
            "source.ip IpAddress(10.0.0.1)",
            "source.port Int64(4000)",
            "source.principal String(\"cluster.local/ns/weather/sa/frontend\")",
            "source.namespace String(\"weather\")",
            "source.labels StringMap({\"app\": \"frontend\"})",
            "destination.port Int64(80)",
            "destination.namespace String(\"weather\")",
            "connection.mtls Bool(true)",
            "connection.requested_server_name String(\"forecast\")",
            "context.protocol String(\"grpc\")",
            "context.reporter.kind String(\"inbound\")",
            "request.id String(\"id\")",
            "request.path String(\"/a?x=1&y&x=2\")",
            "request.url_path String(\"/a\")",
            "request.query_params StringMap({\"x\": \"1\", \"y\": \"\"})",
            "request.headers StringMap({\"content-type\": \"application/grpc\", \"x-request-id\": \"id\"})",
            "request.auth.principal String(\"issuer/alice\")",
            "request.auth.audiences String(\"a,b\")",
            "request.auth.claims StringMap({\"aud\": \"a,b\", \"iss\": \"issuer\", \"sub\": \"alice\"})",
        ]
    );
}

#[test]
fn design_6_headers_come_in_either_form_and_connections_have_none() {
    let header = |key: &str, value: &'static str| HeaderValue {
        key: key.to_owned(),
        raw_value: bytes::Bytes::from_static(value.as_bytes()),
        ..HeaderValue::default()
    };
    let mut raw = context(&json!({"request": {"http": {"path": "/"}}}));
    if let Some(http) = raw.request.as_mut().and_then(|request| request.http.as_mut()) {
        let headers = vec![header("a", "1"), header("b", "2"), header("a", "3")];
        http.header_map = Some(HeaderMap { headers });
    }
    let headers = "request.headers StringMap({\"a\": \"1,3\", \"b\": \"2\"})".to_owned();
    assert!(read(&raw).contains(&headers), "{:?}", read(&raw));
    assert_eq!(
        read(&context(&json!({"source": {}}))),
        [
            "connection.mtls Bool(false)",
            "connection.event String(\"open\")",
            "context.protocol String(\"tcp\")",
        ]
    );
}

fn verdict(code: i32, directive: Option<RouteDirective>) -> Verdict {
    Verdict {
        status: rpc::Status {
            code,
            message: "why".to_owned(),
            details: Vec::new(),
        },
        valid_duration: Duration::ZERO,
        valid_use_count: 0,
        directive,
    }
}

#[test]
fn spec_02_2_9_a_denial_has_the_status_of_its_code() {
    for (code, status) in [(1, 400), (7, 403), (8, 429), (9, 400), (16, 401), (1333, 500)] {
        let denied = denied(&verdict(code, None));
        assert_eq!(denied.status.unwrap().code, status, "{code}");
    }
    assert_eq!(denied(&verdict(7, None)).body, "PERMISSION_DENIED:why");
    let directive = RouteDirective {
        direct_response_code: 303,
        direct_response_body: "elsewhere".to_owned(),
        response_header_operations: vec![HeaderOperation {
            name: "location".to_owned(),
            value: "/login".to_owned(),
            operation: Operation::Replace.into(),
        }],
        ..RouteDirective::default()
    };
    let denied = denied(&verdict(16, Some(directive)));
    assert_eq!(
        (denied.status.unwrap().code, denied.body.as_str()),
        (303, "elsewhere")
    );
    assert_eq!(denied.headers.len(), 1);
}

#[test]
fn spec_02_5_8_rules_change_the_headers_of_what_may_pass() {
    let operation = |name: &str, operation: Operation| HeaderOperation {
        name: name.to_owned(),
        value: "v".to_owned(),
        operation: operation.into(),
    };
    let directive = RouteDirective {
        request_header_operations: vec![
            operation("set", Operation::Replace),
            operation("gone", Operation::Remove),
            operation("more", Operation::Append),
        ],
        response_header_operations: vec![operation("back", Operation::Append)],
        ..RouteDirective::default()
    };
    let allowed = allowed(&verdict(0, Some(directive)));
    let actions: Vec<_> = allowed
        .headers
        .iter()
        .map(|header| header.append_action())
        .collect();
    assert_eq!(
        actions,
        [
            HeaderAppendAction::OverwriteIfExistsOrAdd,
            HeaderAppendAction::AppendIfExistsOrAdd
        ]
    );
    assert_eq!(allowed.headers_to_remove, ["gone"]);
    assert_eq!(allowed.response_headers_to_add.len(), 1);
}
