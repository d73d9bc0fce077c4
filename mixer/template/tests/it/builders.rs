//! What instances hold.

use mesh_api::istio::policy::v1beta1::ValueType as Wire;
use mixer_attribute::Value;
use mixer_template::{Instance, Template, Variety};
use serde_json::json;

use crate::{build, builder};

/// `spec 02` §6.2: values of any type are inferred and handed on as they are, dimensions are sorted by name, and the
/// instance has its full name. Both spellings of fields are read.
#[test]
fn spec_02_6_2_a_metric_has_its_value_and_its_dimensions() {
    for spelling in ["monitored_resource_type", "monitoredResourceType"] {
        let builder = builder(
            Template::Metric,
            &json!({
                "value": "1",
                "dimensions": {
                    "source": "source.labels[\"app\"] | \"unknown\"",
                    "port": "destination.port",
                    "client": "source.ip",
                    "none": "",
                },
                spelling: "\"UNSPECIFIED\"",
            }),
        );
        let Ok(Instance::Metric(metric)) = build(&builder) else {
            panic!("no metric");
        };
        assert_eq!(metric.name, "test.metric.default");
        assert_eq!(metric.value, Some(Value::Int64(1)));
        assert_eq!(
            metric.dimensions,
            [
                ("client", Value::IpAddress([10, 0, 0, 1].into())),
                ("port", Value::Int64(9080)),
                ("source", Value::from("reviews")),
            ]
        );
        assert_eq!(metric.monitored_resource_type, "UNSPECIFIED");
        let types: mesh_api::metric::Type = builder.inferred().unpack().unwrap();
        assert_eq!(types.value, Wire::Int64 as i32);
        assert_eq!(
            types.dimensions.into_iter().collect::<Vec<_>>(),
            [
                ("client".to_owned(), Wire::IpAddress as i32),
                ("port".to_owned(), Wire::Int64 as i32),
                ("source".to_owned(), Wire::String as i32),
            ]
        );
    }
}

/// `spec 02` §6.2: a field without an expression keeps its zero value, in every template.
#[test]
fn nothing_given_is_zero() {
    for template in Template::ALL {
        for params in [json!(null), json!({})] {
            let builder = builder(*template, &params);
            let instance = build(&builder).unwrap();
            assert_eq!(instance.template(), *template);
            let shown = format!("{instance:?}");
            assert!(
                shown.contains(&format!("name: \"test.{template}.default\"")),
                "{shown}"
            );
        }
    }
    let builder = builder(
        Template::TraceSpan,
        &json!({"traceId": "", "clientSpan": "", "sourceIp": ""}),
    );
    let Ok(Instance::TraceSpan(span)) = build(&builder) else {
        panic!("no span");
    };
    assert_eq!(span.trace_id, "");
    assert_eq!(
        (span.client_span, span.source_ip, span.start_time),
        (false, None, None)
    );
}

#[test]
fn a_log_entry_has_variables_and_a_time() {
    let builder = builder(
        Template::LogEntry,
        &json!({
            "severity": "\"Info\"",
            "timestamp": "request.time",
            "variables": {"user": "source.name", "latency": "response.duration", "mtls": "connection.mtls"},
            "monitoredResourceDimensions": {"a": "1.5"},
        }),
    );
    let Ok(Instance::LogEntry(entry)) = build(&builder) else {
        panic!("no entry");
    };
    assert_eq!(entry.severity, "Info");
    assert_eq!(entry.timestamp.unwrap().seconds, 7);
    let names: Vec<_> = entry.variables.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["latency", "mtls", "user"]);
    assert_eq!(entry.monitored_resource_dimensions, [("a", Value::Double(1.5))]);
    let types: mesh_api::logentry::Type = builder.inferred().unpack().unwrap();
    assert_eq!(types.variables["latency"], Wire::Duration as i32);
    assert_eq!(types.monitored_resource_dimensions["a"], Wire::Double as i32);
}

#[test]
fn list_entries_and_quotas_take_any_type() {
    let address = builder(Template::ListEntry, &json!({"value": "source.ip"}));
    let Ok(Instance::ListEntry(entry)) = build(&address) else {
        panic!("no entry");
    };
    assert_eq!(entry.value, Some(Value::IpAddress([10, 0, 0, 1].into())));
    let types: mesh_api::listentry::Type = address.inferred().unpack().unwrap();
    assert_eq!(types.value, Wire::IpAddress as i32);

    let builder = builder(
        Template::Quota,
        &json!({"dimensions": {"source": "source.name", "port": "destination.port"}}),
    );
    let Ok(Instance::Quota(quota)) = build(&builder) else {
        panic!("no quota");
    };
    assert_eq!(
        quota.dimensions,
        [("port", Value::Int64(9080)), ("source", Value::from("reviews"))]
    );
    let types: mesh_api::quota::Type = builder.inferred().unpack().unwrap();
    assert_eq!(types.dimensions["source"], Wire::String as i32);
}

#[test]
fn an_authorization_has_two_sides() {
    let both = builder(
        Template::Authorization,
        &json!({
            "subject": {"user": "source.name", "properties": {"ip": "source.ip"}},
            "action": {"method": "\"GET\"", "path": "\"/\"", "properties": {"port": "destination.port"}},
        }),
    );
    let Ok(Instance::Authorization(instance)) = build(&both) else {
        panic!("no authorization");
    };
    let (subject, action) = (instance.subject.unwrap(), instance.action.unwrap());
    assert_eq!((&*subject.user, &*subject.groups), ("reviews", ""));
    assert_eq!(subject.properties.len(), 1);
    assert_eq!(
        (&*action.method, &*action.path, &*action.service),
        ("GET", "/", "")
    );
    assert_eq!(action.properties, [("port", Value::Int64(9080))]);
    let types: mesh_api::authorization::Type = both.inferred().unpack().unwrap();
    assert_eq!(types.subject.unwrap().properties["ip"], Wire::IpAddress as i32);
    assert_eq!(types.action.unwrap().properties["port"], Wire::Int64 as i32);

    let one = builder(Template::Authorization, &json!({"subject": {}}));
    let Ok(Instance::Authorization(instance)) = build(&one) else {
        panic!("no authorization");
    };
    assert!(instance.subject.is_some() && instance.action.is_none());
}

#[test]
fn spans_edges_and_pods_have_their_fields() {
    let span = builder(
        Template::TraceSpan,
        &json!({
            "traceId": "\"1a\"", "spanName": "source.name", "startTime": "request.time", "httpStatusCode": "200",
            "clientSpan": "connection.mtls", "sourceIp": "source.ip", "request_size": "destination.port",
            "spanTags": {"port": "destination.port"},
        }),
    );
    let Ok(Instance::TraceSpan(span)) = build(&span) else {
        panic!("no span");
    };
    assert_eq!((&*span.trace_id, &*span.span_name), ("1a", "reviews"));
    assert_eq!(
        (span.http_status_code, span.request_size, span.client_span),
        (200, 9080, true)
    );
    assert_eq!(span.span_tags, [("port", Value::Int64(9080))]);

    let edge = builder(
        Template::Edge,
        &json!({"timestamp": "request.time", "sourceWorkloadName": "source.name", "api_protocol": "\"http\""}),
    );
    let Ok(Instance::Edge(edge)) = build(&edge) else {
        panic!("no edge");
    };
    assert_eq!(
        (&*edge.source_workload_name, &*edge.api_protocol),
        ("reviews", "http")
    );

    let pod = builder(
        Template::Kubernetes,
        &json!({"source_uid": "source.name", "sourceIp": "source.ip", "destinationPort": "destination.port | 0"}),
    );
    let Ok(Instance::Kubernetes(pod)) = build(&pod) else {
        panic!("no pod");
    };
    assert_eq!((&*pod.source_uid, pod.destination_port), ("reviews", 9080));
    assert_eq!(pod.source_ip, Some([10, 0, 0, 1].into()));
}

/// The worked example of a template: asked before a request is let through, with these fields.
#[test]
fn m100_the_template_of_api_keys() {
    assert_eq!(Template::ApiKey.name(), "apikey");
    assert_eq!(Template::ApiKey.variety(), Variety::Check);
    let key = builder(
        Template::ApiKey,
        &json!({
            "api": "source.name", "api_version": "\"v1\"", "apiOperation": "\"GET\"",
            "apiKey": "\"k\"", "timestamp": "request.time",
        }),
    );
    let Ok(Instance::ApiKey(key)) = build(&key) else {
        panic!("no key");
    };
    let texts = [&*key.api, &*key.api_version, &*key.api_operation, &*key.api_key];
    assert_eq!(texts, ["reviews", "v1", "GET", "k"]);
    assert!(key.timestamp.is_some());
}
