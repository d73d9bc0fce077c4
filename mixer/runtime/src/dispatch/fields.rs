//! The fields of instances, for people to read.

use std::net::IpAddr;

use mixer_adapter::text::stringify;
use mixer_attribute::{Text, Value};
use mixer_template::Instance;
use prost_types::Timestamp;

/// Fields that have a value, in their order.
#[derive(Debug, Default)]
struct Shown(Vec<(String, String)>);

/// What was evaluated for an instance.
pub(super) fn fields(instance: &Instance<'_>) -> Vec<(String, String)> {
    let mut shown = Shown::default();
    match instance {
        Instance::CheckNothing(_) | Instance::ReportNothing(_) => {}
        Instance::ApiKey(it) => {
            shown.text("api", &it.api);
            shown.text("api_version", &it.api_version);
            shown.text("api_operation", &it.api_operation);
            shown.text("api_key", &it.api_key);
            shown.time("timestamp", it.timestamp);
        }
        Instance::Authorization(it) => {
            if let Some(subject) = &it.subject {
                shown.text("subject.user", &subject.user);
                shown.text("subject.groups", &subject.groups);
                shown.list("subject.properties", &subject.properties);
            }
            if let Some(action) = &it.action {
                shown.text("action.namespace", &action.namespace);
                shown.text("action.service", &action.service);
                shown.text("action.method", &action.method);
                shown.text("action.path", &action.path);
                shown.list("action.properties", &action.properties);
            }
        }
        Instance::Edge(it) => {
            shown.time("timestamp", it.timestamp);
            shown.text("source_workload_namespace", &it.source_workload_namespace);
            shown.text("source_workload_name", &it.source_workload_name);
            shown.text("source_owner", &it.source_owner);
            shown.text("source_uid", &it.source_uid);
            shown.text(
                "destination_workload_namespace",
                &it.destination_workload_namespace,
            );
            shown.text("destination_workload_name", &it.destination_workload_name);
            shown.text("destination_owner", &it.destination_owner);
            shown.text("destination_uid", &it.destination_uid);
            shown.text("destination_service_namespace", &it.destination_service_namespace);
            shown.text("destination_service_name", &it.destination_service_name);
            shown.text("context_protocol", &it.context_protocol);
            shown.text("api_protocol", &it.api_protocol);
        }
        Instance::Kubernetes(it) => {
            shown.text("source_uid", &it.source_uid);
            shown.address("source_ip", it.source_ip);
            shown.text("destination_uid", &it.destination_uid);
            shown.address("destination_ip", it.destination_ip);
            shown.number("destination_port", it.destination_port);
        }
        Instance::ListEntry(it) => shown.value("value", it.value.as_ref()),
        Instance::LogEntry(it) => {
            shown.list("variables", &it.variables);
            shown.time("timestamp", it.timestamp);
            shown.text("severity", &it.severity);
            shown.text("monitored_resource_type", &it.monitored_resource_type);
            shown.list("monitored_resource_dimensions", &it.monitored_resource_dimensions);
        }
        Instance::Metric(it) => {
            shown.value("value", it.value.as_ref());
            shown.list("dimensions", &it.dimensions);
            shown.text("monitored_resource_type", &it.monitored_resource_type);
            shown.list("monitored_resource_dimensions", &it.monitored_resource_dimensions);
        }
        Instance::Quota(it) => shown.list("dimensions", &it.dimensions),
        Instance::TraceSpan(it) => {
            shown.text("trace_id", &it.trace_id);
            shown.text("span_id", &it.span_id);
            shown.text("parent_span_id", &it.parent_span_id);
            shown.text("span_name", &it.span_name);
            shown.time("start_time", it.start_time);
            shown.time("end_time", it.end_time);
            shown.list("span_tags", &it.span_tags);
            shown.number("http_status_code", it.http_status_code);
            shown.value("client_span", Some(&Value::Bool(it.client_span)));
            shown.value(
                "rewrite_client_span_id",
                Some(&Value::Bool(it.rewrite_client_span_id)),
            );
            shown.text("source_name", &it.source_name);
            shown.address("source_ip", it.source_ip);
            shown.text("destination_name", &it.destination_name);
            shown.address("destination_ip", it.destination_ip);
            shown.number("request_size", it.request_size);
            shown.number("request_total_size", it.request_total_size);
            shown.number("response_size", it.response_size);
            shown.number("response_total_size", it.response_total_size);
            shown.text("api_protocol", &it.api_protocol);
        }
    }
    shown.0
}

// === impl Shown ===

impl Shown {
    fn value(&mut self, name: &str, value: Option<&Value<'_>>) {
        if value.is_some() {
            self.0.push((name.to_owned(), stringify(value).into_owned()));
        }
    }

    fn text(&mut self, name: &str, text: &Text<'_>) {
        if !text.is_empty() {
            self.0.push((name.to_owned(), text.to_string()));
        }
    }

    fn number(&mut self, name: &str, number: i64) {
        self.value(name, Some(&Value::Int64(number)));
    }

    fn time(&mut self, name: &str, time: Option<Timestamp>) {
        self.value(name, time.map(Value::Timestamp).as_ref());
    }

    fn address(&mut self, name: &str, address: Option<IpAddr>) {
        self.value(name, address.map(Value::IpAddress).as_ref());
    }

    fn list(&mut self, name: &str, fields: &[(&str, Value<'_>)]) {
        for (key, value) in fields {
            self.value(&format!("{name}[{key}]"), Some(value));
        }
    }
}
