//! What is handed to adapters.
//!
//! A field whose expression is missing keeps its zero value; a field of a type that has none is `None`. `name` is the
//! full name of the instance, `name.kind.namespace`.

use std::net::IpAddr;

use mixer_attribute::{StringMap, Text, Value};
use prost_types::Timestamp;

/// Values by field name, sorted by name.
pub type Fields<'a> = Vec<(&'a str, Value<'a>)>;

/// A call of an API with a key.
#[derive(Clone, Debug, Default)]
pub struct ApiKey<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// API that is called.
    pub api: Text<'a>,
    /// Version of the API.
    pub api_version: Text<'a>,
    /// Operation of the API.
    pub api_operation: Text<'a>,
    /// Key that came with the call.
    pub api_key: Text<'a>,
    /// When the call was made.
    pub timestamp: Option<Timestamp>,
}

/// Somebody wants to do something.
#[derive(Clone, Debug, Default)]
pub struct Authorization<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// Who wants it.
    pub subject: Option<Subject<'a>>,
    /// What is wanted.
    pub action: Option<Action<'a>>,
}

/// Who wants something.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// Name or id of the user.
    pub user: Text<'a>,
    /// Groups the user belongs to.
    pub groups: Text<'a>,
    /// What else is known.
    pub properties: Fields<'a>,
}

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Action<'a> {
    /// Namespace of the target.
    pub namespace: Text<'a>,
    /// Service that is called.
    pub service: Text<'a>,
    /// Method, such as an HTTP verb.
    pub method: Text<'a>,
    /// Path of the request.
    pub path: Text<'a>,
    /// What else is known.
    pub properties: Fields<'a>,
}

/// A question without content.
#[derive(Clone, Debug, Default)]
pub struct CheckNothing<'a> {
    /// Full name of the instance.
    pub name: &'a str,
}

/// Two workloads talk to each other.
#[derive(Clone, Debug, Default)]
pub struct Edge<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// When they talked.
    pub timestamp: Option<Timestamp>,
    /// Namespace of the workload that calls.
    pub source_workload_namespace: Text<'a>,
    /// Name of the workload that calls.
    pub source_workload_name: Text<'a>,
    /// Owner of the workload that calls.
    pub source_owner: Text<'a>,
    /// UID of the workload that calls.
    pub source_uid: Text<'a>,
    /// Namespace of the workload that is called.
    pub destination_workload_namespace: Text<'a>,
    /// Name of the workload that is called.
    pub destination_workload_name: Text<'a>,
    /// Owner of the workload that is called.
    pub destination_owner: Text<'a>,
    /// UID of the workload that is called.
    pub destination_uid: Text<'a>,
    /// Namespace of the service that is called.
    pub destination_service_namespace: Text<'a>,
    /// Name of the service that is called.
    pub destination_service_name: Text<'a>,
    /// Protocol of the connection.
    pub context_protocol: Text<'a>,
    /// Protocol of the API.
    pub api_protocol: Text<'a>,
}

/// Asks for what Kubernetes knows about both ends of a request.
#[derive(Clone, Debug, Default)]
pub struct Kubernetes<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// UID of the pod that calls, `kubernetes://<pod>.<namespace>`.
    pub source_uid: Text<'a>,
    /// Address of the pod that calls.
    pub source_ip: Option<IpAddr>,
    /// UID of the pod that is called.
    pub destination_uid: Text<'a>,
    /// Address of the pod that is called.
    pub destination_ip: Option<IpAddr>,
    /// Port that is called in the container.
    pub destination_port: i64,
}

/// What Kubernetes knows about both ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KubernetesOutput {
    /// The pod that calls.
    pub source: KubernetesSide,
    /// The pod that is called.
    pub destination: KubernetesSide,
}

/// What Kubernetes knows about a pod. `None` counts as an absent attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KubernetesSide {
    /// `kubernetes://<pod>.<namespace>`.
    pub pod_uid: Option<Text<'static>>,
    /// Address of the pod.
    pub pod_ip: Option<IpAddr>,
    /// Name of the pod.
    pub pod_name: Option<Text<'static>>,
    /// Container that exposes the port; of the destination only.
    pub container_name: Option<Text<'static>>,
    /// Labels of the pod.
    pub labels: Option<StringMap<'static>>,
    /// Namespace of the pod.
    pub namespace: Option<Text<'static>>,
    /// Service account of the pod.
    pub service_account_name: Option<Text<'static>>,
    /// Address of the node.
    pub host_ip: Option<IpAddr>,
    /// `istio://<namespace>/workloads/<name>`.
    pub workload_uid: Option<Text<'static>>,
    /// Name of the workload.
    pub workload_name: Option<Text<'static>>,
    /// Namespace of the workload.
    pub workload_namespace: Option<Text<'static>>,
    /// Controller of the pod.
    pub owner: Option<Text<'static>>,
}

/// A value that may stand in a list.
#[derive(Clone, Debug, Default)]
pub struct ListEntry<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// What is looked up.
    pub value: Option<Value<'a>>,
}

/// What is written to a log.
#[derive(Clone, Debug, Default)]
pub struct LogEntry<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// Content of the entry.
    pub variables: Fields<'a>,
    /// When it happened.
    pub timestamp: Option<Timestamp>,
    /// How important it is.
    pub severity: Text<'a>,
    /// Type of the resource it is about.
    pub monitored_resource_type: Text<'a>,
    /// Which resource it is about.
    pub monitored_resource_dimensions: Fields<'a>,
}

/// A measurement.
#[derive(Clone, Debug, Default)]
pub struct Metric<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// What was measured.
    pub value: Option<Value<'a>>,
    /// What it was measured for.
    pub dimensions: Fields<'a>,
    /// Type of the resource it is about.
    pub monitored_resource_type: Text<'a>,
    /// Which resource it is about.
    pub monitored_resource_dimensions: Fields<'a>,
}

/// Something that is to be had in limited amounts.
#[derive(Clone, Debug, Default)]
pub struct Quota<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// Whose amount it is.
    pub dimensions: Fields<'a>,
}

/// Something happened.
#[derive(Clone, Debug, Default)]
pub struct ReportNothing<'a> {
    /// Full name of the instance.
    pub name: &'a str,
}

/// A span of a trace.
#[derive(Clone, Debug, Default)]
pub struct TraceSpan<'a> {
    /// Full name of the instance.
    pub name: &'a str,
    /// Joins the spans of a trace.
    pub trace_id: Text<'a>,
    /// Id of this call.
    pub span_id: Text<'a>,
    /// Id of the call that caused this one; empty for the first.
    pub parent_span_id: Text<'a>,
    /// What was called.
    pub span_name: Text<'a>,
    /// When the call began.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// What else is known about it.
    pub span_tags: Fields<'a>,
    /// HTTP status of the answer; 0 is success.
    pub http_status_code: i64,
    /// Told by the caller.
    pub client_span: bool,
    /// Spans of caller and server get different ids.
    pub rewrite_client_span_id: bool,
    /// Workload of the caller.
    pub source_name: Text<'a>,
    /// Address of the caller.
    pub source_ip: Option<IpAddr>,
    /// Workload of the server.
    pub destination_name: Text<'a>,
    /// Address of the server.
    pub destination_ip: Option<IpAddr>,
    /// Size of the request body in bytes.
    pub request_size: i64,
    /// Size of the request with headers in bytes.
    pub request_total_size: i64,
    /// Size of the response body in bytes.
    pub response_size: i64,
    /// Size of the response with headers in bytes.
    pub response_total_size: i64,
    /// Protocol of the call.
    pub api_protocol: Text<'a>,
}
